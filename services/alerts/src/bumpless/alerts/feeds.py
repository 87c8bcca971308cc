"""What the service hears: samples, nodes, rollouts, and what goes wrong in Bumpless itself, from the broker's streams.

Everything is read again from as far back as rules look, so a start after a crash sees what the process before saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from bumpless.alerts.evaluate import Facts, Happened
from bumpless.alerts.picture import Picture
from bumpless.alerts.samples import Samples
from bumpless.common.contract import events as e
from bumpless.common.contract.subjects import STREAM_SUBJECTS, Stream, subject_for
from bumpless.common.errors import Retryable
from bumpless.common.model.alert_rules import (
    CompositeRule,
    EventKind,
    EventRule,
    RatioRule,
    SequentialRule,
    ThresholdRule,
    TrendRule,
)
from bumpless.common.model.alerting import AlertsFile
from bumpless.common.model.plan import Plan
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.reading import read

log = get_logger(__name__)

EVENTS_BACK = timedelta(hours=6)
"""The longest window of a rule over events."""
EVENTS_KEPT = 10_000
CANCEL_AGAIN_S = 0.5
REPLAY_LIMIT = timedelta(seconds=60)


class Feeds:
    """Follows what `file` needs. `picture` and `facts` grow until `stop`."""

    def __init__(
        self,
        connection: Connection,
        picture: Picture,
        plan: Callable[[str], Awaitable[Plan]],
        clock: Clock,
    ) -> None:
        self.picture = picture
        self._connection = connection
        self._plan = plan
        self._clock = clock
        self._samples = Samples(())
        self._longest = timedelta(0)
        self._nodes: dict[str, datetime] = {}
        self._events: dict[tuple[str, int], Happened] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._sampling: asyncio.Task[None] | None = None
        self._started = clock()
        self._caught_up: set[str] = set()

    @property
    def facts(self) -> Facts:
        """As of now: a copy, for another thread."""
        return Facts(self._samples.copy(), dict(self._nodes), tuple(self._events.values()), self._started)

    @property
    def ready(self) -> bool:
        """Whether the rollouts under way are known: an action that looked before would see none."""
        late = self._clock() - self._started > REPLAY_LIMIT
        return late or ("rollouts" in self._caught_up and not self.picture.unread())

    async def start(self, file: AlertsFile) -> None:
        now = self._started = self._clock()
        back = now - EVENTS_BACK
        rollouts = [subject_for(kind) for kind in (e.RolloutPlanned, e.RolloutAdvanced)]
        if not await self._holds(Stream.RO, rollouts):
            self._caught_up.add("rollouts")
        told = [subject_for(kind) for kind in (e.RolloutHalted, e.RolloutFailed)]
        follow = self._connection.follow
        self._spawn(self._take("rollouts", follow(Stream.RO, rollouts, last_values=True), self._rollout))
        progress = subject_for(e.RolloutProgressed)
        self._spawn(self._take("progress", follow(Stream.PROG, progress, last_values=True), self._rollout))
        inventory = subject_for(e.NodeObserved)
        self._spawn(self._take("nodes", follow(Stream.INV, inventory, last_values=True), self._node))
        self._spawn(self._take("told", follow(Stream.RO, told, since=back), self._event))
        crashes = subject_for(e.ComponentCrashLooping)
        self._spawn(self._take("crashes", follow(Stream.EVT, crashes, since=back), self._event))
        parked = STREAM_SUBJECTS[Stream.DLQ]
        self._spawn(self._take("parked", follow(Stream.DLQ, parked, since=back), self._event))
        gave_up = STREAM_SUBJECTS[Stream.ADV]
        self._spawn(self._take("advisories", follow(Stream.ADV, gave_up, since=back), self._advisory))
        await self.sample(file)

    async def stop(self) -> None:
        await _end(*self._tasks, *([] if self._sampling is None else [self._sampling]))
        self._tasks, self._sampling = [], None

    async def sample(self, file: AlertsFile) -> None:
        """Read the samples that the rules of `file` need, as far back as they look; none where none needs any."""
        wanted, longest = needed(file)
        if wanted == self._samples.wanted and longest <= self._longest:
            return
        if self._sampling is not None:
            await _end(self._sampling)
        self._samples, self._longest, self._sampling = Samples(wanted), longest, None
        if wanted:
            since = self._clock() - longest
            samples = self._connection.follow(Stream.EVT, subject_for(e.MetricsSampled), since=since)
            self._sampling = asyncio.create_task(self._take("samples", samples, self._sample))

    def forget(self, now: datetime) -> None:
        """Let go of what no rule looks at any more."""
        self._samples.forget(now - self._longest)
        old = [key for key, event in self._events.items() if event.at < now - EVENTS_BACK]
        surplus = len(self._events) - len(old) - EVENTS_KEPT
        for key in [*old, *list(self._events)[: max(surplus, 0)]]:
            self._events.pop(key, None)

    async def read_plans(self) -> None:
        """Read the plans of the rollouts under way that are not known yet; those that cannot be read wait."""
        for planned in self.picture.unread():
            try:
                self.picture.planned(planned.rollout, await self._plan(planned.plan_hash))
            except Retryable as error:
                log.warning("plan not read yet", rollout=planned.rollout, reason=str(error))

    async def _holds(self, stream: Stream, wanted: list[str]) -> bool:
        return bool(await self._connection.snapshot(stream, wanted))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _take(
        self, name: str, items: AsyncIterator[Received], handle: Callable[[Received], None]
    ) -> None:
        async for item in items:
            try:
                handle(item)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                log.warning("left out", feed=name, subject=item.subject, reason=repr(error))
            if item.pending == 0:
                self._caught_up.add(name)

    def _sample(self, item: Received) -> None:
        message = read(item)
        if isinstance(message, e.MetricsSampled):
            self._samples.add(message)

    def _rollout(self, item: Received) -> None:
        message = read(item)
        if isinstance(message, e.RolloutPlanned | e.RolloutAdvanced | e.RolloutProgressed):
            self.picture.take(message)

    def _node(self, item: Received) -> None:
        message = read(item)
        if isinstance(message, e.NodeObserved):
            self._nodes[message.name] = item.at or message.at

    def _event(self, item: Received) -> None:
        found = happened(read(item), item.at)
        if found is not None:
            self._events[(item.subject.partition(".")[0], item.sequence)] = found

    def _advisory(self, item: Received) -> None:
        told = json.loads(item.data)
        stream, consumer = str(told.get("stream", "")), str(told.get("consumer", ""))
        sequence = told.get("stream_seq")
        text = f"consumer {consumer} of {stream} was given message {sequence} again and again, and did not take it"
        labels = (("consumer", consumer), ("stream", stream))
        event = Happened(item.at or self._clock(), EventKind.CONSUMER_GAVE_UP, labels, text)
        self._events[("advisory", item.sequence)] = event


def happened(message: object, at: datetime | None) -> Happened | None:
    """What a message means to rules over events; None: nothing."""
    match message:
        case e.ComponentCrashLooping():
            labels = {"component": message.component, "node": message.node, "rollout": message.rollout}
            text = f"{message.component} {message.version} on {message.node} died {message.crashes} times in {message.window_s:g} s: {message.reason}"
            return _happened(at or message.at, EventKind.CRASH_LOOP, labels, text)
        case e.RolloutHalted():
            labels = {"rollout": message.rollout}
            return _happened(at or message.at, EventKind.ROLLOUT_HALTED, labels, message.reason)
        case e.RolloutFailed():
            labels = {"product": message.product, "rollout": message.rollout}
            return _happened(at or message.at, EventKind.ROLLOUT_FAILED, labels, message.reason)
        case e.MessageParked():
            labels = {"service": message.service}
            text = f"{message.service} parked a message of {message.stream}: {message.reason}"
            return _happened(at or message.at, EventKind.PARKED, labels, text)
        case _:
            return None


def _happened(at: datetime, kind: EventKind, labels: dict[str, str], text: str) -> Happened:
    return Happened(at, kind, tuple(sorted(labels.items())), text[:500])


def needed(file: AlertsFile) -> tuple[frozenset[str], timedelta]:
    """The metrics that rules look at, and how far back the longest looks."""
    metrics: set[str] = set()
    longest = 0.0
    for rule in file.every_rule:
        match rule:
            case ThresholdRule() | TrendRule():
                metrics.add(rule.metric)
                longest = max(longest, rule.window_s)
            case RatioRule():
                metrics |= {rule.part.metric, rule.whole.metric}
                longest = max(longest, rule.window_s)
            case SequentialRule():
                metrics |= {rule.whole.metric, rule.events.metric}
                longest = max(longest, rule.looks_back_s)
            case EventRule() | CompositeRule():
                pass
    return frozenset(metrics), timedelta(seconds=longest)


async def _end(*tasks: asyncio.Task[None]) -> None:
    left = {task for task in tasks if not task.done()}
    while left:  # one cancellation can get lost where a wait ends at the same moment
        for task in left:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
