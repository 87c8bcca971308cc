"""What a gate judges a batch by: rules over metrics, a baseline, a window.

Part of a release file and, unchanged, of the plan and of the command that opens a gate. Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from bumpless.common.contract.base import StrictModel
from bumpless.common.model.expression import parse_expression
from bumpless.common.model.gate_baseline import Baseline, Pinned
from bumpless.common.model.gate_rules import (
    CompositeRule,
    EqualsRule,
    JudgedRule,
    SequentialErrors,
    SequentialLatency,
    ThresholdRule,
    TrendRule,
)
from bumpless.common.model.metric_source import MetricsFrom
from bumpless.common.model.probe import (
    DependenciesRule,
    NoTraffic,
    Probe,
    ProbeRule,
    ProbeRules,
    SpeedRule,
    ValueRule,
)
from bumpless.common.model.selector import Matcher, MetricName, Selector, parse_selector, unescape

__all__ = [
    "Baseline",
    "ClassicRule",
    "CompositeRule",
    "EqualsRule",
    "ErrorRateRule",
    "FalseAlarm",
    "GateSpec",
    "GaugeRule",
    "JudgedRule",
    "LatencyRule",
    "Matcher",
    "MetricName",
    "OnInconclusive",
    "Pinned",
    "RestartsRule",
    "Rule",
    "Selector",
    "SequentialErrors",
    "SequentialLatency",
    "ThresholdRule",
    "TrendRule",
    "VersionRule",
    "parse_selector",
    "unescape",
]


class OnInconclusive(StrEnum):
    """What a gate that could not decide by its deadline does to its batch."""

    PAUSE = "pause"
    EXTEND = "extend"
    FAIL = "fail"
    PASS = "pass"


_R = TypeVar("_R", bound=StrictModel)


def _limited(rule: _R, ratio: float | None, absolute: float | None, names: str) -> _R:
    if ratio is None and absolute is None:
        raise ValueError(f"expected {names}, found neither: the rule could never fail")
    return rule


class ErrorRateRule(JudgedRule):
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


class LatencyRule(JudgedRule):
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


class GaugeRule(JudgedRule):
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


class VersionRule(JudgedRule):
    """Fails when a node of the batch reports another version or digest than commanded, `within_s` after opening."""

    rule: Literal["version"] = "version"
    within_s: float = Field(default=10, ge=0)


class RestartsRule(JudgedRule):
    """Fails when an instance of the batch restarted more than `max_restarts` times since its switch."""

    rule: Literal["restarts"] = "restarts"
    max_restarts: int = Field(default=1, ge=0)


class ClassicRule(JudgedRule):
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
    SequentialErrors
    | SequentialLatency
    | ErrorRateRule
    | LatencyRule
    | GaugeRule
    | VersionRule
    | RestartsRule
    | ClassicRule
    | ThresholdRule
    | EqualsRule
    | TrendRule
    | CompositeRule
    | ProbeRules,
    Field(discriminator="rule"),
]

SEQUENTIAL = ("sequential_errors", "sequential_latency")
MISSING_TICKS = 4
WARM_UP_S, HISTORY_S = 30.0, 1800.0
"""What a gate with sequential rules takes where nothing is said: a cold start is no fault of a release, and a half
hour is what the nodes' drift can be told from."""


def _default_rules() -> tuple[Rule, ...]:
    return (SequentialErrors(), SequentialLatency(), VersionRule(), RestartsRule())


class FalseAlarm(StrictModel):
    """How often a good release may be failed by the sequential rules, at most: a probability (0..1).

    `per` release: over all its batches together, and what the batches show adds up. `per` batch: for each alone.
    """

    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    per: Literal["release", "batch"] = "release"


