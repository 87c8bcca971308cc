"""What the nodes reported, kept for a while, and how counters grew.

Invariants: the answers depend on the set of samples, not on the order or the number of times they arrived; what
is missing stays missing and is never read as zero. Pure: no clock, no I/O; the time of a sample is the time its
node put on it, so nodes' clocks have to agree to well below one tick.

Counters: within one instance a family that falls anywhere was reset, and its new values count from zero. A series
born under an instance that was seen before counts from zero. An instance seen from its first scrape counts from
zero, any other from its first value seen: also one whose scrapes are numbered from the start again, as they are
after a restart of its executor. Only growth between two scrapes of the asked span counts.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from bumpless.common.contract.events import MetricsSampled
from bumpless.health_gate.series import Labels, parse_series

FIRST_SCRAPE = 1
"""An instance's scrapes count from 1; a sender that counts from 0 is one scrape late, which changes nothing."""
COUNTER_SUFFIXES = ("_total", "_bucket", "_count")
MOST_SERIES = 20_000
"""A scrape with more is taken as one that tells nothing: such labels are a fault of the component's metrics."""

Family = Mapping[Labels, float]


class Member(NamedTuple):
    """One component on one node."""

    node: str
    component: str


@dataclass(frozen=True)
class Reading:
    """One scrape. `families` is empty when `up` is False, which says nothing about any metric.

    `born`: the instance's first, so that its counters started from zero. `crowded`: it had more than MOST_SERIES
    series, and none was kept.
    """

    at: datetime
    sequence: int
    born: bool
    up: bool
    restarts: int
    version: str
    root: str
    families: Mapping[str, Family]
    crowded: bool = False


Instance = tuple[Reading, ...]
"""Readings of one instance by time."""


class SampleWindow:
    """Samples by member and instance. Grows with `add`, shrinks only with `forget`."""

    def __init__(self) -> None:
        self._members: dict[Member, dict[str, list[Reading]]] = {}
        self._disorder: dict[Member, int] = {}

    def add(self, sample: MetricsSampled) -> None:
        """Keep one sample; a copy of one that is known is dropped."""
        member = Member(sample.node, sample.component)
        if not self.knows(member, sample.instance, sample.at, sample.sequence):
            self.put(member, sample.instance, _reading(sample))

    def put(self, member: Member, instance: str, reading: Reading) -> None:
        """Keep one reading; a copy of one that is known is dropped."""
        readings = self._members.setdefault(member, {}).setdefault(instance, [])
        place = bisect_left(readings, _order(reading), key=_order)
        if place == len(readings) or _order(readings[place]) != _order(reading):
            if place < len(readings):
                self._disorder[member] = self._disorder.get(member, 0) + 1
            readings.insert(place, reading)

    def knows(self, member: Member, instance: str, at: datetime, sequence: int) -> bool:
        """Whether that reading is kept."""
        readings = self._members.get(member, {}).get(instance, [])
        place = bisect_left(readings, (at, sequence), key=_order)
        return place < len(readings) and _order(readings[place]) == (at, sequence)

    def forget(self, before: datetime) -> None:
        """Drop what is older than `before`."""
        for member, instances in list(self._members.items()):
            for name, readings in list(instances.items()):
                kept = [reading for reading in readings if reading.at >= before]
                if len(kept) < len(readings):
                    instances[name] = kept = list(_adopted(kept, True))
                if not kept:
                    del instances[name]
            if not instances:
                del self._members[member]

    def instances(
        self, member: Member, start: datetime, end: datetime, wanted: Callable[[Reading], bool]
    ) -> tuple[Instance, ...]:
        """Each instance's readings with `start` <= at <= `end` that are `wanted`; instances with none are left out."""
        found = (
            tuple(r for r in _adopted(*_between(readings, start, end)) if wanted(r))
            for _, readings in sorted(self._members.get(member, {}).items())
        )
        return tuple(readings for readings in found if readings)

    def raw(self, member: Member) -> Mapping[str, Sequence[Reading]]:
        """All readings of each instance by time, not to be changed. A `born` one counts only where it is first."""
        return self._members.get(member, {})

    def only(self, members: Iterable[Member]) -> SampleWindow:
        """What there is now of `members`, in a window of its own: it stays as it is while this one changes."""
        found = SampleWindow()
        for member in members:
            instances = self._members.get(member)
            if instances:
                found._members[member] = {name: list(readings) for name, readings in instances.items()}
                if member in self._disorder:
                    found._disorder[member] = self._disorder[member]
        return found

    def disorder(self, member: Member) -> int:
        """How many readings of `member` came after a later one: who took the earlier ones in must begin again."""
        return self._disorder.get(member, 0)

    def __len__(self) -> int:
        return sum(len(readings) for found in self._members.values() for readings in found.values())


