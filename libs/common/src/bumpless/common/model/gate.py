"""What a gate judges a batch by: rules over metrics, a baseline, a window.

Part of a release file and, unchanged, of the plan and of the command that opens a gate. Durations are seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from bumpless.common.contract.base import StrictModel

_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_ESCAPE = re.compile(r"\\(.)")


def unescape(quoted: str) -> str:
    """The text between the quotes of a label value: `\\n` is a line break, `\\x` is x for every other x."""
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], quoted)


@dataclass(frozen=True)
class Matcher:
    """One condition on one label. A label that is not there has the empty value; expressions match as a whole."""

    label: str
    operator: str
    value: str

    def matches(self, found: str) -> bool:
        if self.operator in ("=", "!="):
            holds = found == self.value
        else:
            holds = re.fullmatch(self.value, found) is not None
        return holds is not self.operator.startswith("!")


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """The conditions of a selector such as `status=~"5..", method!="GET"`; all of them must hold.

    Operators: `=`, `!=`, and `=~`, `!~` with a regular expression over the whole value.

    Raises:
        ValueError: what was expected, and where `text` is something else.
    """
    matchers: list[Matcher] = []
    at = 0
    while at < len(text) or not matchers:
        found = _MATCHER.match(text, at)
        if found is None or (found[4] == "," and found.end() == len(text)):
            raise ValueError(
                f'expected a selector such as status=~"5..",method="GET", found {text!r} (at position {at})'
            )
        label, operator, value = (
            found[1],
            found[2],
            unescape(found[3]) if found[2] in ("=", "!=") else found[3],
        )
        if operator.endswith("~"):
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"expected a regular expression, found {value!r}: {error}") from error
        matchers.append(Matcher(label, operator, value))
        at = found.end()
    return tuple(matchers)


def _checked_selector(text: str) -> str:
    parse_selector(text)
    return text


Selector = Annotated[str, AfterValidator(_checked_selector)]
"""Conditions on labels, checked when the spec is loaded; see `parse_selector`."""

MetricName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
"""The name of a metric family, without labels. A histogram's is the name without `_bucket`."""


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
    `history_s` is how far back such a baseline reaches. `required` False is for first installs: where neither
    exists, rules that compare are judged by what is absolute in them (`floor` of an error rate, `max_s`,
    `max_value`) or not at all, and say so; True makes the gate inconclusive instead.
    """

    mode: Literal["concurrent", "self_history"] = "concurrent"
    history_s: float = Field(default=60, gt=0)
    required: bool = True


_R = TypeVar("_R", bound=StrictModel)


def _limited(rule: _R, ratio: float | None, absolute: float | None, names: str) -> _R:
    if ratio is None and absolute is None:
        raise ValueError(f"expected {names}, found neither: the rule could never fail")
    return rule


class ErrorRateRule(StrictModel):
    """Fails when bad / total exceeds `max_ratio` times the baseline's and also `floor`, or exceeds `max_rate`.

    `floor` is an error rate (0..1) below which no ratio counts, so that one error against none does not fail.
    """

    rule: Literal["error_rate"] = "error_rate"
    total: MetricName = "http_requests_total"
    bad: Selector = 'status=~"5.."'
    max_ratio: float | None = Field(default=3.0, gt=0)
    floor: float = Field(default=0.01, ge=0, le=1)
    max_rate: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        return _limited(self, self.max_ratio, self.max_rate, "max_ratio or max_rate")


class LatencyRule(StrictModel):
    """Fails when the quantile exceeds `max_ratio` times the baseline's and also `floor_s`, or exceeds `max_s`."""

    rule: Literal["latency"] = "latency"
    histogram: MetricName = "http_request_duration_seconds"
    quantile: float = Field(default=0.95, gt=0, lt=1)
    max_ratio: float | None = Field(default=2.0, gt=0)
    floor_s: float = Field(default=0.01, ge=0)
    max_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        return _limited(self, self.max_ratio, self.max_s, "max_ratio or max_s")


class GaugeRule(StrictModel):
    """Fails when a gauge stays above `max_value`, or `max_ratio` times the baseline and `floor`, for `for_s`.

    Summed over labels; the highest instance counts. The baseline is the highest instance's mean. Used for
    queue_length and inflight_count.
    """

    rule: Literal["gauge"] = "gauge"
    metric: MetricName
    max_value: float | None = None
    max_ratio: float | None = Field(default=None, gt=0)
    floor: float = Field(default=1, ge=0)
    for_s: float = Field(default=10, ge=0)

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        return _limited(self, self.max_ratio, self.max_value, "max_ratio or max_value")


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
    total: MetricName = "http_requests_total"
    bad: Selector = 'status=~"5.."'
    histogram: MetricName = "http_request_duration_seconds"
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
    `timeout_s` after opening, a gate that could not decide is inconclusive. `no_traffic` says what zero requests mean: by default they
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

    @model_validator(mode="after")
    def _can_pass_in_time(self) -> Self:
        if self.timeout_s < self.warm_up_s + self.window_s:
            raise ValueError(
                f"expected timeout_s of at least warm_up_s + window_s = {self.warm_up_s + self.window_s:g}, "
                f"found {self.timeout_s:g}: the gate could never pass"
            )
        return self

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
