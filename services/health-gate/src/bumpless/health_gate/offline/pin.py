"""A trace as pinned numbers: what the earlier version counted in it, summed over its nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from bumpless.common.errors import Refused
from bumpless.common.model.gate import Baseline, Pinned
from bumpless.health_gate.offline.trace import Row, Trace, by_node

ERRORS, LATENCY = "sequential_errors", "sequential_latency"
"""The rules of the default gate, under whose names the numbers stand."""


def pinned(trace: Trace, switch: float = 0.0) -> Baseline:
    """The growth of all counters on control nodes, and on canary nodes up to `switch` (the trace's seconds).

    Raises:
        Refused: the trace counts no requests there.
    """
    rows = [row for row in trace.rows if row.up and (row.group == "control" or row.t <= switch)]
    requests = bad = 0.0
    slow: dict[float, float] = {}
    for found in by_node(rows).values():
        known = [row for row in found if row.requests is not None and row.errors is not None]
        for before, after in pairwise(known):
            requests += _grown(before.requests, after.requests)
            bad += _grown(before.errors, after.errors)
        for earlier, later in pairwise([row for row in found if row.buckets]):
            for bound, count in _buckets(earlier, later).items():
                slow[bound] = slow.get(bound, 0.0) + count
    if requests <= 0:
        raise Refused("requests of the earlier version in the trace", "none", "see docs/gates-offline.md")
    kept: dict[str, Pinned] = {ERRORS: Pinned(requests=requests, bad=min(bad, requests))}
    if slow.get(math.inf, 0.0) > 0 and len(slow) > 1:
        kept[LATENCY] = Pinned(buckets=_rising(slow))
    return Baseline(mode="pinned", pinned=kept)


def as_data(found: Baseline) -> dict[str, Any]:
    """What goes under `gate:` of a release file."""
    rules = {name: one.model_dump(mode="json", exclude_none=True) for name, one in found.pinned.items()}
    return {"baseline": {"mode": found.mode, "pinned": rules}}


def _grown(before: float | None, after: float | None) -> float:
    """A counter that falls began anew."""
    low, high = before or 0.0, after or 0.0
    return high - low if high >= low else high


def _buckets(before: Row, after: Row) -> Mapping[float, float]:
    """How much each bucket grew, where both rows have the same; else nothing can be said."""
    low, high = before.buckets or {}, after.buckets or {}
    if set(low) != set(high) or math.inf not in high:
        return {}
    anew = high[math.inf] < low[math.inf]
    return {bound: count if anew else max(0.0, count - low[bound]) for bound, count in high.items()}


def _rising(slow: Mapping[float, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    most = 0.0
    for bound, count in sorted(slow.items()):
        most = max(most, count)
        found["+Inf" if math.isinf(bound) else repr(bound)] = most
    return found
