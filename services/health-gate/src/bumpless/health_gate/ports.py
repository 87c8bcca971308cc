"""What the service needs from outside: somebody who fills a window with samples."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from bumpless.health_gate.window import SampleWindow


class MetricSource(Protocol):
    """Samples from somewhere, kept for a while.

    After `start(since)`, `window` fills with what was sampled since then and goes on with what follows, through
    lost connections, without a gap. `ready` is False while what is already known is still being read: a gate
    judged before would see a hole where there is none. After `stop`, `window` changes no more.
    """

    @property
    def window(self) -> SampleWindow: ...
    @property
    def ready(self) -> bool: ...
    async def start(self, since: datetime) -> None: ...
    async def stop(self) -> None: ...


class GateSource(MetricSource, Protocol):
    """The source of one gate. Its readings have no version. `trouble` says why it may have told less than it should."""

    @property
    def trouble(self) -> str: ...
