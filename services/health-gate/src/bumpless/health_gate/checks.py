"""The rules that need no statistics: is it there, is it the right one, does it stay up, does a gauge stay low.

The first three hold from the switch on, warm-up included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from bumpless.common.model.gate import GaugeRule, RestartsRule, VersionRule
from bumpless.common.model.verdict import Reason
from bumpless.health_gate.view import Finding, View, finding
from bumpless.health_gate.window import Member, down_run, gauge, resets


def liveness(view: View) -> Finding:
    """Fails on `missing_ticks` unanswered scrapes in a row; passes when every node told something all window long.

    Part of every gate. A node is silent if nothing came from it for `View.patience`, within the last window.
    """
    rule, most = "liveness", view.spec.missing_ticks
    for member, instances in view.switched.items():
        run = max((down_run(readings) for readings in instances), default=0)
        if run >= most:
            text = f"{member.component} on {member.node} did not answer {run} scrapes in a row"
            return finding(rule, Reason.DOWN, text, observed=run, limit=most, samples=run)
    silent = [
        member.node
        for member, instances in view.canary.items()
        if not covered(view, (r.at for readings in instances for r in readings if r.up))
    ]
    seen = len(view.canary) - len(silent)
    if silent or not view.canary:
        names = ", ".join(silent) or "anybody"
        text = f"nothing for {view.patience.total_seconds():g} s or more from {names}"
        if view.now < view.judged_from + view.patience:
            text = f"waiting for the first samples from {names}"
        ahead = [member.node for member in view.canary if member.node in silent and view.ahead(member)]
        if ahead:
            text += f"; the clock of {', '.join(ahead)} is ahead of the gate's"
        return finding(rule, Reason.NO_DATA, text, observed=seen, limit=len(view.canary), samples=seen)
    return finding(
        rule, Reason.PASSED, "every node reports", observed=seen, limit=len(view.canary), samples=seen
    )


def covered(view: View, times: Iterable[datetime], start: datetime | None = None) -> bool:
    """Whether `times` leave no silence within the last window (what there is of it since `start`, before it is over).

    `start` None: the end of the warm-up.
    """
    since = max(start or view.judged_from, view.now - timedelta(seconds=view.spec.window_s))
    inside = sorted(at for at in times if at >= since)
    return bool(inside) and all(b - a <= view.patience for a, b in pairwise([since, *inside, view.now]))


def version(view: View, rule: VersionRule) -> Finding:
    """Fails when a node, `within_s` after opening, reports another version or digest and not the wanted one.

    A predecessor that still drains beside the wanted one is no mismatch.
    """
    due = view.gate.at + timedelta(seconds=rule.within_s)
    if view.now < due:
        return finding(rule.rule, Reason.NO_DATA, f"looked at from {due:%H:%M:%S} on")
    recent = view.now - view.patience
    silent: list[str] = []
    for wanted in view.gate.canary:
        found = [r for readings in view.everything(wanted) for r in readings if r.at >= recent]
        if any((r.version, r.root) == (wanted.version, wanted.root) for r in found):
            continue
        wrong = [r for r in found if r.at >= due and r.up]
        if wrong:
            last = max(wrong, key=lambda r: (r.at, r.version, r.root))
            text = f"{wanted.node} runs {_name(last.version, last.root)}, expected {_name(wanted.version, wanted.root)}"
            return finding(rule.rule, Reason.VERSION_MISMATCH, text, samples=len(wrong))
        silent.append(wanted.node)
    if silent:
        return finding(rule.rule, Reason.NO_DATA, f"no version from {', '.join(silent)}")
    return finding(rule.rule, Reason.PASSED, "every node runs what it should", samples=len(view.gate.canary))


def _name(version: str, root: str) -> str:
    return f"{version} ({root.removeprefix('sha256:')[:12]})"


def restarts(view: View, rule: RestartsRule) -> Finding:
    """Fails when an instance restarted more than `max_restarts` times since its switch.

    Restarts are those that its node counted, or the falls of its counters, whichever is more.
    """
    worst, where, readings_seen, silent = 0, "", 0, []
    for wanted in view.gate.canary:
        instances = view.switched[Member(wanted.node, wanted.component)]
        before = max((r.restarts for readings in view.before(wanted) for r in readings), default=0)
        for readings in instances:
            readings_seen += len(readings)
            count = max(max(r.restarts for r in readings) - before, resets(readings))
            if count > worst:
                worst, where = count, f" on {wanted.node}"
        if not instances:
            silent.append(wanted.node)
    text = f"{worst} restarts{where}, limit {rule.max_restarts}"
    reason = Reason.CRASH_LOOP if worst > rule.max_restarts else Reason.NO_DATA if silent else Reason.PASSED
    if reason is Reason.NO_DATA:
        text += f"; nothing from {', '.join(silent)}"
    return finding(rule.rule, reason, text, observed=worst, limit=rule.max_restarts, samples=readings_seen)


def gauge_level(view: View, rule: GaugeRule) -> Finding:
    """Fails when every reading of an instance for `for_s` > min(max_value, max(max_ratio x baseline, floor))."""
    limits = [] if rule.max_value is None else [rule.max_value]
    base = None if rule.max_ratio is None else _gauge_baseline(view, rule)
    if rule.max_ratio is not None and base is not None:
        limits.append(max(rule.max_ratio * base, rule.floor))
    lacking = not limits and view.spec.baseline.required
    highest: float | None = None
    pending, count, silent = False, 0, []
    limit = min(limits, default=None)
    for member, instances in view.canary.items():
        series = [found for readings in instances if (found := gauge(readings, rule.metric))]
        if not covered(view, (at for values in series for at, _ in values)):
            silent.append(member.node)
        for values in series:
            count += len(values)
            highest = max([v for _, v in values] + ([] if highest is None else [highest]))
            if limit is None:
                continue
            stretch, above = held(values, limit, view.patience)
            if above and stretch >= timedelta(seconds=rule.for_s):
                text = f"{rule.metric} on {member.node} above {limit:g} for {stretch.total_seconds():g} s"
                return finding(
                    rule.rule,
                    Reason.REGRESSION,
                    text,
                    observed=highest,
                    baseline=base,
                    limit=limit,
                    samples=count,
                )
            pending = pending or values[-1][1] > limit
    shown = "none" if highest is None else f"{highest:g}"
    text = f"{rule.metric} at most {shown}, " + ("no baseline" if limit is None else f"limit {limit:g}")
    reason = Reason.PASSED
    if silent:
        reason, text = Reason.NO_DATA, text + f"; nothing from {', '.join(silent)}"
    elif lacking:
        reason = Reason.BASELINE_MISSING
    elif pending:
        reason, text = Reason.DEADLINE, text + f"; above it now, for less than {rule.for_s:g} s"
    elif limit is None:
        text += ", not judged"
    return finding(rule.rule, reason, text, observed=highest, baseline=base, limit=limit, samples=count)


def _gauge_baseline(view: View, rule: GaugeRule) -> float | None:
    """The highest instance's mean: of the peers, or, where none tells, of the canary's own nodes before."""
    pools = [view.history]
    if view.spec.baseline.mode == "concurrent" and view.gate.control:
        pools = [view.control, view.history] if view.over else [view.control]
    for pool in pools:
        series = [gauge(readings, rule.metric) for instances in pool.values() for readings in instances]
        means = [sum(v for _, v in values) / len(values) for values in series if values]
        if means:
            return max(means)
    return None


def held(
    values: Sequence[tuple[datetime, float]], limit: float, patience: timedelta
) -> tuple[timedelta, bool]:
    """The longest stretch of readings above `limit` without a longer silence, and whether there is any."""
    longest, start, last, any_above = timedelta(0), None, None, False
    for at, value in values:
        if value <= limit:
            start = None
        else:
            any_above = True
            if start is None or last is None or at - last > patience:
                start = at
            longest = max(longest, at - start)
        last = at
    return longest, any_above
