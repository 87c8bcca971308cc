"""From the broker into the picture: last values, and the log of people's orders and what came of them.

All of it is what any client may read (docs/dashboards.md); nothing is asked of another service.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import PlanHash
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import ReleaseError
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.reading import read
from bumpless.common.shell.rollouts import Plans
from bumpless.dashboard.outline import outline
from bumpless.dashboard.picture import Picture
from bumpless.dashboard.signals import Signals

log = get_logger(__name__)

TICK_S = 0.1
"""Changes of so long are one change for browsers."""
REST_S, REST_EACH_S, LONGEST_REST_S = 0.05, 0.001, 0.25
"""How long a feed rests that has read all there is, and how much longer for each stream that goes out: what is overtaken
meanwhile by a later word of the same node is never read."""
LOOKING_BACK = timedelta(days=7)
"""As long as the broker keeps progress."""
LOGGED = (
    e.ReleaseRefused,
    e.RolloutPlanned,
    e.RolloutSucceeded,
    e.RolloutFailed,
    e.RolloutCancelled,
    e.RolloutHalted,
    e.RevertStarted,
    e.RolloutReverted,
    e.CommandAnswered,
    c.OpenGate,
    e.VerdictReached,
)
ORDERED = (c.Pause, c.Resume, c.Promote, c.Abort, c.Approve, c.Deny, c.Retry, c.Rollback, e.AlertFired)


class Feeds:
    """Keeps `picture` up to date, and says so by `signals`."""

    def __init__(self, connection: Connection, picture: Picture, clock: Clock) -> None:
        self._connection, self._picture, self._clock = connection, picture, clock
        self._plans = Plans(JetStreamBlobs(connection.js, subjects.PLAN_BUCKET))
        self._tasks: list[asyncio.Task[None]] = []
        self._unread: dict[PlanHash, datetime] = {}
        self.signals = Signals()

    def start(self) -> None:
        since = self._clock() - LOOKING_BACK
        self._tasks = [
            asyncio.create_task(work)
            for work in (
                self._follow(Stream.OPS, [subjects.subject_for(kind) for kind in ORDERED], since),
                self._follow(Stream.RO, [subjects.subject_for(kind) for kind in LOGGED], since),
                self._follow(Stream.PROG, [subjects.progress_subjects()], None),
                self._follow(Stream.INV, [subjects.subject_for(e.NodeObserved)], None),
                self._number(),
                self._outline(),
            )
        ]

    def healthy(self) -> bool:
        return self._connection.nc.is_connected and not any(task.done() for task in self._tasks)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def number(self) -> None:
        """Number what changed since the last time, and wake whoever waits for it."""
        for name in [name for name, topic in self._picture.topics.items() if topic.frame()]:
            self.signals.wake(name)
        self.signals.follow(self._connection.nc.is_connected)

    async def _follow(self, stream: Stream, filters: list[str], since: datetime | None) -> None:
        following = self._connection.follow(stream, filters, since=since, last_values=since is None)
        async with contextlib.aclosing(following) as items:
            async for item in items:
                message = read(item)
                if message is not None:
                    self._picture.take(message)
                if not item.pending:
                    await asyncio.sleep(min(REST_S + self.signals.watching * REST_EACH_S, LONGEST_REST_S))

    async def _number(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.number()

    async def _outline(self) -> None:
        """Read the plans that are not there yet; one that cannot be read is tried again after a while."""
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            for rollout, plan_hash in self._picture.wanting():
                if self._unread.get(plan_hash, now) > now:
                    continue
                try:
                    self._picture.outlined(rollout, outline(await self._plans.get(plan_hash)))
                except (ReleaseError, ArtifactError) as error:
                    self._unread[plan_hash] = now + timedelta(seconds=10)
                    log.warning("no plan to draw", rollout=rollout, plan=plan_hash, reason=str(error))
