"""The rules over what the nodes tried out: probes, numbers that commands printed, links to dependencies.

An outcome that is missing is neither a success nor a failure. A probe that is bound to a node speaks only for batches
with that node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bumpless.common.model import probe as model
from bumpless.common.model.probe import DependenciesRule, NoTraffic, Probe, ProbeRule, ValueRule
from bumpless.common.model.verdict import Reason
from bumpless.health_gate.view import Finding, Pool, View, finding
from bumpless.health_gate.window import Instance, Member


@dataclass(frozen=True)
class _Try:
    """One outcome: when, whether it is good, and what is to be said of it. `value` is the number in it."""

    at: datetime
    ok: bool
    text: str = ""
    value: float | None = None


def probed(view: View, rule: ProbeRule) -> Finding:
    """Fails on `failures` failed tries in a row; passes when the last one of every node is good and not old."""
    probe = _named(view, rule.probe)
    pool = _concerned(view.switched if rule.once else view.canary, probe)
    if not pool:
        return finding(_title(rule.rule, probe.name), Reason.PASSED, _elsewhere(probe))
    tries = {member: _tries(instances, probe.name, model.SUCCESS) for member, instances in pool.items()}
    if rule.once:
        tries = {member: _until_good(found) for member, found in tries.items()}
    return _decided(
        view,
        _title(rule.rule, probe.name),
        tries,
        rule.failures,
        Reason.PROBE_FAILED,
        lambda member, run: (
            f"probe {probe.name} failed {len(run)} times in a row on {member.node}: {run[-1].text}"
        ),
        None if rule.once else timedelta(seconds=probe.patience_s),
    )


def valued(view: View, rule: ValueRule) -> Finding:
    """Fails on `failures` numbers in a row outside of `min` and `max`."""
    probe = _named(view, rule.probe)
    pool = _concerned(view.canary, probe)
    name = _title(rule.rule, probe.name)
    if not pool:
        return finding(name, Reason.PASSED, _elsewhere(probe))
    low = float("-inf") if rule.min is None else rule.min
    high = float("inf") if rule.max is None else rule.max
    bounds = " and ".join(
        text
        for text, given in ((f"at least {low:g}", rule.min), (f"at most {high:g}", rule.max))
        if given is not None
    )
    tries = {
        member: [
            _Try(one.at, low <= (one.value or 0.0) <= high, f"{one.value:g}", one.value)
            for one in _tries(instances, probe.name, model.VALUE)
        ]
        for member, instances in pool.items()
    }
    return _decided(
        view,
        name,
        tries,
        rule.failures,
        Reason.REGRESSION,
        lambda member, run: f"{probe.name} is {run[-1].text} on {member.node}, expected {bounds}",
        # Not repeated: the one number stands.
        timedelta(seconds=probe.patience_s) if probe.repeat else None,
    )


def linked(view: View, rule: DependenciesRule) -> Finding:
    """Fails on a dependency that `failures` times in a row was not there for a node of the batch, and names the link."""
    dependencies = sorted(_dependencies(view.canary))
    if not dependencies:
        return finding(rule.rule, Reason.NO_DATA, "no node told of its links to dependencies")
    patience = timedelta(seconds=4 * rule.interval_s + rule.timeout_s)
    worst: Finding | None = None
    for dependency in dependencies:
        tries = {member: _links(found, dependency, rule.need) for member, found in view.canary.items()}
        found = _decided(
            view,
            rule.rule,
            tries,
            rule.failures,
            Reason.DEPENDENCY_DOWN,
            lambda member, run, to=dependency: (  # type: ignore[misc]
                f"the link from {member.component} on {member.node} to {to} is broken: {run[-1].text}"
            ),
            patience,
        )
        if found.reason is Reason.DEPENDENCY_DOWN:
            elsewhere = [
                m.node for m, seen in view.control.items() if _broken_now(seen, dependency, rule.need)
            ]
            if elsewhere:
                text = f"{found.evidence.text}; also for {', '.join(elsewhere)}, with the earlier version"
                found = finding(rule.rule, Reason.NO_DATA, text)
        if found.reason is Reason.DEPENDENCY_DOWN:
            return found
        if found.reason is not Reason.PASSED and worst is None:
            worst = found
    text = f"{', '.join(dependencies)} can be reached from every node"
    return worst or finding(rule.rule, Reason.PASSED, text, samples=len(view.canary))


def instead_of_requests(view: View, rule: str, wanted: NoTraffic) -> Finding:
    """What a rule that counts requests says where there are none: the probe's word, and never a fail."""
    due = view.judged_from + timedelta(seconds=wanted.after_s)
    if view.now < due:
        return finding(
            rule, Reason.LOW_TRAFFIC, f"no requests; probe {wanted.probe} counts from {due:%H:%M:%S} on"
        )
    found = probed(view, ProbeRule(probe=wanted.probe))
    if found.reason is Reason.PASSED:
        return finding(rule, Reason.PASSED, f"no requests; {found.evidence.text}")
    return finding(rule, Reason.LOW_TRAFFIC, f"no requests, and {found.evidence.text}")


