"""The handle by which a queue consumer learns when to take work and tells what it holds.

Invariant: after a pause has been answered, no lease is under way and none begins until the resume; what
was leased before is finished and counted until then. The queue itself is the service's own affair.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Consumer:
    """One taker of work. Starts paused; the service lets it go when the process is ready."""

    def __init__(self) -> None:
        self.unacknowledged = 0
        self.draining = False
        self._gate = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def taking(self) -> bool:
        """Whether new work may be taken now."""
        return self._gate.is_set() and not self.draining

    async def wait_taking(self) -> bool:
        """Waits until work may be taken; False when this process will take none any more."""
        await self._gate.wait()
        return not self.draining

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Counts one piece of work as taken and not yet acknowledged."""
        self.unacknowledged += 1
        try:
            yield
        finally:
            self.unacknowledged -= 1

    async def jobs(self, lease: Callable[[], Awaitable[T | None]]) -> AsyncIterator[T]:
        """Leases one piece of work after the other while it may; ends when the process drains.

        `lease` returns None when there was nothing to take; it should wait about a second for work, not
        return at once and not wait for ever, because a pause is answered only when it has returned. It is
        never cancelled by a pause: a lease whose answer is lost would hide the work until it times out.
        The work counts as unacknowledged until the body of the `async for` is done with it.
        """
        while await self.wait_taking():
            self._settled.clear()
            try:
                job = await lease()
            finally:
                self._settled.set()
            if job is not None:
                with self.holding():
                    yield job

    async def pause(self) -> None:
        """Returns when no lease is under way. What is held stays held."""
        self._gate.clear()
        await self._settled.wait()

    def resume(self) -> None:
        self._gate.set()

    def drain(self) -> None:
        """Takes no new work for good, and lets a paused consumer see that."""
        self.draining = True
        self._gate.set()
