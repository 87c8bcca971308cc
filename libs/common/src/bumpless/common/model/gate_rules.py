"""Rules of a gate beyond the ratio ones: the sequential tests, limits on expressions, trends, and rules of rules.

Ratios of the sequential rules are odds ratios (errors) and ratios of time (latency) between canary and control.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from bumpless.common.contract.base import StrictModel
from bumpless.common.model.expression import Expression
from bumpless.common.model.selector import MetricName, Selector

RuleName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class JudgedRule(StrictModel):
    """What every rule has.

    `name` is what evidence and composites call it, where its kind does not do. A rule that is a `dry_run` is judged
    and shown and decides nothing. One that is broken fails the batch, or with `on_fail: pause` only pauses it.
    """

    name: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_-]{0,62})?$")] = Field(
        default="", exclude_if=lambda name: not name
    )
    dry_run: bool = Field(default=False, exclude_if=lambda dry: not dry)
    on_fail: Literal["fail", "pause"] = Field(default="fail", exclude_if=lambda action: action == "fail")

    @property
    def called(self) -> str:
        """Its name, or its kind."""
        return self.name or str(getattr(self, "rule"))  # noqa: B009 - declared by every subclass


class SequentialErrors(JudgedRule):
    """Bad requests among all, tick by tick against the peers', with a bound on false alarms.

    Bad are the requests of `total` that `bad` selects or, where `bad_total` is given, those that this other counter
    counts. `allowed_increase` is what a release may be worse by; `critical_increase` what a pass rules out;
    `alone_increase` what is allowed where the nodes' own past stands in for peers. An error rate below `slo` is good
    enough whatever the peers do. `startup`: an error rate above 20 % right after the switch is a fault of its own.
    """

    rule: Literal["sequential_errors"] = "sequential_errors"
    total: MetricName = "http_requests_total"
    bad: Selector = 'status=~"5.."'
    bad_total: MetricName | None = None
    allowed_increase: float = Field(default=1.2, ge=1)
    critical_increase: float = Field(default=3.0, gt=1)
    alone_increase: float = Field(default=2.0, ge=1)
    slo: float | None = Field(default=0.01, gt=0, lt=1)
    startup: bool = True

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _check_order(self.allowed_increase, self.critical_increase)
        return self


class SequentialLatency(JudgedRule):
    """Slow requests among all, tick by tick against the peers', with a bound on false alarms.

    For each of `quantiles` the requests above that bucket bound count which was exceeded most nearly so often before.
    The increases are of time: 1.1 is a tenth longer. A pass needs the quantiles up to 0.9 only.
    """

    rule: Literal["sequential_latency"] = "sequential_latency"
    histogram: MetricName = "http_request_duration_seconds"
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(default=(0.5, 0.9, 0.99), min_length=1)
    allowed_increase: float = Field(default=1.1, ge=1)
    critical_increase: float = Field(default=1.5, gt=1)
    alone_increase: float = Field(default=1.25, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if len(set(self.quantiles)) < len(self.quantiles):
            raise ValueError(f"expected every quantile once, found {self.quantiles}")
        _check_order(self.allowed_increase, self.critical_increase)
        return self


def _check_order(allowed: float, critical: float) -> None:
    if critical <= allowed:
        raise ValueError(
            f"expected critical_increase above allowed_increase ({allowed:g}), "
            f"found {critical:g}: what is allowed could not be told from what is critical"
        )


class ThresholdRule(JudgedRule):
    """Broken when the value is above or below a limit, on any instance, at every reading for `for_s`.

    `max_ratio` is a limit of so many times the baseline: the highest mean of any peer. Such a comparison has no bound
    on its false alarms, and may only pause.
    """

    rule: Literal["threshold"] = "threshold"
    value: Expression
    above: float | None = None
    below: float | None = None
    max_ratio: float | None = Field(default=None, gt=0)
    for_s: float = Field(default=0, ge=0)
    on_fail: Literal["fail", "pause"] = "pause"

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.max_ratio is not None and self.on_fail == "fail":
            raise ValueError("expected on_fail: pause beside max_ratio, found fail: use above or below")
        if self.above is None and self.below is None and self.max_ratio is None:
            raise ValueError("expected above, below or max_ratio, found none: the rule could never fail")
        return self


class EqualsRule(JudgedRule):
    """Broken when, from `within_s` after opening, a metric of an instance is not what is expected.

    `expected` is a number; with `label` it is the text of that label on every series of the metric. `{version}` and
    `{digest}` stand for what the node was told to run.
    """

    rule: Literal["equals"] = "equals"
    metric: MetricName
    label: str = ""
    expected: float | str
    within_s: float = Field(default=10, ge=0)

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if isinstance(self.expected, str) is not bool(self.label):
            raise ValueError("expected a number, or a text and a label to find it in")
        return self


class TrendRule(JudgedRule):
    """Broken when a value, if it goes on as it does, reaches `limit` within `horizon_s`, on any instance.

    The slope is the median of all slopes between two readings (Theil and Sen), from the end of the warm-up on, and
    has to be beyond chance (Mann and Kendall, 1 %). A forecast has no bound on its false alarms: it pauses, and does
    not fail.
    """

    rule: Literal["trend"] = "trend"
    value: Expression
    limit: float
    direction: Literal["up", "down"] = "up"
    horizon_s: float = Field(default=600, gt=0)
    on_fail: Literal["pause"] = "pause"


class CompositeRule(JudgedRule):
    """Broken when so many of the rules `of` are: `any` of them, `all`, or at least a number.

    Rules that are part of a composite do not decide by themselves.
    """

    rule: Literal["composite"] = "composite"
    of: tuple[RuleName, ...] = Field(min_length=2)
    broken_by: Literal["any", "all"] | int = "all"

    @model_validator(mode="after")
    def _can_be_broken(self) -> Self:
        if isinstance(self.broken_by, int) and not 1 <= self.broken_by <= len(self.of):
            raise ValueError(f"expected broken_by from 1 to {len(self.of)}, found {self.broken_by}")
        if len(set(self.of)) < len(self.of):
            raise ValueError(f"expected every rule once, found {', '.join(self.of)}")
        return self

    @property
    def needed(self) -> int:
        """How many broken parts break it."""
        match self.broken_by:
            case "any":
                return 1
            case "all":
                return len(self.of)
            case int() as count:
                return count
