"""Rules that alerts come from: over the samples of instances, over other rules, and over Bumpless' own events.

Every rule is evaluated per group (`per`): each component on each node, each component, or everything together. Its
answer is yes, no, or not known; what is not known neither raises an alert nor ends one. Durations are seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bumpless.common.contract.base import StrictModel, Token
from bumpless.common.model.alert import NAME, LabelName, LabelValue, Severity
from bumpless.common.model.gate import MetricName, Selector

RuleName = Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_-]{0,62}$")]


class Per(StrEnum):
    """`node`: each component on each node."""

    NODE = "node"
    COMPONENT = "component"
    FLEET = "fleet"


class Of(StrEnum):
    """What of a series is looked at: its last value, its growth over the window, or its growth per second."""

    VALUE = "value"
    INCREASE = "increase"
    RATE = "rate"


class Series(StrictModel):
    """The series of one metric, summed; `where` keeps those whose labels fit."""

    metric: MetricName
    where: Selector | None = None


class Limited(StrictModel):
    """`above` or `below`, or both for a range that is left."""

    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("expected a limit: above, below, or both; found none")
        return self

    def crossed(self, value: float) -> bool:
        high = self.above is not None and value > self.above
        return high or (self.below is not None and value < self.below)


class _Rule(StrictModel):
    """`for_s`: how long it must hold before it fires. `labels` are added to the alert's."""

    name: RuleName
    severity: Severity = Severity.WARNING
    for_s: float = Field(default=0, ge=0, le=7 * 86_400)
    labels: dict[LabelName, LabelValue] = {}
    summary: str = ""
    runbook: str = ""

    @model_validator(mode="after")
    def _own_labels(self) -> Self:
        taken = sorted({NAME, "node", "component", "rollout"} & set(self.labels))
        if taken:
            raise ValueError(f"expected labels other than those Bumpless sets, found {', '.join(taken)}")
        return self


class _Sampled(_Rule):
    """A rule over samples. `component` limits it to one; `window_s` is how far back it looks."""

    component: Token | None = None
    per: Per = Per.NODE
    window_s: float = Field(default=60, gt=0, le=6 * 3600)


class ThresholdRule(_Sampled, Series, Limited):
    """Holds while the value, or its growth, is outside its limits."""

    rule: Literal["threshold"]
    of: Of = Of.VALUE


class RatioRule(_Sampled, Limited):
    """Holds while the growth of `part` divided by that of `whole` is outside its limits; not known below `min_whole`."""

    rule: Literal["ratio"]
    part: Series
    whole: Series
    min_whole: float = Field(default=20, gt=0)


class TrendRule(_Sampled, Series, Limited):
    """Holds while the value goes towards its limit and would be past it within `horizon_s`: a warning ahead.

    The slope is the median of the slopes between all pairs of points (Theil-Sen), and counts only where so many pairs
    go the same way that chance would do it in fewer than `p` of all cases (Kendall's test).
    """

    rule: Literal["trend"]
    window_s: float = Field(default=600, gt=0, le=6 * 3600)
    horizon_s: float = Field(default=600, gt=0, le=30 * 86_400)
    min_points: int = Field(default=10, ge=5, le=500)
    p: float = Field(default=0.01, gt=0, lt=0.5)


class SequentialRule(_Sampled):
    """Holds while one node, or the set `nodes`, does worse than the rest of its component; or a group, than before.

    Events among `whole` are those of `part`, or all but those of `good`. They are set beside each other tick by tick
    (`tick_s`), in windows of `window_s` of which each begins anew. With odds of an event at most `allowed_increase`
    times the others', the rule holds within a window, for any group, with a probability of at most `alpha`.
    """

    rule: Literal["sequential"]
    whole: Series
    part: Series | None = None
    good: Series | None = None
    against: Literal["rest", "past"] = "rest"
    nodes: tuple[Token, ...] = ()
    window_s: float = Field(default=1800, ge=60, le=2 * 3600)
    tick_s: float = Field(default=30, ge=5, le=600)
    allowed_increase: float = Field(default=2.0, ge=1, le=20)
    alpha: float = Field(default=0.001, gt=0, lt=0.5)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.part is None) is (self.good is None):
            raise ValueError(
                "expected one of part and good, found " + ("none" if self.part is None else "both")
            )
        if self.against == "rest" and self.per is not Per.NODE:
            raise ValueError(f"expected per: node with against: rest, found {self.per}: there is no rest")
        if self.against == "past" and self.nodes:
            raise ValueError("expected nodes with against: rest only, found them with past")
        if self.ticks < 4:
            raise ValueError(f"expected at least four ticks in a window, found {self.ticks}")
        return self

    @property
    def events(self) -> Series:
        """What is counted besides `whole`."""
        found = self.part or self.good
        assert found is not None
        return found

    @property
    def ticks(self) -> int:
        """How many there are in a window."""
        return int(self.window_s / self.tick_s)

    @property
    def looks_back_s(self) -> float:
        """This window, the one before, and what that one is set beside."""
        return (3 if self.against == "past" else 2) * self.window_s


