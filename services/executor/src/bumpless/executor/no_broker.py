"""The executor's side of the broker while there is none yet: nothing is heard, nothing is lost, and it is looked for.

A node brings up what it ran before it hears from anybody. Once joined, the connection reconnects by itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from bumpless.common.artifacts.stores.store import BlobReader
from bumpless.common.contract.base import Message
from bumpless.common.errors import Retryable
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.log import get_logger

log = get_logger(__name__)

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 5.0
"""Between two attempts; each of them waits a while itself. Jittered: a fleet that starts without its broker shall not
come to it all at once."""


class LateConnection:
    """`connect` makes one attempt. Raises what `connect` raises, other than Retryable."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._joined: Connection | None = None
        self._there = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        return self._joined is not None and self._joined.nc.is_connected

    async def join(self) -> Connection:
        """The connection, whenever a broker is there."""
        wait = FIRST_WAIT_S
        while self._joined is None:
            try:
                self._joined = await self._connect()
            except Retryable as error:
                log.warning("no broker yet; what ran before is served", reason=str(error))
                await asyncio.sleep(wait * random.uniform(0.5, 1))
                wait = min(LONGEST_WAIT_S, 2 * wait)
        self._there.set()
        return self._joined

    async def wait(self) -> Connection:
        """The connection, once somebody has joined."""
        await self._there.wait()
        assert self._joined is not None
        return self._joined

    async def publish(self, message: Message, *, source: str) -> int:
        """As `Connection.publish`. Raises: Retryable, also while there is no broker yet."""
        if self._joined is None:
            raise Retryable("no broker was there yet")
        return await self._joined.publish(message, source=source)

    async def close(self) -> None:
        if self._joined is not None:
            await self._joined.close()


class LateBlobs(BlobReader):
    """A store that lies in the broker; `open_in` makes it of the connection. Who asks it for something waits for the broker:
    a staging that goes on after a restart must not fail because it begins before there is a connection."""

    def __init__(self, connection: LateConnection, open_in: Callable[[Connection], BlobReader]) -> None:
        self._connection, self._open_in = connection, open_in
        self._opened: BlobReader | None = None

    async def has(self, digest: str) -> bool:
        return await (await self._store()).has(digest)

    async def read(self, digest: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        async with aclosing((await self._store()).read(digest, start)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _store(self) -> BlobReader:
        if self._opened is None:
            joined = await self._connection.wait()
            self._opened = self._opened or self._open_in(joined)
        return self._opened
