"""Traces out of what nodes reported: the samples of a gate's members as rows. Pure; who reads the broker is not here.

A row of the canary is of the version that the batch put there, and before the switch of whatever ran before; a
predecessor that still drains beside it is left out. A peer's rows are of the version that it has as a peer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from bumpless.common.contract.commands import OpenGate
from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.gate import (
    ClassicRule,
    ErrorRateRule,
    GateSpec,
    LatencyRule,
    SequentialErrors,
    SequentialLatency,
)
from bumpless.health_gate.offline.trace import Group, Row
from bumpless.health_gate.series import Series, parse_series, selector, selects
from bumpless.health_gate.window import Member


class Recorder:
    """Rows from the samples of one gate.

    Counted are the first counter of requests, its bad ones, and the first histogram that the gate's rules read.
    """

    def __init__(self, gate: OpenGate) -> None:
        self.gate = gate
        self._members: dict[Member, tuple[Group, str]] = {
            Member(m.node, m.component): ("control", m.root) for m in gate.control
        } | {Member(m.node, m.component): ("canary", m.root) for m in gate.canary}
        self._total, self._bad, self._bad_total, self._histogram = _read(gate.spec)

    def rows(self, samples: Iterable[MetricsSampled]) -> Iterator[Row]:
        """A row for each sample that is the gate's, in their order."""
        for sample in samples:
            member = self._members.get(Member(sample.node, sample.component))
            if member is None:
                continue
            group, root = member
            if group == "control" or sample.at > self.gate.switched_at:
                if sample.root != root:
                    continue
            elif sample.root == root:
                continue
            yield self._row(sample, group)

    def _row(self, sample: MetricsSampled, group: Group) -> Row:
        requests: float | None = None
        errors = bad_total = 0.0
        buckets: dict[float, float] = {}
        matchers = selector(self._bad)
        for text, value in sample.samples.items():
            series = _series(text)
            if series is None:
                continue
            if series.name == self._total:
                requests = (requests or 0.0) + value
                errors += value if selects(matchers, series.labels) else 0.0
            elif series.name == self._bad_total:
                bad_total += value
            elif series.name == f"{self._histogram}_bucket":
                bound = _bound(series)
                if bound is not None:
                    buckets[bound] = buckets.get(bound, 0.0) + value
        if self._bad_total is not None:
            errors = bad_total
        return Row(
            t=self.seconds(sample.at),
            node=sample.node,
            group=group,
            requests=requests,
            errors=None if requests is None else errors,
            buckets=buckets or None,
            restarts=sample.restarts,
            up=sample.up,
        )

    def seconds(self, at: datetime) -> float:
        """Since the switch."""
        return (at - self.gate.switched_at).total_seconds()


def _read(spec: GateSpec) -> tuple[str, str, str | None, str]:
    """The counters that the rules read: requests, the selector of bad ones, bad ones apart, the histogram."""
    total, bad = "http_requests_total", 'status=~"5.."'
    bad_total: str | None = None
    for rule in spec.rules:
        if isinstance(rule, SequentialErrors | ErrorRateRule | ClassicRule):
            total, bad = rule.total, rule.bad
            bad_total = rule.bad_total if isinstance(rule, SequentialErrors) else None
            break
    timing = [rule for rule in spec.rules if isinstance(rule, SequentialLatency | LatencyRule | ClassicRule)]
    return total, bad, bad_total, timing[0].histogram if timing else "http_request_duration_seconds"


def _series(text: str) -> Series | None:
    try:
        return parse_series(text)
    except ValueError:
        return None


def _bound(series: Series) -> float | None:
    try:
        return float(dict(series.labels)["le"])
    except (KeyError, ValueError):
        return None
