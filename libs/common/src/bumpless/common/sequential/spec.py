"""What a sequential test is told before it starts, and what it is fed: plain data, no units but seconds.

A `Tick` has one entry per rule, in the order of `TestSpec.rules`; None says that the rule's counts are missing in
this tick. Levels: an error rule has one, the bad requests; a latency rule has one per bound, the requests that took
longer than it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Counts(NamedTuple):
    """One rule's tick: `n`, `m` requests of canary and control, `x`, `y` events of each by level."""

    n: float
    m: float
    x: Sequence[float]
    y: Sequence[float]


Tick = Sequence[Counts | None]


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """Bad requests. Ratios are odds ratios of canary to control.

    `allowed` is what a release may be worse by, `critical` what a pass rules out, `alone` what is allowed where the
    nodes' own past stands in for the control. `slo` is an error rate (0..1) that is good enough whatever the control
    does. `startup`: whether a start with an error rate above 0.2 is a fault of its own.
    """

    name: str
    allowed: float = 1.2
    critical: float = 3.0
    alone: float = 2.0
    slo: float | None = 0.01
    startup: bool = True


@dataclass(frozen=True, slots=True)
class LatencySpec:
    """Slow requests. Ratios are of time: 1.1 is a latency that is a tenth longer.

    `bounds`: the finite bounds of the histogram in seconds, rising.
    """

    name: str
    bounds: tuple[float, ...]
    quantiles: tuple[float, ...] = (0.5, 0.9, 0.99)
    passing: tuple[float, ...] = (0.5, 0.9)
    allowed: float = 1.1
    critical: float = 1.5
    alone: float = 1.25


RuleSpec = ErrorSpec | LatencySpec


@dataclass(frozen=True, slots=True)
class TestSpec:
    """One batch's test. `alpha` is the false-alarm probability of the release (of the batch where `batches` is None).

    `batches` is how many batches of the release are tested in all. A pass takes at least `least_pass_s` of judged
    time and `min_samples` requests per rule, and evidence of 1 / `beta`. `most_ticks` is how many judged ticks the
    batch can have: the past is shared out over so many where it stands in for the control (`alone`).
    """

    __test__ = False

    rules: tuple[RuleSpec, ...]
    alpha: float = 0.01
    batches: int | None = 1
    beta: float = 0.01
    interval_s: float = 5.0
    least_pass_s: float = 60.0
    min_samples: float = 100.0
    most_ticks: int = 180
    onset_ticks: int | None = None
    alone: bool = False

    @property
    def alpha_batch(self) -> float:
        return self.alpha if self.batches is None else self.alpha / (2 * self.batches)
