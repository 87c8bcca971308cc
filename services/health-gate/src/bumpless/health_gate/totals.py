"""Totals of a pool of instances by tick, taken in as readings arrive.

Invariants: what is taken in does not depend on when it is looked at; a reading is taken in once; a reading that came
after a later one of the same node makes everything begin again (`stale`). Growth counts in the tick of the later of
its two scrapes. Growth over a silence as long as a dead instance's is nobody's: it cannot be set beside what the
others did in one tick.

Ticks are numbered from the end of the warm-up: those before it, and before the switch, are negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bumpless.common.sequential import Counts, Tick
from bumpless.health_gate.channels import Channel
from bumpless.health_gate.series import Labels
from bumpless.health_gate.window import Family, Member, Reading, SampleWindow


@dataclass(frozen=True)
class Grid:
    """Ticks of `step`, of which number 0 begins at `origin`. Growth across `origin` is before it, and none is
    across `start`. `patience` is the silence over which growth is nobody's."""

    origin: datetime
    step: timedelta
    patience: timedelta

    def tick(self, at: datetime) -> int:
        """The tick that `at` is in; its end belongs to it, as its scrape has what happened before."""
        return -((self.origin - at) // self.step) - 1


class Sums:
    """One pool, one tick, one channel."""

    __slots__ = ("events", "requests")

    def __init__(self, levels: int) -> None:
        self.requests = 0.0
        self.events = [0.0] * levels

    def add(self, requests: float, events: Sequence[float]) -> None:
        self.requests += requests
        for level, value in enumerate(events):
            self.events[level] += value


@dataclass
class _Cursor:
    """How far one instance was taken in."""

    taken: int = 0
    first: tuple[datetime, int] | None = None
    last: tuple[datetime, int] | None = None
    up_at: datetime | None = None
    values: dict[str, dict[Labels, float]] = field(default_factory=dict)


class PoolTotals:
    """Totals by tick and channel of the `wanted` readings of `members` with `start` <= at < `end`.

    `told[c]` are the nodes that ever told what channel c asks for; `last` is the latest reading that was up, `served` the latest that
    had requests.
    """

    def __init__(
        self,
        members: Sequence[Member],
        wanted: Callable[[Member, Reading], bool],
        channels: Sequence[Channel],
        grid: Grid,
        start: datetime,
        end: datetime | None = None,
    ) -> None:
        self.members = tuple(members)
        self.ticks: dict[int, list[Sums | None]] = {}
        self.told: list[set[str]] = [set() for _ in channels]
        self.last: datetime | None = None
        self.served: datetime | None = None
        self._wanted, self._channels, self._grid = wanted, tuple(channels), grid
        self._start, self._end = start, end
        self._families = tuple(dict.fromkeys(name for channel in channels for name in channel.families))
        self._cursors: dict[tuple[Member, str], _Cursor] = {}
        self._disorder: dict[Member, int] = {}

    def take(self, window: SampleWindow, now: datetime) -> bool:
        """Take in what is new up to `now`. False: it came out of order, and this has to be made anew."""
        for member in self.members:
            seen = window.disorder(member)
            if self._disorder.setdefault(member, seen) != seen:
                return False
            for name, readings in window.raw(member).items():
                cursor = self._cursors.setdefault((member, name), _Cursor())
                self._follow(member, cursor, readings, now)
        return True

    def _follow(self, member: Member, cursor: _Cursor, readings: Sequence[Reading], now: datetime) -> None:
        head = (readings[0].at, readings[0].sequence) if readings else None
        if cursor.first != head:  # the window forgot some of what was taken in already
            cursor.first = head
            cursor.taken = sum((r.at, r.sequence) <= cursor.last for r in readings) if cursor.last else 0
        for index in range(cursor.taken, len(readings)):
            reading = readings[index]
            if reading.at > now:
                break
            cursor.taken = index + 1
            cursor.last = (reading.at, reading.sequence)
            if reading.at < self._start or (self._end is not None and reading.at >= self._end):
                continue
            if reading.up and self._wanted(member, reading):
                self._reading(member, cursor, reading, born=reading.born and index == 0)

    def _reading(self, member: Member, cursor: _Cursor, reading: Reading, *, born: bool) -> None:
        before, cursor.up_at = cursor.up_at, reading.at
        self.last = reading.at if self.last is None else max(self.last, reading.at)
        grown = self._growth(cursor.values, reading, measured=born or before is not None)
        if before is not None and reading.at - before >= self._grid.patience:
            return
        at = reading.at
        if before is not None and before < self._grid.origin < at:
            at = self._grid.origin
        tick = self._grid.tick(at)
        for index, channel in enumerate(self._channels):
            found = channel.count(grown)
            if found is None:
                continue
            self.told[index].add(member.node)
            if found.requests > 0 and (self.served is None or reading.at > self.served):
                self.served = reading.at
            sums = self.ticks.setdefault(tick, [None] * len(self._channels))
            mine = sums[index]
            if mine is None:
                mine = sums[index] = Sums(channel.levels)
            mine.add(found.requests, found.events)

    def _growth(
        self, values: dict[str, dict[Labels, float]], reading: Reading, *, measured: bool
    ) -> dict[str, Family]:
        """What each family grew by, by the rules of `window.increase`; `values` then has what is known now."""
        grown: dict[str, Family] = {}
        for name in self._families:
            family = reading.families.get(name)
            if family is None:
                continue
            last = values.get(name)
            if last is None:
                last = values[name] = {}
            if any(value < last.get(labels, 0.0) for labels, value in family.items()):
                last.clear()
            if measured:
                grown[name] = {
                    labels: max(0.0, value - last.get(labels, 0.0)) for labels, value in family.items()
                }
            last.update(family)
        return grown


def paired(
    canary: PoolTotals,
    control: PoolTotals | None,
    ticks: range,
    channels: Sequence[Channel],
    hold: int,
) -> list[Tick]:
    """`ticks` of both pools side by side; without a `control`, the canary's alone.

    Nodes scrape at their own times, so a tick may have the one side only: its counts are held over to the next tick
    that has both, for at most `hold` ticks. Whether both sides counted requests decides that, never the events.
    """
    held = [_Held(channel.levels, hold, alone=control is None) for channel in channels]
    nothing: list[Sums | None] = [None] * len(channels)
    found: list[Tick] = []
    for tick in ticks:
        mine = canary.ticks.get(tick, nothing)
        theirs = nothing if control is None else control.ticks.get(tick, nothing)
        found.append([held[index].step(mine[index], theirs[index]) for index in range(len(channels))])
    return found


class _Held:
    """What one channel has of both sides and could not be set side by side yet."""

    def __init__(self, levels: int, hold: int, *, alone: bool) -> None:
        self._levels, self._hold, self._alone = levels, hold, alone
        self._clear()

    def _clear(self) -> None:
        self._mine, self._theirs = Sums(self._levels), Sums(self._levels)
        self._age = 0

    def step(self, mine: Sums | None, theirs: Sums | None) -> Counts | None:
        for kept, found in ((self._mine, mine), (self._theirs, theirs)):
            if found is not None:
                kept.add(found.requests, found.events)
        n, m = self._mine.requests, self._theirs.requests
        if n > 0 and (m > 0 or self._alone):
            counts = Counts(n, m, tuple(self._mine.events), tuple(self._theirs.events))
            self._clear()
            return counts
        self._age = self._age + 1 if n > 0 or m > 0 else 0
        if self._age > self._hold:
            self._clear()
        return None