class GateSpec(StrictModel):
    """When and by what a batch is judged.

    `interval_s` is the tick; samples of the first `warm_up_s` after a switch do not count for rates and latency (left
    out: 30 with sequential rules, else 5); a pass needs `window_s` of judged time and `min_samples` requests per rule
    that counts requests; `timeout_s` after opening, a gate that could not decide is inconclusive. `no_traffic` says
    what zero requests mean: by default they are missing data; `allowed` lets a component that serves no requests pass
    on its other rules. So many `missing_ticks` without a word are silence, and so many unanswered scrapes in a row a
    dead instance. A gate with sequential rules is inconclusive already after `silence_s` in which the whole
    canary said nothing, or served nothing.

    `false_alarm` and `beta` belong to the sequential rules: the probability of failing a good release, and roughly
    that of passing one that is worse by a rule's critical increase. `onset_s`: reckon with faults that begin any time
    in the first so many seconds; quicker for late ones, and more easily alarmed.

    `source` None: the metrics are those that the nodes scrape. `probes` are tried by the nodes, for rules that
    read them.
    """

    interval_s: float = Field(default=5, gt=0)
    warm_up_s: float = Field(default=5, ge=0)
    window_s: float = Field(default=60, gt=0)
    timeout_s: float = Field(default=900, gt=0)
    min_samples: int = Field(default=100, ge=0)
    no_traffic: Literal["inconclusive", "allowed"] | NoTraffic = "inconclusive"
    baseline: Baseline = Baseline()
    on_inconclusive: OnInconclusive = OnInconclusive.PAUSE
    false_alarm: FalseAlarm = Field(default=FalseAlarm(), exclude_if=lambda found: found == FalseAlarm())
    beta: float = Field(default=0.01, gt=0, lt=0.5, exclude_if=lambda beta: beta == 0.01)
    missing_ticks: int = Field(default=MISSING_TICKS, ge=2, exclude_if=lambda ticks: ticks == MISSING_TICKS)
    silence_s: float = Field(default=60, gt=0, exclude_if=lambda silence: silence == 60)
    onset_s: float | None = Field(default=None, gt=0, exclude_if=lambda onset: onset is None)
    rules: tuple[Rule, ...] = Field(default_factory=_default_rules, min_length=1)
    source: MetricsFrom | None = Field(default=None, exclude_if=lambda found: found is None)
    probes: tuple[Probe, ...] = Field(default=(), exclude_if=lambda found: not found)

    @model_validator(mode="before")
    @classmethod
    def _sequential_defaults(cls, value: Any) -> Any:
        """The warm-up and the history of sequential rules, where neither they nor other rules are given."""
        if not isinstance(value, dict) or not _any_sequential(value.get("rules")):
            return value
        baseline = value.get("baseline", {})
        if isinstance(baseline, dict):
            baseline = {"history_s": HISTORY_S, **baseline}
        elif isinstance(baseline, Baseline) and "history_s" not in baseline.model_fields_set:
            baseline = baseline.model_copy(update={"history_s": HISTORY_S})
        # A gate too short for the long warm-up keeps the short one, as before there were sequential rules.
        timeout, window = value.get("timeout_s", 900), value.get("window_s", 60)
        long = isinstance(timeout, (int, float)) and isinstance(window, (int, float))
        if long and timeout >= WARM_UP_S + window:
            value = {"warm_up_s": WARM_UP_S, **value}
        return {**value, "baseline": baseline}

    @model_validator(mode="after")
    def _can_pass_in_time(self) -> Self:
        if self.timeout_s < self.warm_up_s + self.window_s:
            raise ValueError(
                f"expected timeout_s of at least warm_up_s + window_s = {self.warm_up_s + self.window_s:g}, "
                f"found {self.timeout_s:g}: the gate could never pass"
            )
        return self

    @model_validator(mode="after")
    def _names_its_parts(self) -> Self:
        names = [rule.called for rule in self.rules]
        for rule in self.rules:
            if rule.name and names.count(rule.name) > 1:
                raise ValueError(f"expected every name of a rule once, found {rule.name!r} twice")
            if not isinstance(rule, CompositeRule):
                continue
            for part in rule.of:
                found = [other for other in self.rules if other.called == part]
                if len(found) != 1 or isinstance(found[0], CompositeRule):
                    raise ValueError(
                        f"composite {rule.called}: expected the name of one rule of this gate that is no composite, "
                        f"found {part!r}; the rules are {', '.join(names)}"
                    )
        if all(rule.dry_run for rule in self.rules):
            raise ValueError("expected a rule that decides, found dry runs only: the gate could never fail")
        return self

    @model_validator(mode="after")
    def _pinned_for_every_rule(self) -> Self:
        if self.baseline.mode != "pinned":
            return self
        pinned = self.baseline.pinned
        for rule in self.rules:
            if isinstance(rule, GaugeRule | ThresholdRule) and rule.max_ratio is not None:
                raise ValueError(
                    f"expected a fixed limit in rule {rule.called}, found max_ratio: a pinned baseline has "
                    "requests only"
                )
            errors, slow = _compares(rule)
            found = pinned.get(rule.called)
            if errors and (found is None or found.requests is None):
                raise ValueError(f"expected requests and bad in baseline.pinned.{rule.called}, found none")
            if slow and (found is None or not found.buckets):
                raise ValueError(f"expected buckets in baseline.pinned.{rule.called}, found none")
        if unknown := sorted(set(pinned) - {rule.called for rule in self.rules}):
            raise ValueError(f"expected the names of rules in baseline.pinned, found {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _probes_are_known(self) -> Self:
        names = [probe.name for probe in self.probes]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"expected every probe under a name of its own, found {twice} twice")
        if made := next((probe.name for probe in self.probes if probe.links is not None), None):
            raise ValueError(
                f"expected no links in probe {made}: the rule dependencies makes them from depends_on"
            )
        read = [rule.probe for rule in self.rules if isinstance(rule, ProbeRule | ValueRule | SpeedRule)]
        read += [self.no_traffic.probe] if isinstance(self.no_traffic, NoTraffic) else []
        if unknown := next((name for name in read if name not in names), None):
            raise ValueError(
                f"expected one of the gate's probes ({', '.join(names) or 'none'}), found {unknown}"
            )
        by_name = {probe.name: probe for probe in self.probes}
        for rule in self.rules:
            command = by_name[rule.probe].command if isinstance(rule, ValueRule) else None
            if isinstance(rule, ValueRule) and (command is None or command.reads != "number"):
                raise ValueError(
                    f"expected probe {rule.probe} to be a command with reads: number, for rule value"
                )
            if isinstance(rule, SpeedRule) and by_name[rule.probe].command is not None:
                raise ValueError(
                    f"expected http, tcp or a scenario for rule speed, found the command {rule.probe}: it is not tried "
                    "beside the earlier version"
                )
        return self

    def for_depending(self, depends: bool) -> Self:
        """This gate for a component that depends on others, or on none: there are no links of it to look at then."""
        kept = tuple(rule for rule in self.rules if depends or not isinstance(rule, DependenciesRule))
        return self if kept in (self.rules, ()) else self.model_copy(update={"rules": kept})

    @property
    def sequential(self) -> bool:
        """Whether any rule is a sequential one."""
        return any(rule.rule in SEQUENTIAL for rule in self.rules)

    def metric_names(self) -> frozenset[str]:
        """The metric families that the rules read, for the nodes to ship."""
        return frozenset(name for rule in self.rules for name in _read_by(rule))


