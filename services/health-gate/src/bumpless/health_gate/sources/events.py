"""Samples that lie in the event stream: replayed from a moment in the past, and then followed.

Messages of other forms, and unreadable ones, are skipped with a warning: what they would have told is missing, and
missing data is never healthy.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from bumpless.common.contract.base import Message
from bumpless.common.contract.subjects import Stream, subject_for, subject_of
from bumpless.common.errors import Retryable
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.reading import read

log = get_logger(__name__)
M = TypeVar("M", bound=Message)

REPLAY_LIMIT = timedelta(seconds=60)
"""A replay that takes longer holds no gate back: gates then see what is there, and silence where nothing is."""
CANCEL_AGAIN_S = 0.5


class EventReader(Generic[M]):
    """Gives every message of `kind` to `take`. `ready`: what was stored has been taken, or it took too long."""

    def __init__(
        self, connection: Connection, clock: Clock, kind: type[M], take: Callable[[M], None]
    ) -> None:
        self._connection, self._clock, self._kind, self._take = connection, clock, kind, take
        self._task: asyncio.Task[None] | None = None
        self._caught_up = False
        self._started: datetime | None = None

    @property
    def ready(self) -> bool:
        return self._started is not None and (self._caught_up or self._clock() - self._started > REPLAY_LIMIT)

    async def start(self, since: datetime) -> None:
        self._started = self._clock()
        self._task = asyncio.create_task(self._follow(since))

    async def stop(self) -> None:
        while self._task is not None and not self._task.done():
            # Python 3.11's wait_for forgets a cancellation that meets its result, so once may not be enough.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CANCEL_AGAIN_S)
        self._task, self._started, self._caught_up = None, None, False

    async def _follow(self, since: datetime) -> None:
        wanted = subject_for(self._kind)
        with contextlib.suppress(Retryable):
            self._caught_up = not await self._stored(wanted, since)
        async for item in self._connection.follow(Stream.EVT, wanted, since=since):
            message = read(item)
            if isinstance(message, self._kind):
                if subject_of(message) == item.subject:
                    self._take(message)
                else:
                    log.warning("left out: it names another node than its subject", subject=item.subject)
            self._caught_up = self._caught_up or item.pending == 0

    async def _stored(self, wanted: str, since: datetime) -> bool:
        """Whether the stream holds anything to replay."""
        for item in await self._connection.last(Stream.EVT, wanted):
            stamp = item.headers.get("Nats-Time-Stamp")
            if stamp is None or datetime.fromisoformat(stamp) >= since:
                return True
        return False
