"""Rules over the value of an expression, instance by instance: limits, equality, and trends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from bumpless.common.contract.commands import GateMember
from bumpless.common.model.expression import Parsed, Term, parse_expression
from bumpless.common.model.gate import EqualsRule, ThresholdRule, TrendRule
from bumpless.common.model.verdict import Reason
from bumpless.health_gate.checks import covered, held
from bumpless.health_gate.series import Labels, total
from bumpless.health_gate.trend import forecast
from bumpless.health_gate.view import Finding, Pool, View, finding
from bumpless.health_gate.window import Family, Instance, Member, Reading, grown

Points = list[tuple[datetime, float]]


def values(readings: Instance, expression: Parsed) -> Points:
    """What the expression is at each reading that has it; a ratio to nothing is no value."""
    found = dict(_term(readings, expression.term))
    if expression.over is None:
        return sorted(found.items())
    under = dict(_term(readings, expression.over))
    return sorted((at, value / under[at]) for at, value in found.items() if under.get(at))


def _term(readings: Instance, term: Term) -> Iterator[tuple[datetime, float]]:
    if not term.how:
        for reading in readings:
            if reading.up and term.metric in reading.families:
                yield reading.at, total(reading.families[term.metric].items(), term.selector)
        return
    sums: dict[Labels, float] = {}
    start: datetime | None = None
    for at, family in grown(readings, term.metric):
        if family is None:
            start = at
            continue
        _add(sums, family)
        if start is None:
            start = at
        increase = total(sums.items(), term.selector)
        if term.how == "increase":
            yield at, increase
        elif at > start:
            yield at, increase / (at - start).total_seconds()


def _add(sums: dict[Labels, float], family: Family) -> None:
    for labels, value in family.items():
        sums[labels] = sums.get(labels, 0.0) + value


def threshold(view: View, rule: ThresholdRule) -> Finding:
    """Broken when every reading of an instance for `for_s` is beyond a limit."""
    expression = parse_expression(rule.value)
    base = None if rule.max_ratio is None else _baseline(view, expression)
    above = [limit for limit in (rule.above, _times(rule.max_ratio, base)) if limit is not None]
    high, low = min(above, default=None), rule.below
    pending, count, silent, last = False, 0, [], None
    for member, points in _by_member(view.watched, expression):
        if not points or not covered(view, (at for series in points for at, _ in series), view.watched_from):
            silent.append(member.node)
        for series in points:
            count += len(series)
            last = series[-1][1]
            for crossed, beyond in _crossings(series, high, low):
                stretch, any_beyond = held(beyond, 0.5, view.patience)
                if any_beyond and stretch >= timedelta(seconds=rule.for_s):
                    text = f"{rule.value} on {member.node} is {last:g}, limit {crossed:g}"
                    text += f", for {stretch.total_seconds():g} s" if rule.for_s else ""
                    return finding(
                        rule.called,
                        Reason.REGRESSION,
                        text,
                        observed=last,
                        baseline=base,
                        limit=crossed,
                        samples=count,
                    )
                pending = pending or beyond[-1][1] > 0
    limit = high if high is not None else low
    text = f"{rule.value} is {'unknown' if last is None else f'{last:g}'}"
    text += ", no baseline" if limit is None else f", limit {limit:g}"
    reason = Reason.PASSED
    if silent or not count:
        reason, text = (
            Reason.NO_DATA,
            f"expected {rule.value}, found none from {', '.join(silent) or 'anybody'}",
        )
    elif pending:
        reason = Reason.DEADLINE
    elif limit is None and view.spec.baseline.required:
        reason = Reason.BASELINE_MISSING
    return finding(rule.called, reason, text, observed=last, baseline=base, limit=limit, samples=count)


def _times(ratio: float | None, base: float | None) -> float | None:
    return None if ratio is None or base is None else ratio * base


def _crossings(series: Points, high: float | None, low: float | None) -> Iterator[tuple[float, Points]]:
    """Each limit, with 1 where the series is beyond it."""
    if high is not None:
        yield high, [(at, float(value > high)) for at, value in series]
    if low is not None:
        yield low, [(at, float(value < low)) for at, value in series]


def _by_member(pool: Pool, expression: Parsed) -> Iterator[tuple[Member, list[Points]]]:
    for member, instances in pool.items():
        yield member, [series for readings in instances if (series := values(readings, expression))]


def _baseline(view: View, expression: Parsed) -> float | None:
    """The highest instance's mean: of the peers, or, where there are none, of the nodes' own past."""
    concurrent = view.spec.baseline.mode == "concurrent" and view.gate.control
    pools = (
        [view.control, view.history]
        if concurrent and view.over
        else [view.control if concurrent else view.history]
    )
    for pool in pools:
        means = [
            sum(value for _, value in series) / len(series)
            for _, points in _by_member(pool, expression)
            for series in points
        ]
        if means:
            return max(means)
    return None


def equals(view: View, rule: EqualsRule) -> Finding:
    """Broken when, `within_s` after opening, an instance's metric is something else than expected."""
    due = view.gate.at + timedelta(seconds=rule.within_s)
    if view.now < due:
        return finding(rule.called, Reason.NO_DATA, f"looked at from {due:%H:%M:%S} on")
    silent: list[str] = []
    for wanted in view.gate.canary:
        expected = _expected(rule.expected, wanted)
        readings = [
            reading
            for found in view.switched[Member(wanted.node, wanted.component)]
            for reading in found
            if reading.up and rule.metric in reading.families
        ]
        if not readings or readings[-1].at < view.now - view.patience:
            silent.append(wanted.node)
            continue
        seen = _seen(max(readings, key=lambda reading: reading.at), rule)
        if seen != {expected}:
            shown = ", ".join(str(value) for value in sorted(seen, key=str)) or "nothing"
            text = f"{_named(rule)} on {wanted.node} is {shown}, expected {expected}"
            reason = Reason.VERSION_MISMATCH if rule.label else Reason.REGRESSION
            return finding(rule.called, reason, text, samples=len(readings))
    if silent:
        return finding(rule.called, Reason.NO_DATA, f"no {_named(rule)} from {', '.join(silent)}")
    return finding(
        rule.called, Reason.PASSED, f"{_named(rule)} is as expected", samples=len(view.gate.canary)
    )


