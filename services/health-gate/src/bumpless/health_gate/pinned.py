"""A pinned baseline as the sequential test takes it: as the past of the canary's nodes, spread evenly over its ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bumpless.common.model.gate import Baseline, Pinned
from bumpless.common.sequential import Counts, Tick
from bumpless.health_gate.channels import Channel, LatencyChannel


def pinned_bounds(baseline: Baseline, rule: str, bounds: Sequence[float]) -> tuple[float, ...]:
    """Those of the `bounds` that nodes tell which the pinned histogram of the rule has too; all without one."""
    found = baseline.pinned.get(rule)
    if found is None:
        return tuple(bounds)
    return tuple(bound for bound in bounds if bound in found.cumulative)


def pinned_past(
    baseline: Baseline, rules: Sequence[str], channels: Sequence[Channel], ticks: int
) -> list[Tick]:
    """What each of the `rules`, which count `channels`, has pinned, dealt to so many ticks, so that it is used once."""
    tick = [
        _counts(baseline.pinned.get(rule), channel, ticks)
        for rule, channel in zip(rules, channels, strict=True)
    ]
    return [tick] * ticks


def _counts(found: Pinned | None, channel: Channel, ticks: int) -> Counts | None:
    if found is None:
        return None
    if isinstance(channel, LatencyChannel):
        buckets = found.cumulative
        requests = buckets.get(math.inf, 0.0)
        slow = tuple((requests - buckets[bound]) / ticks for bound in channel.bounds)
        return Counts(requests / ticks, 0.0, slow, (0.0,) * len(slow)) if requests else None
    if found.requests is None or found.bad is None:
        return None
    return Counts(found.requests / ticks, 0.0, (found.bad / ticks,), (0.0,))
