"""The main process of a unit, watched by pidfd: its parent is systemd, which alone knows how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable


class Watched:
    """`ended` is done when the process is gone and `read_end` has said how, in words; `read_end` must not raise.

    `pid` may be gone already, or 0 where it is known to be; then only `read_end` is awaited.
    """

    def __init__(self, pid: int, read_end: Callable[[], Awaitable[str]]) -> None:
        self.pid = pid
        self._read_end = read_end
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Task[None] | None = None
        self.since = self._loop.time()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self._fd = -1
        with contextlib.suppress(ProcessLookupError):
            self._fd = os.pidfd_open(pid) if pid else -1
        if self._fd < 0:
            self._gone()
        else:
            self._loop.add_reader(self._fd, self._gone)

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Until it is gone; False: it is still there after `timeout_s`."""
        await asyncio.wait((self.ended,), timeout=timeout_s)
        return self.ended.done()

    def close(self) -> None:
        """Stop watching; the process is left alone."""
        self._unwatch()
        if self._reading is not None:
            self._reading.cancel()

    def _unwatch(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _gone(self) -> None:
        self._unwatch()
        self._reading = self._loop.create_task(self._finish())

    async def _finish(self) -> None:
        how = await self._read_end()
        if not self.ended.done():
            self.ended.set_result(how)
