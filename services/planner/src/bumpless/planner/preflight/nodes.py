"""DISK, INODES, MEMORY, PORT, RUNTIME, FACTS_MISSING, DRIFT: what nodes are like, against what the release needs.

One finding for all nodes that have the same trouble.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from bumpless.common.model.finding import Code, Finding, Severity, blocking
from bumpless.common.model.fleet import Node, NodeFacts
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Component, Driver
from bumpless.common.model.version import Version, VersionRange
from bumpless.planner.placement import listed
from bumpless.planner.preflight.case import Case, runs

WILDCARDS = ("0.0.0.0", "[::]")
_NUMBERS = re.compile(r"\d+(?:\.\d+){0,2}")


def room(case: Case) -> Iterator[Finding]:
    """Trees that are not there yet, and what components need besides, against what is free."""
    disk, inodes, memory = dict[str, int](), dict[str, int](), dict[str, int]()
    nodes = {node.name: node for node in case.fleet.nodes}
    for component in case.release.components:
        for node, _ in case.coming(component):
            new = not _has(node, component)
            needs = component.needs
            _add(disk, node, needs.disk + (component.tree_bytes if new else 0))
            _add(inodes, node, needs.inodes + (component.tree_files if new else 0))
            _add(memory, node, needs.memory)
    facts = {name: node.facts or NodeFacts() for name, node in nodes.items()}
    yield from _short(Code.DISK, "bytes of disk", disk, {n: node.free_bytes for n, node in nodes.items()})
    yield from _short(Code.INODES, "inodes", inodes, {n: fact.inodes_free for n, fact in facts.items()})
    yield from _short(
        Code.MEMORY, "bytes of memory", memory, {n: fact.memory_available for n, fact in facts.items()}
    )


def _has(node: Node, component: Component) -> bool:
    seen = node.components.get(component.name)
    return seen is not None and component.root in (seen.root, seen.previous, *seen.staged)


def _add(to: dict[str, int], node: Node, amount: int) -> None:
    to[node.name] = to.get(node.name, 0) + amount


def _short(
    code: Code, what: str, needed: Mapping[str, int], free: Mapping[str, int | None]
) -> Iterator[Finding]:
    short = {
        name: (wanted, there)
        for name, wanted in sorted(needed.items())
        if wanted and (there := free.get(name)) is not None and there < wanted
    }
    if short:
        told = [f"{name} needs {wanted} and has {there}" for name, (wanted, there) in short.items()]
        yield blocking(
            code,
            listed(list(short)),
            f"not enough {what}: {listed(told)}",
            "make room there, or take these nodes out of the placement",
            waivable=True,
        )


def ports(case: Case) -> Iterator[Finding]:
    """Addresses that a component would listen on and somebody else has."""
    for component in case.release.components:
        if component.run.proxy is not None or component.run.driver in (Driver.HOOKS, Driver.EXECUTOR):
            continue  # who listens there is not an instance
        if not component.run.listen:
            continue
        taken = {
            f"{address} on {node.name}": node.name
            for node, _ in case.coming(component)
            for address in _taken(component, node)
        }
        if taken:
            yield blocking(
                Code.PORT,
                f"{component.name}: {listed(sorted(set(taken.values())))}",
                f"another program listens already: {listed(sorted(taken))}",
                "stop it, or listen elsewhere",
                waivable=True,
            )


def _taken(component: Component, node: Node) -> Iterator[str]:
    facts = node.facts or NodeFacts()
    others = {"tcp": set(facts.listening), "udp": set(facts.bound)}
    for address in component.run.listen.values():
        kind, _, place = address.partition("://")
        if kind not in others:
            continue
        filled = place.replace("{node.address}", node.address).replace("{node.name}", node.name)
        port = filled.rpartition(":")[2]
        for same in (filled, *(f"{any_address}:{port}" for any_address in WILDCARDS)):
            if same in others[kind]:
                yield same if kind == "tcp" else f"{kind} {same}"


def runtimes(case: Case) -> Iterator[Finding]:
    for component in case.release.components:
        bad = [
            f"{node.name}: {why}"
            for node in case.placed[component.name]
            if node.facts is not None
            for why in _unfit(component, node.facts)
        ]
        if bad:
            yield blocking(
                Code.RUNTIME,
                component.name,
                listed(bad),
                "update these nodes, or take them out of the placement",
                waivable=True,
            )


def _unfit(component: Component, facts: NodeFacts) -> Iterator[str]:
    wanted = component.needs.runtime
    machine = facts.architecture
    if wanted.architecture and machine not in wanted.architecture:
        yield f"expected {' or '.join(wanted.architecture)}, found {machine or 'an unknown machine'}"
    for name in ("kernel", "libc", "python", "systemd"):
        text = getattr(wanted, name)
        if text is None:
            continue
        found = facts.runtime.get(name)
        version = None if found is None else _version(found)
        if version is None or version not in VersionRange.parse(text):
            yield f"expected {name} {text}, found {found or 'none'}"


def _version(text: str) -> Version | None:
    """The numbers in the text: distributions add words of their own (`6.1.0-18-amd64`)."""
    found = _NUMBERS.search(text)
    return None if found is None else Version.parse(found[0])


def facts_missing(case: Case) -> Iterator[Finding]:
    """Needs are stated, and nobody can know whether they are met."""
    empty = type(case.release.components[0].needs)()
    silent = {
        node.name
        for component in case.release.components
        if component.needs != empty
        for node in case.placed[component.name]
        if node.facts is None
    }
    if silent:
        yield Finding(
            code=Code.FACTS_MISSING,
            severity=Severity.WARN,
            subject=listed(sorted(silent)),
            evidence="the release states what components need, and these executors do not tell what nodes are like",
            recommendation="upgrade the executors there",
            waivable=True,
        )


def drift(case: Case) -> Iterator[Finding]:
    """Trees that run and that no release brought, as far back as releases are kept."""
    if case.history.roots is None:
        return
    brought = case.history.roots | {component.root for component in case.release.components}
    for component in case.release.components:
        found: dict[str, list[str]] = {}
        for node, target in _serving(case.placed[component.name], component):
            if target.root not in brought:
                found.setdefault(f"{target.version} ({target.root[:19]})", []).append(node.name)
        for what, names in sorted(found.items()):
            yield Finding(
                code=Code.DRIFT,
                severity=Severity.WARN,
                subject=f"{component.name}: {listed(sorted(names))}",
                evidence=f"{what} runs there, and neither a release that is still known nor a plan that the node remembers brought it",
                recommendation="find out who did; the plan replaces it",
                waivable=True,
            )


def changed(case: Case) -> Iterator[Finding]:
    """Trees that serve and are not as they were staged: somebody changed files by hand, or a disk did."""
    marked = {node.name: node.facts.changed for node in case.fleet.nodes if node.facts and node.facts.changed}
    for component in case.release.components if marked else ():
        found: dict[str, list[str]] = {}
        for node, target in _serving(case.placed[component.name], component):
            if told := marked.get(node.name, {}).get(component.name):
                what = f"the tree of {target.version} is not as it was staged: {', '.join(told)}"
                found.setdefault(what, []).append(node.name)
        for what, names in sorted(found.items()):
            yield Finding(
                code=Code.DRIFT,
                severity=Severity.WARN,
                subject=f"{component.name}: {listed(sorted(names))}",
                evidence=what,
                recommendation="find out who changed it and why: a new version does not have it, and comes as a whole "
                "package, because no delta fits what is there",
                waivable=True,
            )


def _serving(nodes: Iterable[Node], component: Component) -> Iterator[tuple[Node, Target]]:
    for node in nodes:
        target = runs(node, component.name)
        if target is not None:
            yield node, target