def _decided(
    view: View,
    rule: str,
    tries: dict[Member, list[_Try]],
    failures: int,
    reason: Reason,
    why: Callable[[Member, Sequence[_Try]], str],
    patience: timedelta | None,
) -> Finding:
    """`patience` None: an old outcome is as good as a new one."""
    count = sum(len(found) for found in tries.values())
    silent, failing = [], []
    for member, found in tries.items():
        run = _longest_run(found)
        if len(run) >= failures:
            text = why(member, run)
            return finding(rule, reason, text, observed=run[-1].value, limit=None, samples=count)
        if not found or (patience is not None and view.now - found[-1].at > patience):
            silent.append(member.node)
        elif not found[-1].ok:
            failing.append(why(member, run[-1:] or found[-1:]))
    if silent:
        return finding(rule, Reason.NO_DATA, f"no outcome from {', '.join(silent)} lately", samples=count)
    if failing:
        return finding(rule, Reason.DEADLINE, failing[0], samples=count)
    last = next((found[-1].value for found in tries.values() if found), None)
    return finding(rule, Reason.PASSED, f"{rule} is good on every node", observed=last, samples=count)


def _named(view: View, name: str) -> Probe:
    return next(probe for probe in view.spec.probes if probe.name == name)


def _title(rule: str, probe: str) -> str:
    return f"{rule} {probe}"


def _elsewhere(probe: Probe) -> str:
    return f"not judged: {probe.name} runs on {probe.node}, which is not in this batch"


def _concerned(pool: Pool, probe: Probe) -> Pool:
    return {member: found for member, found in pool.items() if probe.node in (None, member.node)}


def _tries(instances: Iterable[Instance], probe: str, family: str) -> list[_Try]:
    """The probe's outcomes, of all instances, by time."""
    found = []
    for readings in instances:
        for reading in readings:
            for labels, value in reading.families.get(family, {}).items():
                told = dict(labels)
                if told.get("probe") == probe:
                    found.append(_Try(reading.at, value > 0, told.get("detail", ""), value))
    return sorted(found, key=lambda one: one.at)


def _until_good(tries: list[_Try]) -> list[_Try]:
    """What is left to judge of a probe that has to succeed once."""
    good = [one for one in tries if one.ok]
    return good[:1] or tries


def _dependencies(pool: Pool) -> set[str]:
    return {
        dict(labels).get("dependency", "")
        for instances in pool.values()
        for readings in instances
        for reading in readings
        for labels in reading.families.get(model.LINK, {})
    }


def _links(instances: Iterable[Instance], dependency: str, need: str) -> list[_Try]:
    """Whether enough of the dependency's addresses answered, at every try; the text names those that did not."""
    found = []
    for readings in instances:
        for reading in readings:
            family = reading.families.get(model.LINK, {})
            links = [(dict(labels), value > 0) for labels, value in family.items()]
            links = [(told, up) for told, up in links if told.get("dependency") == dependency]
            if links:
                enough = any(up for _, up in links) if need == "any" else all(up for _, up in links)
                broken = [_link_text(told) for told, up in links if not up]
                found.append(_Try(reading.at, enough, ", ".join(sorted(broken))))
    return sorted(found, key=lambda one: one.at)


def _link_text(told: dict[str, str]) -> str:
    return f"{told.get('address', '?')} ({told.get('detail', 'no reason')})"


def _broken_now(instances: Iterable[Instance], dependency: str, need: str) -> bool:
    tries = _links(instances, dependency, need)
    return bool(tries) and not tries[-1].ok


def _longest_run(tries: Iterable[_Try]) -> list[_Try]:
    """The longest run of bad ones."""
    longest: list[_Try] = []
    run: list[_Try] = []
    for one in tries:
        run = [] if one.ok else [*run, one]
        if len(run) > len(longest):
            longest = list(run)
    return longest
