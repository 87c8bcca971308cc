"""Who does worse than the rest, or than before: the sequential test as a rule. Pure.

Time is cut into windows of `window_s`, the same ones for everybody, and each window into ticks. In every window a test
begins anew, so that its bound holds however often it is looked at: within one window, a rule over groups that are not
worse than allowed holds for any of them with a probability of at most `alpha`. What a window found stays found until
the next one is over. Only ticks that are over count, and only growth between two scrapes near to each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bumpless.alerts.answers import Answer, Answers
from bumpless.alerts.samples import Group, Samples, Scrape, group_of, grown_pairs
from bumpless.common.model.alert_rules import Per, SequentialRule
from bumpless.common.sequential.eprocess import EProcess

LAG = timedelta(seconds=5)
"""How long after its end a tick is looked at: samples take a moment to arrive."""
GAP_TICKS = 3
"""Growth over a longer silence belongs to no tick."""

Ticks = list[tuple[float, float]]
"""Requests and events, tick by tick."""


@dataclass(frozen=True)
class _Side:
    """What one window shows of one group: sums of both sides over the ticks that both have, and the evidence."""

    reached: bool
    log_e: float
    n: float = 0.0
    m: float = 0.0
    x: float = 0.0
    y: float = 0.0


def sequential(rule: SequentialRule, samples: Samples, now: datetime) -> Answers:
    """The answer for every group that has samples."""
    window = timedelta(seconds=rule.window_s)
    this = datetime.fromtimestamp(now.timestamp() // rule.window_s * rule.window_s, UTC)
    before, earlier = this - window, this - 2 * window
    over = int((now - LAG - this) / timedelta(seconds=rule.tick_s))
    all_ticks = rule.ticks
    counted = {start: _counted(rule, samples, start) for start in (before, this)}
    if rule.against == "past":
        controls = {this: counted[before], before: _counted(rule, samples, earlier)}
    else:
        controls = {start: _rest(found) for start, found in counted.items()}
    groups = sorted(set(counted[this]) | set(counted[before]))
    if rule.nodes:
        groups = [group for group in groups if dict(group)["node"] == ""]
    bound = math.log(max(1, len(groups)) / rule.alpha)
    found: Answers = {}
    for group in groups:
        sides = [
            _tested(rule, counted[start].get(group, []), controls[start].get(group, []), ticks, bound)
            for start, ticks in ((this, min(max(over, 0), all_ticks)), (before, all_ticks))
        ]
        found[_named(rule, group)] = _answer(rule, sides, bound)
    return found


def _named(rule: SequentialRule, group: Group) -> Group:
    return tuple(label for label in group if label[0] != "node") if rule.nodes else group


def _counted(rule: SequentialRule, samples: Samples, start: datetime) -> Mapping[Group, Ticks]:
    """Every group's ticks in the window from `start`. A rule over a set has two groups a component: it, and the rest."""
    end = start + timedelta(seconds=rule.window_s)
    found: dict[Group, Ticks] = {}
    per = rule.per if rule.against == "past" else Per.NODE
    for group, instances in samples.groups(per, rule.component, start, end):
        key = group
        if rule.nodes:
            labels = dict(group)
            # The set is the group without a node's name, and the rest has one that no node has.
            key = group_of(
                Per.NODE, labels["component"], "" if labels["node"] in rule.nodes else "rest of it"
            )
        ticks = found.setdefault(key, [(0.0, 0.0)] * rule.ticks)
        _add(ticks, rule, instances, start)
    return found


def _add(ticks: Ticks, rule: SequentialRule, instances: Iterable[list[Scrape]], start: datetime) -> None:
    step = timedelta(seconds=rule.tick_s)
    for scrapes in instances:
        for at, whole, events in grown_pairs(scrapes, rule.whole, rule.events, GAP_TICKS * step):
            number = -((start - at) // step) - 1
            if 0 <= number < len(ticks):
                bad = whole - events if rule.good is not None else events
                n, x = ticks[number]
                ticks[number] = (n + whole, x + min(max(bad, 0.0), whole))


def _rest(counted: Mapping[Group, Ticks]) -> Mapping[Group, Ticks]:
    """For every group, all other ones of its component."""
    sums: dict[str, Ticks] = {}
    for group, ticks in counted.items():
        name = dict(group)["component"]
        before = sums.get(name, [(0.0, 0.0)] * len(ticks))
        sums[name] = [(n + m, x + y) for (n, x), (m, y) in zip(before, ticks, strict=True)]
    return {
        group: [(m - n, y - x) for (m, y), (n, x) in zip(sums[dict(group)["component"]], ticks, strict=True)]
        for group, ticks in counted.items()
    }


def _tested(rule: SequentialRule, mine: Ticks, theirs: Ticks, ticks: int, bound: float) -> _Side:
    process, reached = EProcess(rule.allowed_increase), False
    sums = [0.0] * 4
    for (n, x), (m, y) in zip(mine[:ticks], theirs[:ticks], strict=False):
        if n <= 0 or m <= 0:
            continue
        process.update(n, m, x, y)
        reached = reached or process.log_e >= bound
        sums = [total + value for total, value in zip(sums, (n, m, x, y), strict=True)]
    return _Side(reached, process.log_e, *sums)


def _answer(rule: SequentialRule, sides: Sequence[_Side], bound: float) -> Answer:
    """From this window and the one before."""
    this, before = sides
    told = this if this.reached or (this.n and not before.reached) else before
    against = "the rest" if rule.against == "rest" else "the window before"
    if told.n <= 0:
        return Answer(None, detail=f"no {rule.whole.metric} that could be set beside {against}")
    detail = (
        f"{_share(told.x, told.n)} of {rule.whole.metric}, {against} {_share(told.y, told.m)}; evidence "
        f"{_odds(told.log_e)}, limit {_odds(bound)}" + ("" if told is this else ", in the window before this")
    )
    return Answer(this.reached or before.reached, told.x / told.n, detail)


def _share(events: float, requests: float) -> str:
    return f"{events / requests:.2%} ({events:.0f} of {requests:.0f})"


def _odds(log_e: float) -> str:
    return f"10^{log_e / math.log(10):.0f} to 1" if log_e > 14 else f"{math.exp(log_e):.3g} to 1"
