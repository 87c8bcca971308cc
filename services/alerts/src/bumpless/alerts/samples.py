"""The samples that rules look at, kept as long as the longest of them looks back; and what can be read from them.

What is missing stays missing: every question is answered with a number or with None. Pure, and independent of the
order in which samples arrive. Counters: a series that falls was reset and counts from zero, one that appears between
two scrapes of an instance counts from zero.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.alert_rules import Of, Per, Series
from bumpless.common.model.gate import Matcher, parse_selector
from bumpless.common.model.series import Labels, parse_series

Group = tuple[tuple[str, str], ...]
"""The labels of one group, sorted."""

BUCKETS = 60
"""Points of a trend, at most: all pairs of them are looked at."""


@dataclass(frozen=True)
class Scrape:
    """What one answered scrape said about the wanted metrics."""

    at: datetime
    metrics: Mapping[str, Mapping[Labels, float]]


class Samples:
    """Scrapes by component, node and instance; of the `wanted` metrics only."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self.wanted = frozenset(wanted)
        self._kept: dict[tuple[str, str], dict[str, list[Scrape]]] = {}

    def add(self, sample: MetricsSampled) -> None:
        if not sample.up:
            return
        metrics: dict[str, dict[Labels, float]] = {}
        for text, value in sample.samples.items():
            if text.partition("{")[0] not in self.wanted or not math.isfinite(value):
                continue
            try:
                name, labels = parse_series(text)
            except ValueError:
                continue
            metrics.setdefault(name, {})[labels] = value
        scrapes = self._kept.setdefault((sample.component, sample.node), {}).setdefault(sample.instance, [])
        place = bisect_left(scrapes, sample.at, key=lambda scrape: scrape.at)
        if place == len(scrapes) or scrapes[place].at != sample.at:
            scrapes.insert(place, Scrape(sample.at, metrics))

    def forget(self, before: datetime) -> None:
        """Drop what is older."""
        for member, instances in list(self._kept.items()):
            for name, scrapes in list(instances.items()):
                del scrapes[: bisect_left(scrapes, before, key=lambda scrape: scrape.at)]
                if not scrapes:
                    del instances[name]
            if not instances:
                del self._kept[member]

    def copy(self) -> Samples:
        """What is kept now; what is added later is not in it."""
        found = Samples(self.wanted)
        found._kept = {
            member: {name: list(scrapes) for name, scrapes in instances.items()}
            for member, instances in self._kept.items()
        }
        return found

    def groups(
        self, per: Per, component: str | None, start: datetime, end: datetime
    ) -> Iterator[tuple[Group, list[list[Scrape]]]]:
        """The scrapes from `start` to `end` by group, in order: one list per instance that has any."""
        found: dict[Group, list[list[Scrape]]] = {}
        for (name, node), instances in sorted(self._kept.items()):
            if component is not None and name != component:
                continue
            group = found.setdefault(group_of(per, name, node), [])
            for _, scrapes in sorted(instances.items()):
                first = bisect_left(scrapes, start, key=lambda scrape: scrape.at)
                last = bisect_right(scrapes, end, key=lambda scrape: scrape.at)
                if first < last:
                    group.append(scrapes[first:last])
        yield from found.items()


def group_of(per: Per, component: str, node: str) -> Group:
    match per:
        case Per.NODE:
            return (("component", component), ("node", node))
        case Per.COMPONENT:
            return (("component", component),)
        case Per.FLEET:
            return ()


def measured(instances: Iterable[list[Scrape]], series: Series, of: Of) -> float | None:
    """`of` the series, summed over instances; None: nobody says anything about it."""
    found = [value for scrapes in instances if (value := _of_one(scrapes, series, of)) is not None]
    return sum(found) if found else None


def _of_one(scrapes: list[Scrape], series: Series, of: Of) -> float | None:
    if of is Of.VALUE:
        return _total(scrapes[-1], series)
    grown = _growth(scrapes, series)
    if grown is None or of is Of.INCREASE:
        return grown
    return grown / (scrapes[-1].at - scrapes[0].at).total_seconds()


def _total(scrape: Scrape, series: Series) -> float | None:
    found = scrape.metrics.get(series.metric)
    if found is None:
        return None
    matchers = _matchers(series.where)
    kept = [value for labels, value in found.items() if _fits(matchers, labels)]
    return sum(kept) if kept or matchers else None


def _growth(scrapes: list[Scrape], series: Series) -> float | None:
    """How much it grew from the first scrape to the last; None: fewer than two, or the metric is in none of them."""
    if len(scrapes) < 2 or not any(series.metric in scrape.metrics for scrape in scrapes):
        return None
    matchers = _matchers(series.where)
    last: dict[Labels, float] = dict(scrapes[0].metrics.get(series.metric, {}))
    grown = 0.0
    for scrape in scrapes[1:]:
        for labels, value in scrape.metrics.get(series.metric, {}).items():
            before = last.get(labels, 0.0)
            if _fits(matchers, labels):
                grown += value - before if value >= before else value
            last[labels] = value
    return grown


def grown_pairs(
    scrapes: list[Scrape], whole: Series, part: Series, longest: timedelta
) -> Iterator[tuple[datetime, float, float]]:
    """How much `whole` and `part` grew from each scrape to the next, at the later one.

    Left out where a scrape does not have `whole`, or the two are further apart than `longest`. A `part` that is not
    there is zero.
    """
    kept = [scrape for scrape in scrapes if whole.metric in scrape.metrics]
    for index in range(1, len(kept)):
        pair = kept[index - 1 : index + 1]
        grown = _growth(pair, whole)
        if grown is not None and pair[1].at - pair[0].at <= longest:
            yield pair[1].at, grown, _growth(pair, part) or 0.0


def points(
    instances: Iterable[list[Scrape]], series: Series, start: datetime, end: datetime
) -> list[tuple[float, float]]:
    """The value over time as (seconds before `end`, negative; sum over instances), in at most BUCKETS points.

    An instance's value in a bucket is its last there. A bucket in which an instance that lived before and after says
    nothing is left out, so that a lost scrape is no dip.
    """
    width = (end - start) / BUCKETS
    rows: list[dict[int, float]] = []
    for scrapes in instances:
        row: dict[int, float] = {}
        for scrape in scrapes:
            value = _total(scrape, series)
            if value is not None:
                row[min(int((scrape.at - start) / width), BUCKETS - 1)] = value
        if row:
            rows.append(row)
    found: list[tuple[float, float]] = []
    for number in range(BUCKETS):
        alive = [row for row in rows if min(row) <= number <= max(row)]
        if alive and all(number in row for row in alive):
            middle = start + width * (number + 0.5)
            found.append(((middle - end) / timedelta(seconds=1), sum(row[number] for row in alive)))
    return found


@lru_cache(maxsize=1024)
def _matchers(where: str | None) -> tuple[Matcher, ...]:
    return () if where is None else parse_selector(where)


@lru_cache(maxsize=65_536)
def _fits(matchers: tuple[Matcher, ...], labels: Labels) -> bool:
    values = dict(labels)
    return all(matcher.matches(values.get(matcher.label, "")) for matcher in matchers)