def _any_sequential(rules: Any) -> bool:
    """Whether rules, as written or as made, are or contain sequential ones; none given are the default ones."""
    if rules is None:
        return True
    if not isinstance(rules, (list, tuple)):
        return False
    kinds = [rule.get("rule") if isinstance(rule, dict) else getattr(rule, "rule", None) for rule in rules]
    return any(kind in SEQUENTIAL for kind in kinds)


def _compares(rule: Rule) -> tuple[bool, bool]:
    """Whether the rule compares error rates, and whether it compares latencies, with a baseline."""
    match rule:
        case SequentialErrors():
            return True, False
        case SequentialLatency():
            return False, True
        case ErrorRateRule():
            return rule.max_ratio is not None, False
        case LatencyRule():
            return False, rule.max_ratio is not None
        case ClassicRule():
            return True, True
        case _:
            return False, False


def _read_by(rule: Rule) -> Iterator[str]:
    match rule:
        case SequentialErrors():
            yield rule.total
            if rule.bad_total is not None:
                yield rule.bad_total
        case ErrorRateRule():
            yield rule.total
        case SequentialLatency() | LatencyRule():
            yield rule.histogram
        case GaugeRule() | EqualsRule():
            yield rule.metric
        case ClassicRule():
            yield from (rule.total, rule.histogram)
        case ThresholdRule() | TrendRule():
            yield from parse_expression(rule.value).metrics
        case (
            VersionRule() | RestartsRule() | CompositeRule() | ProbeRule() | ValueRule() | DependenciesRule()
        ):
            pass
