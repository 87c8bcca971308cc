"""What holds now: every rule over what is known, without a clock and without I/O.

A rule's answer for a group is yes, no, or None for "not known". Composites follow Kleene's logic: what is not known may
be either, and the answer is known only where that makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations

from bumpless.alerts.answers import Answer, Answers
from bumpless.alerts.apart import sequential
from bumpless.alerts.samples import Group, Samples, Scrape, measured, points
from bumpless.alerts.trend import trend
from bumpless.common.model.alert_rules import (
    CompositeRule,
    EventKind,
    EventRule,
    Of,
    RatioRule,
    Rule,
    SequentialRule,
    ThresholdRule,
    TrendRule,
)

__all__ = ["Answer", "Answers", "Facts", "Happened", "absent", "evaluate"]


@dataclass(frozen=True)
class Happened:
    """One event of Bumpless itself, with the labels of its alert."""

    at: datetime
    kind: EventKind
    labels: Group
    text: str


@dataclass(frozen=True)
class Facts:
    """What is known. `nodes`: when each of them was last heard; `since`: how long we have listened for them."""

    samples: Samples
    nodes: Mapping[str, datetime] = field(default_factory=dict)
    events: Sequence[Happened] = ()
    since: datetime | None = None


def evaluate(rules: Iterable[Rule], facts: Facts, now: datetime) -> dict[str, Answers]:
    """The answers of every rule by name. A group that a rule over events does not name has the answer no."""
    by_name = {rule.name: rule for rule in rules}
    found: dict[str, Answers] = {}

    def answer(name: str) -> Answers:
        if name not in found:
            rule = by_name[name]
            if isinstance(rule, CompositeRule):
                found[name] = _composite(rule, {part: (answer(part), by_name[part]) for part in rule.parts})
            else:
                found[name] = _simple(rule, facts, now)
        return found[name]

    for name in by_name:
        answer(name)
    return found


def absent(rule: Rule, by_name: Mapping[str, Rule]) -> bool | None:
    """The answer for a group that the rule says nothing about."""
    if not isinstance(rule, CompositeRule):
        return False if isinstance(rule, EventRule) else None
    parts = [absent(by_name[name], by_name) for name in rule.parts]
    if parts.count(None) + parts.count(True) >= rule.needed:
        return None
    return False


def _simple(
    rule: ThresholdRule | RatioRule | TrendRule | SequentialRule | EventRule, facts: Facts, now: datetime
) -> Answers:
    if isinstance(rule, EventRule):
        return _events(rule, facts, now)
    if isinstance(rule, SequentialRule):
        return sequential(rule, facts.samples, now)
    start = now - timedelta(seconds=rule.window_s)
    groups = facts.samples.groups(rule.per, rule.component, start, now)
    match rule:
        case ThresholdRule():
            return {group: _threshold(rule, instances) for group, instances in groups}
        case RatioRule():
            return {group: _ratio(rule, instances) for group, instances in groups}
        case TrendRule():
            return {group: _trend(rule, points(instances, rule, start, now)) for group, instances in groups}


def _threshold(rule: ThresholdRule, instances: list[list[Scrape]]) -> Answer:
    value = measured(instances, rule, rule.of)
    if value is None:
        return Answer(None, detail=f"no samples of {rule.metric}")
    what = rule.metric if rule.of is Of.VALUE else f"{rule.of} of {rule.metric}"
    return Answer(rule.crossed(value), value, f"{what} is {value:g}, {_limits(rule)}")


def _ratio(rule: RatioRule, instances: list[list[Scrape]]) -> Answer:
    whole = measured(instances, rule.whole, Of.INCREASE)
    if whole is None or whole < rule.min_whole:
        few = 0 if whole is None else whole
        return Answer(
            None,
            detail=f"{rule.whole.metric} grew by {few:g} in {rule.window_s:g} s, fewer than {rule.min_whole:g}",
        )
    part = measured(instances, rule.part, Of.INCREASE) or 0.0  # a series of faults is born with the first one
    value = part / whole
    return Answer(
        rule.crossed(value),
        value,
        f"{part:g} of {whole:g} {rule.whole.metric} in {rule.window_s:g} s, a share of {value:.4g}, {_limits(rule)}",
    )


def _trend(rule: TrendRule, found: list[tuple[float, float]]) -> Answer:
    line = trend(found)
    span = found[-1][0] - found[0][0] if found else 0.0
    if line is None or len(found) < rule.min_points or span < rule.window_s / 4:
        return Answer(
            None,
            detail=f"{len(found)} points of {rule.metric} over {span:g} s are too few for a trend",
        )
    ahead = line.ahead(rule.horizon_s)
    sure = line.chance < rule.p
    return Answer(
        rule.crossed(ahead) and sure,
        line.level,
        f"{rule.metric} is {line.level:.4g} and changes by {line.slope * 60:.4g} a minute: {ahead:.4g} in "
        f"{rule.horizon_s:g} s, {_limits(rule)}" + ("" if sure else "; no clear direction"),
    )


def _limits(rule: ThresholdRule | RatioRule | TrendRule) -> str:
    limits = [] if rule.above is None else [f"at most {rule.above:g}"]
    limits += [] if rule.below is None else [f"at least {rule.below:g}"]
    return "expected " + " and ".join(limits)


def _events(rule: EventRule, facts: Facts, now: datetime) -> Answers:
    since = now - timedelta(seconds=rule.window_s)
    if rule.event is EventKind.NODE_SILENT:
        # After an outage of ours nodes have not had the time to say anything.
        silent = True if facts.since is None or facts.since <= since else None
        return {
            (("node", node),): Answer(
                silent if heard < since else False,
                (now - heard).total_seconds(),
                f"nothing from {node} since {heard:%Y-%m-%d %H:%M:%S} UTC, expected a word every {rule.window_s:g} s",
            )
            for node, heard in facts.nodes.items()
        }
    found: dict[Group, list[Happened]] = {}
    for event in facts.events:
        if event.kind is rule.event and event.at >= since:
            found.setdefault(event.labels, []).append(event)
    return {
        group: Answer(
            len(events) > rule.more_than,
            len(events),
            max(events, key=lambda event: event.at).text
            + (f" ({len(events)} times in {rule.window_s:g} s)" if len(events) > 1 else ""),
        )
        for group, events in found.items()
    }


def _composite(rule: CompositeRule, parts: Mapping[str, tuple[Answers, Rule]]) -> Answers:
    groups = {group for answers, _ in parts.values() for group in answers}
    finest = groups - {part for group in groups for part in _parts(group) if part != group}
    return {group: _combined(rule, group, parts) for group in sorted(finest)}


def _combined(rule: CompositeRule, group: Group, parts: Mapping[str, tuple[Answers, Rule]]) -> Answer:
    yes: list[str] = []
    open_: list[str] = []
    for name, (answers, part) in parts.items():
        covering = [answers[known].holds for known in _parts(group) if known in answers]
        holds = _any(covering) if covering else False if isinstance(part, EventRule) else None
        if holds is None:
            open_.append(name)
        elif holds:
            yes.append(name)
    held = ", ".join(yes) or "none"
    detail = f"{len(yes)} of {len(parts)} hold ({held}), expected fewer than {rule.needed}"
    if len(yes) >= rule.needed:
        return Answer(True, len(yes), detail)
    if len(yes) + len(open_) >= rule.needed:
        return Answer(None, len(yes), f"{detail}; not known: {', '.join(open_)}")
    return Answer(False, len(yes), detail)


def _parts(group: Group) -> Iterator[Group]:
    """The group itself, and every one that it belongs to; a group has few labels."""
    for size in range(len(group) + 1):
        yield from combinations(group, size)


def _any(found: Sequence[bool | None]) -> bool | None:
    if any(found):
        return True
    return None if None in found else False
