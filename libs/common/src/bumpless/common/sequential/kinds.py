"""One kind of event under test: its fail side, its pass side, and what they were calibrated to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bumpless.common.sequential import latency
from bumpless.common.sequential.calibration import (
    NOTHING,
    Calibration,
    Pair,
    calibrate,
    calibrate_alone,
)
from bumpless.common.sequential.eprocess import EProcess
from bumpless.common.sequential.passing import BelowRate, ReverseRatio
from bumpless.common.sequential.spec import Counts, ErrorSpec, LatencySpec, TestSpec, Tick


@dataclass(slots=True)
class Kind:
    """Events of one level of one rule. `weight` is its share of the evidence for a fail; all weights sum to 1.

    `level` is None where the history does not allow to test this kind: its evidence stays 1. `passing` is None where
    a pass does not need it. `rate` is the event rate of the history, over both sides.
    """

    name: str
    rule: int
    level: int | None
    weight: float
    rate: float
    calibration: Calibration
    failing: EProcess
    passing: ReverseRatio | None
    below: BelowRate | None = None
    n: float = 0.0
    m: float = 0.0
    x: float = 0.0
    y: float = 0.0

    def update(self, counts: Counts) -> None:
        """One judged tick."""
        if self.level is None:
            return
        n, m, x, y = counts.n, counts.m, counts.x[self.level], counts.y[self.level]
        self.n += n
        self.m += m
        self.x += x
        self.y += y
        self.failing.update(n, m, x, y)
        if self.passing is not None:
            self.passing.update(n, m, x, y)
        if self.below is not None:
            self.below.update(n, x)


def kinds_of(spec: TestSpec, history: Sequence[Tick]) -> tuple[Kind, ...]:
    """Every kind of every rule, in order. Rules have equal weights, and so have the kinds of a rule."""
    found: list[Kind] = []
    for index, rule in enumerate(spec.rules):
        counts = [tick[index] for tick in history]
        kinds = (
            _errors(spec, index, rule, counts)
            if isinstance(rule, ErrorSpec)
            else _slow(spec, index, rule, counts)
        )
        for kind in kinds:
            kind.weight = 1 / (len(spec.rules) * len(kinds))
        found += kinds
    return tuple(found)


def _errors(spec: TestSpec, index: int, rule: ErrorSpec, counts: Sequence[Counts | None]) -> list[Kind]:
    calibration, rate = _calibrated(spec, counts, 0, rule.alone if spec.alone else rule.allowed)
    below = None if rule.slo is None else BelowRate(rule.slo, calibration.tempering)
    return [_kind(spec, rule.name, index, 0, rate, calibration, rule.critical, below)]


def _slow(spec: TestSpec, index: int, rule: LatencySpec, counts: Sequence[Counts | None]) -> list[Kind]:
    requests = sum(found.n + found.m for found in counts if found is not None)
    exceedance = [
        sum(found.x[level] + found.y[level] for found in counts if found is not None) / requests
        if requests
        else 1.0
        for level in range(len(rule.bounds))
    ]
    return [_quantile(spec, index, rule, counts, exceedance, quantile) for quantile in rule.quantiles]


def _quantile(
    spec: TestSpec,
    index: int,
    rule: LatencySpec,
    counts: Sequence[Counts | None],
    exceedance: Sequence[float],
    quantile: float,
) -> Kind:
    """The kind of one quantile. Two quantiles in one bucket are two kinds of the same events, which harms nothing."""
    name = f"{rule.name}_p{quantile * 100:g}"
    level = latency.boundary(exceedance, quantile)
    if level is None:
        return _kind(spec, name, index, None, 0.0, Calibration(), rule.critical)
    shift = rule.alone if spec.alone else rule.allowed
    least = latency.tolerance(exceedance, rule.bounds, level, shift)
    bad = latency.critical(exceedance, rule.bounds, level, rule.critical)
    calibration, rate = _calibrated(spec, counts, level, least)
    below = BelowRate(1 - quantile) if latency.far_below(exceedance[level], quantile) else None
    kind = _kind(spec, name, index, level, rate, calibration, bad, below)
    if quantile not in rule.passing:
        kind.passing = None
    return kind


def _calibrated(
    spec: TestSpec, counts: Sequence[Counts | None], level: int, least: float
) -> tuple[Calibration, float]:
    pairs = [
        NOTHING if found is None else Pair(found.n, found.m, found.x[level], found.y[level])
        for found in counts
    ]
    requests = sum(pair.n + pair.m for pair in pairs)
    rate = sum(pair.x + pair.y for pair in pairs) / requests if requests > 0 else 0.0
    how = calibrate_alone if spec.alone else calibrate
    return how(pairs, least, spec.interval_s), rate


def _kind(
    spec: TestSpec,
    name: str,
    rule: int,
    level: int | None,
    rate: float,
    calibration: Calibration,
    bad: float,
    below: BelowRate | None = None,
) -> Kind:
    free, tempering = calibration.free, calibration.tempering
    return Kind(
        name,
        rule,
        level,
        1.0,
        rate,
        calibration,
        EProcess(calibration.odds, tempering, spec.onset_ticks),
        ReverseRatio(free, free * bad, tempering),
        below,
    )
