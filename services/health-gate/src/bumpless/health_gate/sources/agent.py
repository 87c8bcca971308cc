"""Samples that the executors publish: the event stream, replayed from a moment in the past and then followed.

Messages of other forms, and unreadable ones, are skipped with a warning: what they would have told is missing, and
missing data is never healthy. Old samples are dropped as new ones arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta

from bumpless.common.contract.events import MetricsSampled
from bumpless.common.contract.subjects import Stream, subject_for
from bumpless.common.errors import Retryable
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.reading import read
from bumpless.health_gate.window import SampleWindow

log = get_logger(__name__)

REPLAY_LIMIT = timedelta(seconds=60)
"""A replay that takes longer holds no gate back: gates then see what is there, and silence where nothing is."""
CANCEL_AGAIN_S = 0.5
FORGET_EVERY = timedelta(seconds=30)


class AgentSource:
    """See `ports.MetricSource`. `keep` is the age at which samples are dropped."""

    def __init__(self, connection: Connection, clock: Clock, keep: timedelta) -> None:
        self.window = SampleWindow()
        self._connection = connection
        self._clock = clock
        self._keep = keep
        self._task: asyncio.Task[None] | None = None
        self._caught_up = False
        self._started: datetime | None = None
        self._forgot: datetime | None = None

    @property
    def ready(self) -> bool:
        return self._started is not None and (self._caught_up or self._clock() - self._started > REPLAY_LIMIT)

    async def start(self, since: datetime) -> None:
        self._started = self._forgot = self._clock()
        self._task = asyncio.create_task(self._follow(since))

    async def stop(self) -> None:
        while self._task is not None and not self._task.done():
            # Python 3.11's wait_for forgets a cancellation that meets its result, so once may not be enough.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CANCEL_AGAIN_S)
        self._task, self._started, self._caught_up = None, None, False

    async def _follow(self, since: datetime) -> None:
        wanted = subject_for(MetricsSampled)
        with contextlib.suppress(Retryable):
            self._caught_up = not await self._stored(wanted, since)
        async for item in self._connection.follow(Stream.EVT, wanted, since=since):
            message = read(item)
            if isinstance(message, MetricsSampled):
                self.window.add(message)
            self._caught_up = self._caught_up or item.pending == 0
            self._forget()

    async def _stored(self, wanted: str, since: datetime) -> bool:
        """Whether the stream holds anything to replay."""
        for item in await self._connection.last(Stream.EVT, wanted):
            stamp = item.headers.get("Nats-Time-Stamp")
            if stamp is None or datetime.fromisoformat(stamp) >= since:
                return True
        return False

    def _forget(self) -> None:
        now = self._clock()
        if self._forgot is None or now - self._forgot >= FORGET_EVERY:
            self._forgot = now
            self.window.forget(now - self._keep)
