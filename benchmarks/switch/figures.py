"""From what the load saw to the figures of a row. Moments are Unix seconds, latencies milliseconds."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SHORT = frozenset({"busy", "slow", "naive", "fresh"})
"""Kinds whose requests take as long as the service does; the others wait on purpose."""


@dataclass(frozen=True)
class Answer:
    """One request that ended, or one stream."""

    kind: str
    end: float
    took_ms: float
    outcome: str
    version: str

    @property
    def begin(self) -> float:
        return self.end - self.took_ms / 1000


@dataclass(frozen=True)
class Span:
    """From a command until its old instance is gone."""

    begin: float
    end: float

    def touches(self, answer: Answer) -> bool:
        return answer.begin < self.end and answer.end > self.begin


@dataclass
class Row:
    """One method of switching one service. `switches` are the spans; None where a figure has no sense."""

    method: str
    service: str
    switches: int
    total: int
    failed: int
    resets: int
    gap_ms: float
    p99_steady_ms: float
    p99_switch_ms: float
    max_steady_ms: float
    max_switch_ms: float
    failures: dict[str, int] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


def row(method: str, service: str, answers: Sequence[Answer], spans: Sequence[Span]) -> Row:
    bad = [a for a in answers if a.outcome != "ok"]
    short = [a for a in answers if a.kind in SHORT and a.outcome == "ok"]
    inside = [a.took_ms for a in short if any(s.touches(a) for s in spans)]
    outside = [a.took_ms for a in short if not any(s.touches(a) for s in spans)]
    return Row(
        method=method,
        service=service,
        switches=len(spans),
        total=len(answers),
        failed=len(bad),
        resets=sum(a.outcome == "reset" for a in bad),
        gap_ms=largest_gap_ms(short),
        p99_steady_ms=percentile(outside, 99),
        p99_switch_ms=percentile(inside, 99),
        max_steady_ms=max(outside, default=math.nan),
        max_switch_ms=max(inside, default=math.nan),
        failures=dict(Counter(f"{a.kind} {a.outcome}" for a in bad)),
    )


def largest_gap_ms(answers: Sequence[Answer]) -> float:
    """The longest time between two successes in a row, whoever got them."""
    ends = sorted(a.end for a in answers)
    return max((1000 * (later - earlier) for earlier, later in itertools.pairwise(ends)), default=math.nan)


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    if not values:
        return math.nan
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * share / 100) - 1)]


def slowest_ms(answers: Sequence[Answer], span: Span) -> float:
    """The slowest short request that met the span; a failed one counts as endless."""
    met = [a for a in answers if a.kind in SHORT and span.touches(a)]
    return max((math.inf if a.outcome != "ok" else a.took_ms for a in met), default=math.nan)


def first_answer(answers: Sequence[Answer], version: str, since: float) -> float:
    """When `version` first answered after `since`."""
    return min((a.end for a in answers if a.version == version and a.end > since), default=math.nan)


def goal(name: str, at_most: float, measured: float, unit: str) -> dict[str, Any]:
    return {
        "name": name,
        "goal": f"<= {at_most:.4g}",
        "measured": round(measured, 2),
        "unit": unit,
        "holds": measured <= at_most,
    }


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| Method | Service | Switches | Failed | Resets | Gap ms | p99 steady/switch ms | Max steady/switch ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.method} | {r.service} | {r.switches} | {r.failed} of {r.total} | {r.resets} | {r.gap_ms:.0f} "
        f"| {r.p99_steady_ms:.1f} / {r.p99_switch_ms:.1f} | {r.max_steady_ms:.0f} / {r.max_switch_ms:.0f} |"
        for r in rows
    ]
    return "\n".join(lines)
