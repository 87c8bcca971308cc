"""Samples that the executors publish. Old ones are dropped as new ones arrive."""

from __future__ import annotations

from datetime import datetime, timedelta

from bumpless.common.contract.events import MetricsSampled
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import Clock
from bumpless.health_gate.sources.events import EventReader
from bumpless.health_gate.window import SampleWindow

FORGET_EVERY = timedelta(seconds=30)


class AgentSource:
    """See `ports.MetricSource`. `keep` is the age at which samples are dropped."""

    def __init__(self, connection: Connection, clock: Clock, keep: timedelta) -> None:
        self.window = SampleWindow()
        self._reader = EventReader(connection, clock, MetricsSampled, self._take)
        self._clock, self._keep = clock, keep
        self._forgot: datetime | None = None

    @property
    def ready(self) -> bool:
        return self._reader.ready

    async def start(self, since: datetime) -> None:
        self._forgot = self._clock()
        await self._reader.start(since)

    async def stop(self) -> None:
        await self._reader.stop()

    def _take(self, sample: MetricsSampled) -> None:
        self.window.add(sample)
        now = self._clock()
        if self._forgot is None or now - self._forgot >= FORGET_EVERY:
            self._forgot = now
            self.window.forget(now - self._keep)
