"""What a sequential rule counts: requests and events, out of how much an instance's counters grew by.

An event counter that is not there is zero where the requests' is there. Buckets are there only with `+Inf` and with
every bound that is asked for: what has other bounds tells nothing, because events could not be named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from bumpless.common.model.gate import SequentialErrors, SequentialLatency
from bumpless.health_gate.series import Labels, selector, selects
from bumpless.health_gate.window import Family

BUCKET = "_bucket"


class Grown(NamedTuple):
    """`requests`, and of those the events by level; see `sequential.spec`."""

    requests: float
    events: tuple[float, ...]


@dataclass(frozen=True)
class ErrorChannel:
    """Bad requests among all; one level."""

    total: str
    bad: str
    bad_total: str | None = None

    @property
    def families(self) -> tuple[str, ...]:
        return (self.total,) if self.bad_total is None else (self.total, self.bad_total)

    @property
    def levels(self) -> int:
        return 1

    def count(self, grown: dict[str, Family]) -> Grown | None:
        """None: the counter of requests is not there."""
        family = grown.get(self.total)
        if family is None:
            return None
        requests = sum(family.values())
        if self.bad_total is None:
            matchers = selector(self.bad)
            bad = sum(value for labels, value in family.items() if selects(matchers, labels))
        else:
            bad = sum(grown.get(self.bad_total, {}).values())
        return Grown(requests, (min(bad, requests),))


@dataclass(frozen=True)
class LatencyChannel:
    """Requests slower than each of `bounds` (seconds, rising)."""

    histogram: str
    bounds: tuple[float, ...]

    @property
    def families(self) -> tuple[str, ...]:
        return (self.histogram + BUCKET,)

    @property
    def levels(self) -> int:
        return len(self.bounds)

    def count(self, grown: dict[str, Family]) -> Grown | None:
        """None: the histogram is not there, or lacks `+Inf` or one of the bounds."""
        buckets: dict[float, float] = {}
        for labels, value in grown.get(self.histogram + BUCKET, {}).items():
            bound = bound_of(labels)
            if bound is not None:
                buckets[bound] = buckets.get(bound, 0.0) + value
        requests = buckets.get(math.inf)
        if requests is None or any(bound not in buckets for bound in self.bounds):
            return None
        return Grown(requests, tuple(max(0.0, requests - buckets[bound]) for bound in self.bounds))


Channel = ErrorChannel | LatencyChannel


def channel_of(rule: SequentialErrors | SequentialLatency, bounds: tuple[float, ...]) -> Channel:
    """What `rule` counts; `bounds` are those that every instance's histogram has."""
    if isinstance(rule, SequentialErrors):
        return ErrorChannel(rule.total, rule.bad, rule.bad_total)
    return LatencyChannel(rule.histogram, bounds)


@lru_cache(maxsize=65_536)
def bound_of(labels: Labels) -> float | None:
    """The upper bound of a bucket; None: it has none that is a number."""
    try:
        found = float(dict(labels)["le"])
    except (KeyError, ValueError):
        return None
    return None if math.isnan(found) else found
