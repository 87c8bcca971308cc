"""Servers that blobs lie on: a web server with and without faults, and one that speaks the S3 API."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from aiohttp import web

START_S = 30.0
REGION = "us-east-1"


@dataclass
class WebServer:
    """Serves the files of a directory, and keeps the offset every request for one asked to start from.

    `ranges` off: it ignores ranges. `cut_after`: it sends that many bytes of an answer and breaks the connection, as
    often as `cuts` says. `answer`: a status it gives instead, as often as `answers` says.
    """

    directory: Path
    ranges: bool = True
    cut_after: int = 0
    cuts: int = 0
    answer: int = 0
    answers: int = 0
    location: str = ""
    asked: list[int] = field(default_factory=list)
    url: str = ""

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[WebServer]:
        app = web.Application()
        app.router.add_get("/blobs/{name}", self._serve)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}/blobs/"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.answers:
            self.answers -= 1
            return web.Response(status=self.answer, headers={"Location": self.location})
        try:
            data = (self.directory / request.match_info["name"]).read_bytes()
        except FileNotFoundError:
            return web.Response(status=404)
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        if request.method == "GET":
            self.asked.append(start)
        if not self.ranges:
            start = 0
        if start and start >= len(data):
            return web.Response(status=416)
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        if self.cuts:
            self.cuts -= 1
            await response.write(data[start : start + self.cut_after])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(data[start:])
        return response


def certificate(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """A server context for 127.0.0.1, and the file of the authority to trust for it."""
    key, cert = directory / "tls.key", directory / "tls.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-days", "2", "-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return server_context(cert, key), cert


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class S3Server:
    """moto's server, told to check every signature (SigV4) and permission against one user it was given."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "s3.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = self.access_key_id = self.secret_access_key = ""

    def __enter__(self) -> S3Server:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def create_bucket(self, name: str) -> None:
        self._client("s3", self.access_key_id, self.secret_access_key).create_bucket(Bucket=name)

    def _start(self) -> None:
        code = (
            "from moto.server import ThreadedMotoServer as S; s = S('127.0.0.1', 0, verbose=False); s.start(); "
            "print(s.get_host_and_port()[1], flush=True); s._thread.join()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=self._log.open("wb")
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip().decode()
        if not port:
            raise RuntimeError(self._log.read_text())
        self.endpoint = f"http://127.0.0.1:{port}"
        self._until_it_answers()
        iam = self._client("iam", "anybody", "anything")
        iam.create_user(UserName="publisher")
        made = iam.create_access_key(UserName="publisher")["AccessKey"]
        allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        iam.put_user_policy(
            UserName="publisher",
            PolicyName="all",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
        )
        self.access_key_id, self.secret_access_key = made["AccessKeyId"], made["SecretAccessKey"]
        # From the next request on, nothing is answered unsigned.
        self._request("reset-auth", b"0")

    def _until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                self._request("", None)
                return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline:
                    raise RuntimeError(self._log.read_text()) from None

    def _request(self, path: str, body: bytes | None) -> None:
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/{path}", data=body, headers={"Content-Type": "text/plain"}
        )
        with urllib.request.urlopen(request, timeout=5):
            pass

    def _client(self, service: str, key: str, secret: str):  # type: ignore[no-untyped-def]
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
        )
