"""Whether the new version answers one and the same small load as fast as the old: the durations of one probe compared.

The old version's durations come from the nodes that still run it; where none does, from the batch's own nodes before
their switch. Two things have to hold before it is a fail: the median is above the limit, and the rank sum says that
this is hardly chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bumpless.common.model import probe as model
from bumpless.common.model.probe import SpeedRule
from bumpless.common.model.verdict import Reason
from bumpless.health_gate.view import Finding, Pool, View, finding

CHANCE = 0.01
"""How often two equal speeds may look so different: one side of the Mann-Whitney test."""


def speed(view: View, rule: SpeedRule) -> Finding:
    """Fails when the canary's median duration is above `max_ratio` times the old version's and `floor_s`."""
    new = _durations(view.canary, rule.probe)
    old = _durations(view.control, rule.probe) or _durations(view.history, rule.probe)
    count = len(new)
    if not new:
        return finding(rule.called, Reason.NO_DATA, f"no outcome of {rule.probe} on a node of the batch")
    if not old:
        text = f"{rule.probe} was never tried beside the earlier version"
        return finding(rule.called, Reason.BASELINE_MISSING, text, observed=_median(new), samples=count)
    if min(len(new), len(old)) < rule.least:
        text = (
            f"{len(new)} durations of the new version and {len(old)} of the old, {rule.least} wanted of each"
        )
        return finding(rule.called, Reason.LOW_TRAFFIC, text, observed=_median(new), samples=count)
    ours, theirs = _median(new), _median(old)
    limit = max(rule.max_ratio * theirs, rule.floor_s)
    text = (
        f"{rule.probe} takes {ours * 1000:.3g} ms, {theirs * 1000:.3g} ms before, limit {limit * 1000:.3g} ms"
    )
    reason = Reason.PASSED
    if ours > limit:
        sure = chance(new, [one * limit / theirs for one in old]) <= CHANCE
        reason = Reason.REGRESSION if sure else Reason.LOW_TRAFFIC
    return finding(rule.called, reason, text, observed=ours, baseline=theirs, limit=limit, samples=count)


def chance(new: Sequence[float], old: Sequence[float]) -> float:
    """How likely it is that `new` ranks so high if both are alike (Mann-Whitney, normal approximation with ties)."""
    both = sorted([(value, 0) for value in old] + [(value, 1) for value in new])
    ranks, ties, at = 0.0, 0.0, 0
    while at < len(both):
        end = at
        while end < len(both) and both[end][0] == both[at][0]:
            end += 1
        ranks += (at + end + 1) / 2 * sum(which for _, which in both[at:end])
        ties += (end - at) ** 3 - (end - at)
        at = end
    n, m = len(new), len(old)
    total = n + m
    above = ranks - n * (n + 1) / 2
    spread = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if spread <= 0:
        return 1.0
    return 0.5 * math.erfc((above - n * m / 2 - 0.5) / math.sqrt(2 * spread))


def _durations(pool: Pool, probe: str) -> list[float]:
    """Those of the tries that succeeded."""
    found = []
    for instances in pool.values():
        for readings in instances:
            for reading in readings:
                good = {
                    dict(labels).get("probe")
                    for labels, ok in reading.families.get(model.SUCCESS, {}).items()
                    if ok
                }
                found += [
                    value
                    for labels, value in reading.families.get(model.DURATION, {}).items()
                    if dict(labels).get("probe") == probe and probe in good
                ]
    return found


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
