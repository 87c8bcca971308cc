"""What the service needs from outside: somebody who fills a window with samples, and one who knows bad peers."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from bumpless.common.contract.commands import OpenGate
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


class PeerChoice(Protocol):
    """Who of a gate's peers is fit to be compared with."""

    async def chosen(self, gate: OpenGate) -> OpenGate | None:
        """`gate` with the peers that are, the same ones at every call; None: it cannot be told yet."""
        ...
