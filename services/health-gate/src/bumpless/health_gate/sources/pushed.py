"""A gate's samples that somebody on each node pushes over the broker."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bumpless.common.contract.events import MetricsPushed
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import Clock
from bumpless.health_gate.sources.events import EventReader
from bumpless.health_gate.window import Member, Reading, SampleWindow, families_of

INSTANCE = "pushed"


class PushedSource:
    """See `ports.MetricSource`. The samples of `members`; whose version they are is for the nodes to say."""

    def __init__(self, connection: Connection, members: Iterable[Member], clock: Clock) -> None:
        self.window = SampleWindow()
        self._members = frozenset(members)
        self._reader = EventReader(connection, clock, MetricsPushed, self._take)

    @property
    def ready(self) -> bool:
        return self._reader.ready

    @property
    def trouble(self) -> str:
        """Nothing more is known than that nothing came."""
        return ""

    async def start(self, since: datetime) -> None:
        await self._reader.start(since)

    async def stop(self) -> None:
        await self._reader.stop()

    def _take(self, pushed: MetricsPushed) -> None:
        member = Member(pushed.node, pushed.component)
        if member not in self._members:
            return
        families, crowded = families_of(pushed.samples)
        self.window.put(
            member,
            INSTANCE,
            Reading(
                at=pushed.at,
                sequence=0,
                born=False,
                up=True,
                restarts=0,
                version="",
                root="",
                families=families,
                crowded=crowded,
            ),
        )
