"""Keeps the logs of running instances within their limit while they are written, whatever an instance prints.

Instances write to the file themselves, so that no reader's death can stop them; a limit of the kernel on file sizes
would end them by a signal. So the files are looked at often: a look is one stat(2).
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from bumpless.common.shell.log import get_logger
from bumpless.executor.drivers import logs

log = get_logger(__name__)

LOOK_S = 0.1
CLOSE_LOOK_S = 0.02
"""After a log had to be cut. What is written between two looks goes to the page cache, at the speed of memory."""


class LogBounds:
    """`add` a log when its instance starts, `discard` it when that is gone."""

    def __init__(self) -> None:
        self._logs: set[Path] = set()
        self._told: set[Path] = set()
        self._work: asyncio.Task[None] | None = None

    def add(self, path: Path) -> None:
        self._logs.add(path)
        if self._work is None:
            self._work = asyncio.create_task(self._look())

    def discard(self, path: Path) -> None:
        self._logs.discard(path)
        self._told.discard(path)
        with contextlib.suppress(OSError):
            logs.trim(path)

    def close(self) -> None:
        if self._work is not None:
            self._work.cancel()
            self._work = None

    async def _look(self) -> None:
        cut = False
        while True:
            await asyncio.sleep(CLOSE_LOOK_S if cut else LOOK_S)
            cut = False
            for path in tuple(self._logs):
                with contextlib.suppress(OSError):
                    if logs.too_large(path):
                        cut = True
                        await asyncio.to_thread(logs.trim, path)
                        self._tell(path)

    def _tell(self, path: Path) -> None:
        if path not in self._told:
            self._told.add(path)
            log.warning("an instance prints more than its log may hold", log=str(path), limit=logs.LIMIT)
