"""A source without a broker: what was offered before `start` is replayed by it, what is offered after is live."""

from __future__ import annotations

from datetime import datetime

from bumpless.common.contract.events import MetricsSampled
from bumpless.health_gate.window import SampleWindow


class MemorySource:
    """See `ports.MetricSource`."""

    def __init__(self) -> None:
        self.window = SampleWindow()
        self.stored: list[MetricsSampled] = []
        self._since: datetime | None = None

    @property
    def ready(self) -> bool:
        return self._since is not None

    async def offer(self, sample: MetricsSampled) -> None:
        """A node reports."""
        self.stored.append(sample)
        if self._since is not None and sample.at >= self._since:
            self.window.add(sample)

    async def start(self, since: datetime) -> None:
        self._since = since
        for sample in self.stored:
            if sample.at >= since:
                self.window.add(sample)

    async def stop(self) -> None:
        self._since = None
