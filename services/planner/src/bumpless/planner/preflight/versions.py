"""COMPAT_*, LIFECYCLE_INVALID, API_*, AUTH_NO_OVERLAP: what a release says of its versions, against those that run."""

from __future__ import annotations

from collections.abc import Iterator

from bumpless.common.compat import written
from bumpless.common.compat.lifecycle import Change, Changed, Item, Lifecycle, Status
from bumpless.common.compat.stated import stated_faults
from bumpless.common.model.compat import ItemKind
from bumpless.common.model.finding import Code, Finding, Severity, blocking
from bumpless.common.model.preflight import Required
from bumpless.common.model.release import Component
from bumpless.common.model.strategy import StrategyKind, share_of
from bumpless.common.model.version import InvalidVersion, Version
from bumpless.planner.placement import listed
from bumpless.planner.preflight.case import Case, runs

USABLE = (Status.AVAILABLE, Status.DEPRECATED)


def check(case: Case) -> Iterator[Finding]:
    yield from stated_faults(case.release.compat, case.release.lifecycle)
    yield from _strangers(case)
    for component in case.release.components:
        yield from _unstated(case, component)
        if any(item.of == component.name for item in case.release.lifecycle.items):
            yield from _items(case, component)


def running(case: Case, component: Component) -> list[str]:
    """The other versions that run where the component comes to."""
    return sorted(
        {t.version for _, t in case.coming(component) if t is not None and t.version != component.version}
    )


def _unstated(case: Case, component: Component) -> Iterator[Finding]:
    """A component about which nothing is stated may go from any version to any other.

    That is worth a word where both serve side by side for longer than a switch takes, and a warning where the release
    speaks of others: then this one was forgotten.
    """
    compat = case.release.compat
    if component.name in compat.levels or component.name in compat.hops:
        return
    required = any(rules.compat is Required.REQUIRED for rules in case.rules)
    found = running(case, component)
    mixes = bool(found) and _mixes(case, component)
    if required and found:
        severity = Severity.BLOCK
    elif mixes:
        severity = Severity.WARN if compat.levels or compat.hops or compat.pairs else Severity.INFO
    else:
        return
    meanwhile = ", which serve side by side until the last node is done" if mixes else ""
    yield Finding(
        code=Code.COMPAT_UNSTATED,
        severity=severity,
        subject=component.name,
        evidence=f"nothing is stated about {', '.join(found)} beside {component.version}{meanwhile}",
        recommendation=f"state compat.levels for {component.name}, after a test of both side by side",
        waivable=True,
    )


def _mixes(case: Case, component: Component) -> bool:
    """Whether several versions serve on different nodes for longer than one batch takes; before the first, too."""
    nodes = case.placed[component.name]
    versions = {target.version for node in nodes if (target := runs(node, component.name)) is not None}
    if len(versions) > 1:
        return True
    used = {node.name for placed in case.placed.values() for node in placed}
    batch = share_of(case.release.max_unavailable, max(1, len(used)))
    strategy = component.strategy
    if strategy.kind is StrategyKind.ROLLING:
        batch = min(batch, share_of(strategy.batch_size, len(nodes)))
    one_batch = strategy.kind in (StrategyKind.ALL_AT_ONCE, StrategyKind.ROLLING) and batch >= len(nodes)
    return len(nodes) > 1 and not one_batch


def _items(case: Case, component: Component) -> Iterator[Finding]:
    known = written.lifecycle(case.release.lifecycle, calls_of(case, component.name))
    seen: set[str] = set()
    for text in running(case, component):
        try:
            source, target = Version.parse(text), Version.parse(component.version)
        except InvalidVersion as error:
            yield blocking(
                Code.LIFECYCLE_INVALID,
                component.name,
                f"it has items with a lifecycle, and {error}",
                "give the component a version such as 2.1.0",
            )
            continue
        report = known.report(component.name, source, target)
        findings = [*report.findings, *map(_deprecated, report.changes)]
        findings += _without_overlap(known, component.name, source, target)
        for finding in (one for one in findings if one is not None):
            if str(finding) not in seen:
                seen.add(str(finding))
                yield finding


def _deprecated(change: Changed) -> Finding | None:
    item = change.item
    if change.change is not Change.DEPRECATED:
        return None
    return Finding(
        code=Code.API_DEPRECATED,
        severity=Severity.INFO,
        subject=f"{item.component}: {item.id}",
        evidence=f"deprecated since {item.deprecated}"
        + (f", and removed in {item.removed}" if item.removed else ""),
        recommendation=f"tell its callers: {change.advice}",
        waivable=True,
    )


def _strangers(case: Case) -> Iterator[Finding]:
    """Components that are spoken of and that nobody knows; clients may well be outside."""
    known = {component.name for component in case.release.components}
    known |= {name for node in case.fleet.nodes for name in node.components}
    compat = case.release.compat
    for name in sorted({*compat.levels, *compat.hops} - known):
        yield _stranger(Code.COMPAT_INVALID, name, "compat speaks of its hops", known)
    for name in sorted({item.of for item in case.release.lifecycle.items} - known):
        yield _stranger(Code.LIFECYCLE_INVALID, name, "lifecycle has items of it", known)


def _stranger(code: Code, name: str, where: str, known: set[str]) -> Finding:
    return Finding(
        code=code,
        severity=Severity.WARN,
        subject=name,
        evidence=f"{where}, and neither the release nor the fleet has a component of that name",
        recommendation=f"correct the name, if it should be one of {listed(sorted(known))}",
    )


def calls_of(case: Case, component: str) -> dict[str, float]:
    """Calls by item, over all nodes."""
    found: dict[str, float] = {}
    for node in case.fleet.nodes:
        for item, calls in (node.facts.item_calls.get(component, {}) if node.facts else {}).items():
            found[item] = found.get(item, 0.0) + calls
    return found


def _without_overlap(known: Lifecycle, component: str, source: Version, target: Version) -> Iterator[Finding]:
    """A way to log in that goes before its callers could move to the next one."""
    items = {item.id: item for item in known.of(component)}
    for item in items.values():
        gone = item.status(source) in USABLE and item.status(target) not in USABLE
        if item.kind is ItemKind.AUTH and gone and not _overlaps(item, items, source):
            new = f"its successor {item.use}" if item.use else "any other way to log in that is named"
            yield blocking(
                Code.AUTH_NO_OVERLAP,
                f"{component}: {item.id}",
                f"{target} does not accept it any more, and {source} does not accept {new} yet",
                "release a version that accepts both first",
                waivable=True,
            )


def _overlaps(item: Item, items: dict[str, Item], source: Version) -> bool:
    successor = items.get(item.use) if item.use else None
    return successor is not None and successor.status(source) in USABLE
