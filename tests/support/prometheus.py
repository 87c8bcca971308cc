"""A real Prometheus, a target for it to scrape, and a wire to it that can be cut."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from bumpless.cli.embedded import free_port
from support.local_http import LocalHttp, Quiet

START_S = 60.0
SCRAPE_S = 0.2

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs prometheus: apt-get install prometheus"
)


@dataclass(frozen=True)
class Scraped:
    """A target of a Prometheus: `host:port`, and the labels that it is known by."""

    address: str
    labels: dict[str, str] = field(default_factory=dict)


class PrometheusServer:
    """Scrapes `targets` every `every_s`. `stop` and `start` keep port and data."""

    def __init__(
        self,
        directory: Path,
        targets: Sequence[Scraped],
        path: str = "/metrics",
        every_s: float = SCRAPE_S,
    ) -> None:
        self._directory, self._targets, self._path, self._every_s = directory, targets, path, every_s
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True)
        job = {
            "job_name": "test",
            "metrics_path": self._path,
            "static_configs": [{"targets": [t.address], "labels": t.labels} for t in self._targets],
        }
        config = {
            "global": {
                "scrape_interval": f"{self._every_s * 1000:g}ms",
                "scrape_timeout": f"{self._every_s * 1000:g}ms",
            },
            "scrape_configs": [job],
        }
        (self._directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        with open(self._directory / "log.txt", "ab") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._directory / "log.txt").read_text()[-4000:])
            threading.Event().wait(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        # A lock of a killed one would hold the next one up.
        (self._directory / "data" / "lock").unlink(missing_ok=True)

    def sees(self) -> int:
        """How many targets answer it."""
        with urlopen(f"{self.url}/api/v1/query?query=sum(up)", timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
        return int(float(found[0]["value"][1])) if found else 0

    def _ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except (URLError, OSError):
            return False


class Exporter(LocalHttp):
    """A target that says `text` to whoever scrapes it; `scrapes` counts how often it was asked."""

    def __init__(self) -> None:
        self.text = ""
        self.scrapes = 0
        exporter = self

        class Handler(Quiet):
            def do_GET(self) -> None:  # noqa: N802 - the name that the server calls
                with suppress(OSError):  # whoever asked may have given up
                    self.answer(200, exporter.text.encode(), "text/plain; version=0.0.4")
                    exporter.scrapes += 1

        super().__init__(Handler)

    async def say(self, text: str) -> None:
        """Returns when somebody has come for it, and once more, so that it is stored."""
        self.text, before = text, self.scrapes
        async with asyncio.timeout(START_S):
            while self.scrapes < before + 3:  # noqa: ASYNC110 - the scraper tells nobody
                await asyncio.sleep(0.02)


class Wire:
    """A TCP relay to `port` on a port of its own, for the length of the block. While it is cut nobody gets through."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._open):
            writer.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        self._open |= {writer, far_writer}
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._open -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