def _expected(expected: float | str, wanted: GateMember) -> float | str:
    if isinstance(expected, str):
        return expected.replace("{version}", wanted.version).replace("{digest}", wanted.root)
    return expected


def _named(rule: EqualsRule) -> str:
    return f"{rule.metric}{{{rule.label}}}" if rule.label else rule.metric


def _seen(reading: Reading, rule: EqualsRule) -> set[float | str]:
    family: Mapping[Labels, float] = reading.families[rule.metric]
    if not rule.label:
        return {sum(family.values())}
    return {dict(labels).get(rule.label, "") for labels, value in family.items() if value}


def trend(view: View, rule: TrendRule) -> Finding:
    """Broken when an instance's value, as it goes, reaches the limit within the horizon."""
    expression, up = parse_expression(rule.value), rule.direction == "up"
    soonest: float | None = None
    count, last, silent, few = 0, None, [], False
    for member, points in _by_member(view.watched, expression):
        if not points:
            silent.append(member.node)
        for series in points:
            count += len(series)
            last = series[-1][1]
            found = forecast(_seconds(series))
            few = few or found is None
            due = None if found is None else found.reaches_in(rule.limit, up=up)
            if due is not None and due <= rule.horizon_s:
                text = f"{rule.value} on {member.node} reaches {rule.limit:g} in {due:.0f} s"
                return finding(
                    rule.called, Reason.REGRESSION, text, observed=last, limit=rule.limit, samples=count
                )
            if due is not None:
                soonest = due if soonest is None else min(soonest, due)
    if silent or not count:
        return finding(
            rule.called,
            Reason.NO_DATA,
            f"expected {rule.value}, found none from {', '.join(silent) or 'anybody'}",
        )
    text = f"{rule.value} is {last:g}; " + (
        f"{rule.limit:g} in {soonest:.0f} s" if soonest is not None else f"not on its way to {rule.limit:g}"
    )
    reason = Reason.PASSED
    if few and not view.over:
        reason, text = Reason.DEADLINE, text + "; too few readings to tell a trend"
    return finding(rule.called, reason, text, observed=last, limit=rule.limit, samples=count)


def _seconds(series: Sequence[tuple[datetime, float]]) -> list[tuple[float, float]]:
    start = series[0][0]
    return [((at - start).total_seconds(), value) for at, value in series]