def _order(reading: Reading) -> tuple[datetime, int]:
    return reading.at, reading.sequence


def _between(readings: Sequence[Reading], start: datetime, end: datetime) -> tuple[Sequence[Reading], bool]:
    """The readings with `start` <= at <= `end`, and whether there are earlier ones."""
    first = bisect_left(readings, start, key=_moment)
    return readings[first : bisect_right(readings, end, lo=first, key=_moment)], first > 0


def _moment(reading: Reading) -> datetime:
    return reading.at


def _adopted(readings: Sequence[Reading], earlier: bool = False) -> Iterator[Reading]:
    """`readings` with only the very first one born, and not even that where there were `earlier` ones."""
    for reading in readings:
        yield replace(reading, born=False) if reading.born and earlier else reading
        earlier = True


def families_of(samples: Mapping[str, float]) -> tuple[dict[str, dict[Labels, float]], bool]:
    """Series as text, by family; none, and True, where there are more than MOST_SERIES."""
    families: dict[str, dict[Labels, float]] = {}
    crowded = len(samples) > MOST_SERIES
    for text, value in () if crowded else samples.items():
        if not math.isfinite(value):
            continue
        try:
            series = parse_series(text)
        except ValueError:
            continue  # a series nobody can name is missing, and missing is never healthy
        families.setdefault(series.name, {})[series.labels] = value
    return families, crowded


def _reading(sample: MetricsSampled) -> Reading:
    families, crowded = families_of(sample.samples)
    return Reading(
        at=sample.at,
        sequence=sample.sequence,
        born=sample.sequence <= FIRST_SCRAPE,
        up=sample.up,
        restarts=sample.restarts,
        version=sample.version,
        root=sample.root,
        families=families if sample.up else {},
        crowded=crowded,
    )


def increase(readings: Iterable[Reading], name: str) -> Family | None:
    """How much each series of the family grew over one instance's readings; None: it cannot be told.

    It cannot be told when fewer than two scrapes (or no first scrape) are there, or the family is in none of them.
    """
    sums: dict[Labels, float] = {}
    measured = False
    known = False
    for reading, family in _growth(readings, name):
        known = known or name in reading.families
        if family is None:
            continue
        measured = True
        for labels, value in family.items():
            sums[labels] = sums.get(labels, 0.0) + value
    return sums if measured and known else None


def grown(readings: Iterable[Reading], name: str) -> Iterator[tuple[datetime, Family | None]]:
    """How much the family grew at each scrape since the one before; None: there is none to compare with."""
    return ((reading.at, family) for reading, family in _growth(readings, name) if name in reading.families)


def _growth(readings: Iterable[Reading], name: str) -> Iterator[tuple[Reading, Family | None]]:
    last: dict[Labels, float] | None = None
    for reading in readings:
        if not reading.up:
            continue
        family = reading.families.get(name, {})
        if last is None and not reading.born:
            last = dict(family)
            yield reading, None
            continue
        if last is None or any(value < last.get(labels, 0.0) for labels, value in family.items()):
            last = {}
        yield reading, {labels: max(0.0, value - last.get(labels, 0.0)) for labels, value in family.items()}
        last.update(family)


def gauge(readings: Iterable[Reading], name: str) -> list[tuple[datetime, float]]:
    """The family summed over its labels, at each scrape that has it."""
    return [
        (reading.at, sum(reading.families[name].values()))
        for reading in readings
        if reading.up and name in reading.families
    ]


def resets(readings: Iterable[Reading]) -> int:
    """How often counters of one instance fell: restarts in place that nobody counted."""
    count = 0
    last: dict[tuple[str, Labels], float] = {}
    for reading in readings:
        counters = {
            (name, labels): value
            for name, family in reading.families.items()
            if name.endswith(COUNTER_SUFFIXES)
            for labels, value in family.items()
        }
        if any(value < last.get(series, value) for series, value in counters.items()):
            count += 1
            last = {}
        last.update(counters)
    return count


def down_run(readings: Sequence[Reading]) -> int:
    """The longest run of scrapes in sequence, none lost between them, that found the instance not answering."""
    longest = run = 0
    last = None
    for reading in readings:
        run = 0 if reading.up else run + 1 if last == reading.sequence - 1 else 1
        last = reading.sequence
        longest = max(longest, run)
    return longest
