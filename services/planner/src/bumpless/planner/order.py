"""The order of components: what depends on something comes after it, and so it is with the messages between them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import networkx as nx

from bumpless.common.model.finding import Code, Finding, Severity, blocking
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.release import Component, Release
from bumpless.planner.queues import Edge, queue_edges, queue_findings
from bumpless.planner.unplannable import Unplannable


def ordered(release: Release, fleet: Fleet) -> list[Component]:
    """The components in their order, each with everything in `depends_on` that must have changed before it.

    Raises:
        Unplannable: an unknown dependency, a cycle, messages that nobody could read.
    """
    known = {component.name: component for component in release.components}
    missing = [(c.name, d) for c in release.components for d in c.depends_on if d not in known]
    if missing:
        raise Unplannable([_unknown(name, dependency) for name, dependency in missing])
    unread = [found for found in queue_findings(release, fleet) if found.severity is Severity.BLOCK]
    if unread:
        raise Unplannable(unread)
    graph = _graph(release, queue_edges(release, fleet))
    cycles = [_cycle(graph, part) for part in _knots(graph)]
    if cycles:
        raise Unplannable(cycles)
    return [
        known[name].model_copy(update={"depends_on": _before(graph, known[name])})
        for name in nx.lexicographical_topological_sort(graph)
    ]


def _unknown(name: str, dependency: str) -> Finding:
    return blocking(
        Code.DEPENDENCY_UNKNOWN,
        name,
        f"it depends on {dependency}, and the release has no such component",
        f"add {dependency} to the release, or take it out of depends_on",
    )


def _graph(release: Release, derived: Iterable[Edge]) -> nx.DiGraph[str]:
    """Edges from what comes first. An edge has one reason: the one that is stated, else the first that was derived."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(component.name for component in release.components)
    for component in release.components:
        for name in component.depends_on:
            graph.add_edge(name, component.name, why=f"{component.name} depends on {name}", cut="")
    edges = list(derived)
    for edge in (edge for edge in edges if not edge.soft):
        if not graph.has_edge(edge.first, edge.then):
            graph.add_edge(edge.first, edge.then, why=edge.why, cut=edge.cut)
    for edge in (edge for edge in edges if edge.soft):
        if not nx.has_path(graph, edge.then, edge.first):
            graph.add_edge(edge.first, edge.then, why=edge.why, cut=edge.cut)
    return graph


def _before(graph: nx.DiGraph[str], component: Component) -> tuple[str, ...]:
    derived = sorted(set(graph.predecessors(component.name)) - set(component.depends_on))
    return (*component.depends_on, *derived)


def _knots(graph: nx.DiGraph[str]) -> list[list[str]]:
    """Components none of which can be first."""
    found = [
        sorted(part)
        for part in nx.strongly_connected_components(graph)
        if len(part) > 1 or any(graph.has_edge(name, name) for name in part)
    ]
    return sorted(found)


def _cycle(graph: nx.DiGraph[str], part: list[str]) -> Finding:
    """The shortest way round from the first of `part` back to it, edge by edge, and which edge to cut."""
    start, inside = part[0], graph.subgraph(part)
    ways = [nx.shortest_path(inside, then, start) for then in sorted(inside.successors(start))]
    round_ = [start, *min(ways, key=lambda way: (len(way), way))]
    edges = list(pairwise(round_))
    told = "; ".join(
        f"{first} before {then}, because {graph.edges[first, then]['why']}" for first, then in edges
    )
    cuts = [edge for edge in edges if graph.edges[edge]["cut"]]
    if cuts:
        first, then = cuts[0]
        advice = (
            f"split it: {graph.edges[cuts[0]]['cut']}; after that {first} need not come before {then}, "
            "and this release can follow"
        )
    else:
        advice = "take one of these out of depends_on"
    return Finding(
        code=Code.ORDER_CYCLE,
        severity=Severity.BLOCK,
        subject=" > ".join(round_),
        evidence=told,
        recommendation=advice,
    )
