"""No pass by absence: what a rule reads has been told lately, by every node of the canary, or it cannot be told yet.

The rules themselves judge all that was seen since the switch. A metric that vanishes in between would leave them
with what they saw before; here its last moment is looked at. Counters that do not grow are there all the same. A
node that says nothing at all is `checks.liveness`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from bumpless.common.model import probe as probes
from bumpless.common.model.expression import parse_expression
from bumpless.common.model.gate import (
    ClassicRule,
    ErrorRateRule,
    GaugeRule,
    LatencyRule,
    Rule,
    ThresholdRule,
    TrendRule,
)
from bumpless.common.model.probe import SpeedRule
from bumpless.common.model.verdict import Reason
from bumpless.health_gate.channels import BUCKET, Channel, ErrorChannel, bound_of
from bumpless.health_gate.view import Finding, View, finding
from bumpless.health_gate.window import Family, Instance, Reading, resets

Families = Mapping[str, Family]


@dataclass(frozen=True)
class Need:
    """Something that a rule reads: `told` says whether one scrape has it.

    `within_s`: it may be missing for so long, if that is longer than the gate's patience. `from_start` False: a counter
    that is not there before it counts, so that one that began anew may lack it.
    """

    name: str
    told: Callable[[Families], bool]
    within_s: float | None = None
    from_start: bool = True


def still_told(found: Finding, view: View, needs: Sequence[Need]) -> Finding:
    """`found`, unless it is a pass and a node that told one of `needs` tells it no more."""
    if found.reason is not Reason.PASSED:
        return found
    for need in needs:
        within = _limit(view, need)
        lost = [
            member.node for member, instances in view.switched.items() if _lost(instances, need, view, within)
        ]
        if lost:
            text = (
                f"expected {need.name} from every node, found none for {within.total_seconds():g} s or more "
                f"from {_listed(lost)}"
            )
            said = found.evidence
            return finding(
                said.rule,
                Reason.NO_DATA,
                text,
                observed=said.observed,
                baseline=said.baseline,
                limit=said.limit,
                samples=said.samples,
            )
    return found


def read_by(rule: Rule, view: View) -> Iterator[Need]:
    """What `rule` reads at every scrape; the sequential ones read their channels (`of_channel`)."""
    match rule:
        case ErrorRateRule():
            yield _family(rule.total)
        case LatencyRule():
            yield _buckets(rule.histogram)
        case ClassicRule():
            yield _family(rule.total)
            yield _buckets(rule.histogram)
        case GaugeRule():
            yield _family(rule.metric)
        case ThresholdRule() | TrendRule():
            yield from (_family(metric) for metric in parse_expression(rule.value).metrics)
        case SpeedRule():
            probe = next(one for one in view.spec.probes if one.name == rule.probe)
            yield Need(
                f"a success of probe {probe.name}",
                lambda told: _succeeded(told, probe.name),
                probe.patience_s,
            )
        case _:  # what looks at the last moment itself, or reads no metric
            return


def of_channel(channel: Channel) -> Iterator[Need]:
    """What a sequential rule that counts `channel` reads."""
    yield Need(channel.families[0], lambda told: channel.count(dict(told)) is not None)
    if isinstance(channel, ErrorChannel) and channel.bad_total is not None:
        yield Need(channel.bad_total, lambda told: channel.bad_total in told, from_start=False)


def _family(name: str) -> Need:
    return Need(name, lambda told: name in told)


def _buckets(histogram: str) -> Need:
    name = histogram + BUCKET
    return Need(name, lambda told: any(bound_of(labels) == math.inf for labels in told.get(name, ())))


def _succeeded(told: Families, probe: str) -> bool:
    return any(
        ok and dict(labels).get("probe") == probe for labels, ok in told.get(probes.SUCCESS, {}).items()
    )


def _limit(view: View, need: Need) -> timedelta:
    """How long the need may be missing: as long as a node may say nothing, or its source."""
    source = view.spec.source
    step = view.spec.interval_s if source is None else max(view.spec.interval_s, source.interval_s)
    return timedelta(seconds=max(view.spec.missing_ticks * step, need.within_s or 0))


def _lost(instances: Sequence[Instance], need: Need, view: View, within: timedelta) -> bool:
    """Whether the node once told it, and not lately. What never was there is for the rule to miss."""
    told = [
        reading.at
        for readings in instances
        for reading in (readings if need.from_start else _since_reset(readings))
        if reading.up and need.told(reading.families)
    ]
    return bool(told) and max(told) < view.now - within


def _since_reset(readings: Instance) -> Sequence[Reading]:
    """The readings since the instance last began to count anew: what it has not counted yet is not there then."""
    for start in range(len(readings) - 1, 0, -1):
        if resets(readings[start - 1 : start + 1]):
            return readings[start:]
    return readings


def _listed(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:5]) + (f" and {len(nodes) - 5} more" if len(nodes) > 5 else "")
