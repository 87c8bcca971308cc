"""Runs one command to its end, within bounds: of time, of output, and of what it leaves behind.

No shell parses the arguments. The command runs in a session of its own; when it has ended, or its time is over,
everything it started ends with it. Nothing here knows what the command is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bumpless.common.errors import Refused
from bumpless.common.shell import clock
from bumpless.executor.drivers import processes
from bumpless.executor.drivers.processes import Process

TAIL_BYTES = 4096
"""What is kept of the output for whoever reads why a step failed: the end of it."""
LOG_BYTES = 256 << 10
"""What is kept of the output in the log: the beginning, and TAIL_BYTES of the end."""
CHUNK = 64 << 10
MARK = "BUMPLESS_RUN_MARK"
"""Carried by the command and everything it starts, so that all of it is found at the end."""


async def run_command(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    timeout_s: float,
    log: Path,
    *,
    leaves: bool = False,
) -> str:
    """Run `argv` in `cwd` with exactly `env`; returns the last TAIL_BYTES of what it wrote, as text.

    `log` is replaced by the output of this run, standard output and error as they came; what does not fit within
    LOG_BYTES, or on the disk, is left out. The runner's own PATH is used where `env` has none. `leaves`: the command
    is there to leave processes behind; they end only if it fails to end in time.

    Raises:
        Refused: it could not be started, ended with another status than 0, or was not over within `timeout_s`.
    """
    mark = clock.fresh_id()
    output = _Output(log)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    over = False
    try:
        given = {"PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"), **env, MARK: mark}
        try:
            process = Process(processes.spawn(argv, given, cwd, (), writer), {MARK: mark}, leaves=leaves)
        finally:
            os.close(writer)
        loop = asyncio.get_running_loop()
        started = loop.time()
        _unblock(reader)
        loop.add_reader(reader, lambda: _drain(reader, output))
        try:
            over = await process.wait(timeout_s)
            if not over:
                process.kill()
                await process.wait(processes.GONE_S)
        finally:
            if process.alive:  # cancelled, and nobody waits for it any more
                process.kill()
            loop.remove_reader(reader)
            _drain(reader, output, all_of_it=True)
    finally:
        os.close(reader)
        output.close()
    name = " ".join(argv)
    if not over:
        raise Refused(
            f"{name!r} to end within {timeout_s:g} s",
            f"it still running, so it was killed{output.last_words}",
            "raise its timeout_s, or let it end sooner",
        )
    how = process.ended.result()
    if not how.startswith(processes.SUCCESS):
        raise Refused(
            f"{name!r} to end with status 0",
            f"it {how} after {loop.time() - started:.1f} s{output.last_words}",
            f"the whole output is in {log}",
        )
    return output.tail


class _Output:
    """What a command wrote: the end of it in memory, the beginning and the end of it in a file."""

    def __init__(self, log: Path) -> None:
        self._tail = b""
        self._written = self._left_out = 0
        self._file: int | None = None
        # A disk that is full must not change what the command does or how it is judged.
        with contextlib.suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    @property
    def tail(self) -> str:
        return self._tail.decode(errors="replace").strip()

    @property
    def last_words(self) -> str:
        return f"; its last words: {self.tail}" if self.tail else "; it wrote nothing"

    def take(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        kept = data[: max(0, LOG_BYTES - self._written)]
        self._written += len(kept)
        self._left_out += len(data) - len(kept)
        self._write(kept)

    def close(self) -> None:
        if self._left_out:
            self._write(f"\n[{self._left_out} bytes from here on; the last of them:]\n".encode() + self._tail)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, data: bytes) -> None:
        if self._file is not None and data:
            with contextlib.suppress(OSError):
                os.write(self._file, data)


def _unblock(fd: int) -> None:
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)


def _drain(fd: int, output: _Output, *, all_of_it: bool = False) -> None:
    """Take what is in the pipe: a piece, so that a command that writes without end does not hold up the loop."""
    with contextlib.suppress(BlockingIOError):
        while data := os.read(fd, CHUNK):
            output.take(data)
            if not all_of_it:
                return
        # End of file; without this the loop would be woken for ever.
        asyncio.get_running_loop().remove_reader(fd)
