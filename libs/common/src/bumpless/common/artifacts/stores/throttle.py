"""Bounded bandwidth: one token bucket that all transfers of a process draw from.

Time comes in from outside. Nothing here bounds what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from .store import BlobReader

BURST_S = 0.25
"""What an idle bucket saves up: a small delta passes at full speed, and a fleet that starts together is still slow."""


class TokenBucket:
    """`rate` bytes a second, and what would have passed in BURST_S at once.

    Those who take are served in the order in which they came. Taking more than there is makes a debt that is waited
    out, so a piece may have any size.
    """

    def __init__(
        self,
        rate: float,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate, self._now, self._sleep = rate, now, sleep
        self._paid_until = now() - BURST_S

    async def take(self, count: int) -> None:
        """Wait until `count` bytes may have passed."""
        now = self._now()
        self._paid_until = max(self._paid_until, now - BURST_S) + count / self._rate
        if self._paid_until > now:
            await self._sleep(self._paid_until - now)


class ThrottledBlobs(BlobReader):
    """Another store, read no faster than the bucket allows.

    A piece is paid for before the next one is asked for, so the store's side has at most one piece per transfer
    under way.
    """

    def __init__(self, store: BlobReader, bucket: TokenBucket) -> None:
        self._store, self._bucket = store, bucket

    async def has(self, digest: str) -> bool:
        return await self._store.has(digest)

    async def read(self, digest: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._store.read(digest, start)) as pieces:
            async for piece in pieces:
                await self._bucket.take(len(piece))
                yield piece

    async def close(self) -> None:
        await self._store.close()
