"""The order of components: what depends on something comes after it. Pure."""

from __future__ import annotations

import networkx as nx

from bumpless.common.model.release import Release
from bumpless.planner.unplannable import Unplannable


def order_of(release: Release) -> list[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(c.name for c in release.components)
    known = set(graph)
    missing = [f"{c.name} depends on {d}" for c in release.components for d in c.depends_on if d not in known]
    if missing:
        raise Unplannable([f"expected a component of this release, found none: {m}" for m in missing])
    graph.add_edges_from((dep, c.name) for c in release.components for dep in c.depends_on)
    try:
        return list(nx.lexicographical_topological_sort(graph))
    except nx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in nx.find_cycle(graph)]
        raise Unplannable(["the dependencies form a cycle: " + " -> ".join([*cycle, cycle[0]])]) from None
