"""Runs load.go, which is built on the fly."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from switch.figures import Answer

ROOT = Path(__file__).resolve().parents[2]
GO = ROOT / "build" / "go"
STREAMS = ("-polls", "-events", "-sockets")


async def build_go(directory: Path, package: str, binary: Path) -> Path:
    """Offline, with caches of our own. Raises: RuntimeError."""
    env = {"GOCACHE": str(GO / "cache"), "GOPATH": str(GO / "path"), "GOPROXY": "off", "CGO_ENABLED": "0"}
    if package.endswith(".go"):
        env["GO111MODULE"] = "off"
    binary.parent.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        "go", "build", "-o", str(binary), package, cwd=directory, env={**os.environ, **env}
    )
    if await process.wait() != 0:
        raise RuntimeError(f"expected go to build {package} in {directory}, found an error")
    return binary


class Load:
    """Between `start` and `stop`, every kind of client asks `port`."""

    def __init__(self, binary: Path, port: int, *options: str) -> None:
        self._command = [str(binary), "-address", f"127.0.0.1:{port}", *options]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 26
        )
        assert self._process.stderr is not None
        await self._process.stderr.readline()

    async def stop(self) -> list[Answer]:
        assert self._process is not None
        out, _ = await self._process.communicate(b"")
        return [_answer(line) for line in out.decode().splitlines()]


def _answer(line: str) -> Answer:
    kind, end, took, outcome, version = line.split(",")
    return Answer(kind, int(end) / 1e6, int(took) / 1e3, outcome, version)