class CompositeRule(_Rule):
    """Holds while all, any, or at least `k` of the rules it names hold, before their `for_s`.

    Groups are those of the finest rule named; a rule over the fleet counts for every group.
    """

    rule: Literal["composite"]
    all_of: tuple[RuleName, ...] = ()
    any_of: tuple[RuleName, ...] = ()
    of: tuple[RuleName, ...] = ()
    k: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("all_of", "any_of", "of") if getattr(self, name)]
        if len(given) != 1 or (given == ["of"]) != (self.k is not None):
            found = ", ".join(given) or "none"
            raise ValueError(f"expected all_of, any_of, or of with k; found {found}, k {self.k}")
        if self.k is not None and self.k > len(self.of):
            raise ValueError(f"expected k of at most {len(self.of)} rules, found {self.k}")
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        return self.all_of or self.any_of or self.of

    @property
    def needed(self) -> int:
        return len(self.all_of) or self.k or 1


class EventKind(StrEnum):
    """What Bumpless sees of itself.

    `node-silent`: a node said nothing for `window_s`. `crash-loop`: one was told within `window_s`. `rollout-halted`,
    `rollout-failed`: one was, within `window_s`. `consumer-gave-up`: the broker gave up on a message. `parked`: more
    than `more_than` messages of a service were parked within `window_s`.
    """

    NODE_SILENT = "node-silent"
    CRASH_LOOP = "crash-loop"
    ROLLOUT_HALTED = "rollout-halted"
    ROLLOUT_FAILED = "rollout-failed"
    CONSUMER_GAVE_UP = "consumer-gave-up"
    PARKED = "parked"


class EventRule(_Rule):
    rule: Literal["event"]
    event: EventKind
    window_s: float = Field(default=600, gt=0, le=6 * 3600)
    more_than: int = Field(default=0, ge=0)


Rule = Annotated[
    ThresholdRule | RatioRule | TrendRule | SequentialRule | CompositeRule | EventRule,
    Field(discriminator="rule"),
]


def _built_in(name: str, event: EventKind, severity: Severity, window_s: float, summary: str) -> EventRule:
    return EventRule(
        rule="event", name=name, event=event, severity=severity, window_s=window_s, summary=summary
    )


BUILT_IN: tuple[EventRule, ...] = (
    _built_in(
        "NodeDown", EventKind.NODE_SILENT, Severity.CRITICAL, 180, "a node has said nothing for three minutes"
    ),
    _built_in("CrashLoop", EventKind.CRASH_LOOP, Severity.CRITICAL, 600, "a component dies again and again"),
    _built_in(
        "RolloutHalted",
        EventKind.ROLLOUT_HALTED,
        Severity.CRITICAL,
        3600,
        "a rollout or its revert stopped and waits for a person",
    ),
    _built_in(
        "ConsumerGaveUp",
        EventKind.CONSUMER_GAVE_UP,
        Severity.WARNING,
        3600,
        "the broker gave up delivering a message",
    ),
    _built_in(
        "MessagesParked",
        EventKind.PARKED,
        Severity.WARNING,
        3600,
        "a service put messages aside that it could not read or handle",
    ),
)
"""Hold in every fleet, unless its alerts file has a rule of the same name or says `built_in: false`."""

NODE_DOWN = "NodeDown"
"""The rule that is muted for the nodes of a batch under way, until that batch's deadline."""


def checked_rules(rules: tuple[Any, ...]) -> None:
    """Raises: ValueError, if a name stands twice, or composites name nothing, or each other in a circle."""
    by_name: dict[str, Any] = {}
    for rule in rules:
        if rule.name in by_name:
            raise ValueError(f"expected every rule's name once, found {rule.name} twice")
        by_name[rule.name] = rule

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ValueError(f"expected composites without a circle, found {' -> '.join((*path, name))}")
        found = by_name.get(name)
        if found is None:
            raise ValueError(f"expected a rule that exists in {path[-1]}, found {name}")
        if isinstance(found, CompositeRule):
            for part in found.parts:
                walk(part, (*path, name))

    for name in by_name:
        walk(name, ())
