"""What a gate judges a batch by: rules over metrics, a baseline, a window.

Part of a release file and, unchanged, of the plan and of the command that opens a gate. Durations are seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from bumpless.common.contract.base import StrictModel


class OnInconclusive(StrEnum):
    """What a gate that could not decide by its deadline does to its batch."""

    PAUSE = "pause"
    EXTEND = "extend"
    FAIL = "fail"
    PASS = "pass"


class Baseline(StrictModel):
    """What the canary is compared with.

    `concurrent` compares with nodes that still run the earlier version in the same window, and falls back to the
    batch's own nodes before their switch where there are none; `self_history` always takes the latter.
    `history_s` is how far back such a baseline reaches.
    """

    mode: Literal["concurrent", "self_history"] = "concurrent"
    history_s: float = Field(default=60, gt=0)


class ErrorRateRule(StrictModel):
    """Fails when bad / total exceeds `max_ratio` times the baseline's and also `floor`, or exceeds `max_rate`.

    `floor` is an error rate (0..1) below which no ratio counts, so that one error against none does not fail.
    """

    rule: Literal["error_rate"] = "error_rate"
    total: str = "http_requests_total"
    bad: str = 'status=~"5.."'
    max_ratio: float | None = Field(default=3.0, gt=0)
    floor: float = Field(default=0.01, ge=0, le=1)
    max_rate: float | None = Field(default=None, ge=0, le=1)


class LatencyRule(StrictModel):
    """Fails when the quantile exceeds `max_ratio` times the baseline's and also `floor_s`, or exceeds `max_s`."""

    rule: Literal["latency"] = "latency"
    histogram: str = "http_request_duration_seconds"
    quantile: float = Field(default=0.95, gt=0, lt=1)
    max_ratio: float | None = Field(default=2.0, gt=0)
    floor_s: float = Field(default=0.01, ge=0)
    max_s: float | None = Field(default=None, gt=0)


class GaugeRule(StrictModel):
    """Fails when a gauge (summed over labels, highest node) stays above `max_value`, or `max_ratio` times the baseline, for `for_s`.

    Used for queue_length and inflight_count.
    """

    rule: Literal["gauge"] = "gauge"
    metric: str
    max_value: float | None = None
    max_ratio: float | None = Field(default=None, gt=0)
    for_s: float = Field(default=10, ge=0)


class VersionRule(StrictModel):
    """Fails when a node of the batch reports another version or digest than commanded, `within_s` after opening."""

    rule: Literal["version"] = "version"
    within_s: float = Field(default=10, ge=0)


class RestartsRule(StrictModel):
    """Fails when an instance of the batch restarted more than `max_restarts` times since its switch."""

    rule: Literal["restarts"] = "restarts"
    max_restarts: int = Field(default=1, ge=0)


class ClassicRule(StrictModel):
    """The classic rule: error rate above `error_ratio` times the baseline AND latency above `latency_ratio` times it."""

    rule: Literal["classic"] = "classic"
    total: str = "http_requests_total"
    bad: str = 'status=~"5.."'
    histogram: str = "http_request_duration_seconds"
    quantile: float = Field(default=0.95, gt=0, lt=1)
    error_ratio: float = Field(default=3.0, gt=0)
    latency_ratio: float = Field(default=2.0, gt=0)
    floor: float = Field(default=0.01, ge=0, le=1)


Rule = Annotated[
    ErrorRateRule | LatencyRule | GaugeRule | VersionRule | RestartsRule | ClassicRule,
    Field(discriminator="rule"),
]


def _default_rules() -> tuple[Rule, ...]:
    return (ErrorRateRule(), LatencyRule(), VersionRule(), RestartsRule())


class GateSpec(StrictModel):
    """When and by what a batch is judged.

    `interval_s` is the tick; samples of the first `warm_up_s` after a switch do not count for rates and latency;
    a pass needs `window_s` of judged time and `min_samples` requests per rule that counts requests;
    `timeout_s` after opening the gate is inconclusive. `no_traffic` says what zero requests mean: by default they
    are missing data; `allowed` lets a component that serves no requests pass on its other rules.
    """

    interval_s: float = Field(default=5, gt=0)
    warm_up_s: float = Field(default=5, ge=0)
    window_s: float = Field(default=60, gt=0)
    timeout_s: float = Field(default=900, gt=0)
    min_samples: int = Field(default=100, ge=0)
    no_traffic: Literal["inconclusive", "allowed"] = "inconclusive"
    baseline: Baseline = Baseline()
    on_inconclusive: OnInconclusive = OnInconclusive.PAUSE
    rules: tuple[Rule, ...] = Field(default_factory=_default_rules, min_length=1)

    def metric_names(self) -> frozenset[str]:
        """The metric families that the rules read, for the nodes to ship."""
        names: set[str] = set()
        for rule in self.rules:
            match rule:
                case ErrorRateRule():
                    names.add(rule.total)
                case LatencyRule():
                    names.add(rule.histogram)
                case GaugeRule():
                    names.add(rule.metric)
                case ClassicRule():
                    names |= {rule.total, rule.histogram}
                case VersionRule() | RestartsRule():
                    pass
        return frozenset(names)
