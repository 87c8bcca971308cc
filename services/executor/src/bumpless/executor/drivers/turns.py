"""Who may fill the disk: any number of stagings, or one check. A staging goes first.

A check takes room that a staging may need. So none begins while a staging is under way, and one that reads from the
store ends when a staging comes. One that unpacks is waited for: its thread cannot be stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bumpless.common.artifacts.stores.store import BlobReader
from bumpless.common.errors import Refused


class Turns:
    """One per node."""

    def __init__(self) -> None:
        self._stagings = 0
        self._none_stages = asyncio.Event()
        self._none_stages.set()
        self._checks = asyncio.Lock()
        self._reading: asyncio.Timeout | None = None

    @asynccontextmanager
    async def staging(self) -> AsyncIterator[None]:
        """Hold for as long as a staging lasts; entered when no check has anything on the disk."""
        self._stagings += 1
        self._none_stages.clear()
        try:
            if self._reading is not None and not self._reading.expired():
                self._reading.reschedule(asyncio.get_running_loop().time())
            async with self._checks:
                pass
            yield
        finally:
            self._stagings -= 1
            if not self._stagings:
                self._none_stages.set()

    @asynccontextmanager
    async def check(self, store: BlobReader, timeout_s: float) -> AsyncIterator[BlobReader]:
        """Hold for as long as a check lasts. Gives `store`, which can be read until the time is over or a staging comes.

        Raises: Refused, when the turn does not come in time; so does the store when it must not be read any more.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                await self._take_turn()
        except TimeoutError:
            raise Refused(
                f"a turn within {timeout_s:g} s",
                "another check or a staging under way",
                "check again when it is over, or with a longer --timeout",
            ) from None
        try:
            yield _LimitedBlobs(store, self, deadline)
        finally:
            self._checks.release()

    @asynccontextmanager
    async def reading(self, deadline: float) -> AsyncIterator[None]:
        """Raises: Refused, when the time is over or a staging waits."""
        try:
            async with asyncio.timeout_at(deadline) as self._reading:
                if self._stagings:
                    raise TimeoutError
                yield
        except TimeoutError:
            if self._stagings:
                raise Refused(
                    "no rollout at work on this node", "a staging", "check again when it is over"
                ) from None
            raise Refused(
                "the package here in time",
                "part of it, which is kept for a day",
                "check again to go on there, or with a longer --timeout",
            ) from None
        finally:
            self._reading = None

    async def _take_turn(self) -> None:
        while True:
            await self._none_stages.wait()
            await self._checks.acquire()
            if not self._stagings:
                return
            self._checks.release()


class _LimitedBlobs(BlobReader):
    """Another store, for the length of one check."""

    def __init__(self, store: BlobReader, turns: Turns, deadline: float) -> None:
        self._store, self._turns, self._deadline = store, turns, deadline

    async def has(self, digest: str) -> bool:
        return await self._store.has(digest)

    def read(self, digest: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        return self._store.read(digest, start)

    async def get(self, digest: str, *, max_size: int) -> bytes:
        async with self._turns.reading(self._deadline):
            return await self._store.get(digest, max_size=max_size)

    async def fetch(self, digest: str, into: Path, *, size: int, part: Path | None = None) -> int:
        async with self._turns.reading(self._deadline):
            return await self._store.fetch(digest, into, size=size, part=part)
