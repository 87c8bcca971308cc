"""Hops from one version to the next, and the way over them: one graph for components, record schemas and settings.

A hop is stated, never inferred: two hops in a row do not make one. What cannot be used stays in the graph with the
reason, so that a refusal can say what would help.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

from bumpless.common.model.version import Version

LOSSY_COST = 1000.0
"""A hop that loses data is taken only where every other way is longer than this, and only if it is allowed at all."""


@dataclass(frozen=True)
class Hop:
    """From `source` to `target`. `closed` says why it cannot be used; `cost` breaks ties between equally long ways."""

    source: Version
    target: Version
    cost: float = 1.0
    lossy: bool = False
    closed: str | None = None

    def __str__(self) -> str:
        return f"{self.source} > {self.target}"


class NoPath(Exception):
    """There is no way from `source` to `target`.

    `reachable` are the versions that can be reached. Either there would be a way over the `closed` hops, which tell
    why they may not be used, or one hop that would close the gap is `missing`.
    """

    def __init__(
        self,
        source: Version,
        target: Version,
        reachable: tuple[Version, ...],
        missing: tuple[Version, Version] | None,
        closed: tuple[Hop, ...],
    ) -> None:
        self.source, self.target = source, target
        self.reachable, self.missing, self.closed = reachable, missing, closed
        super().__init__(f"no path from {source} to {target}: {self.advice}")

    @property
    def advice(self) -> str:
        """Which versions can be reached, and what is missing or closed."""
        text = f"reachable from {self.source}: {', '.join(map(str, self.reachable)) or 'none'}"
        if self.missing is not None:
            return f"{text}; missing is the hop {self.missing[0]} > {self.missing[1]}"
        return "; ".join([text, *(f"the hop {hop} is closed: {hop.closed}" for hop in self.closed)])


class HopGraph:
    """`versions` may hold some that no hop touches."""

    def __init__(self, hops: Iterable[Hop], versions: Iterable[Version] = ()) -> None:
        self._hops = tuple(sorted(hops, key=lambda h: (h.source, h.target)))
        self._named = frozenset(versions)
        self._graphs = {lossy: self._usable(lossy) for lossy in (False, True)}

    @property
    def versions(self) -> tuple[Version, ...]:
        ends = {end for hop in self._hops for end in (hop.source, hop.target)}
        return tuple(sorted(ends | self._named))

    def onward(self, source: Version, *, lossy: bool = False) -> tuple[Hop, ...]:
        """The hops that may be taken from `source`, in the order of where they lead."""
        graph = self._graphs[lossy]
        if source not in graph:
            return ()
        return tuple(graph.edges[source, target]["hop"] for target in sorted(graph.successors(source)))

    def path(self, source: Version, target: Version, *, lossy: bool = False) -> tuple[Hop, ...]:
        """The shortest way, empty where there is nothing to do. `lossy`: hops that lose data may be taken.

        Raises: NoPath.
        """
        if source == target:
            return ()
        graph = self._graphs[lossy]
        try:
            way = nx.dijkstra_path(graph, source, target, weight="cost")
        except (nx.NetworkXNoPath, nx.NodeNotFound):
            raise self._no_path(graph, source, target) from None
        return tuple(graph.edges[a, b]["hop"] for a, b in pairwise(way))

    def distances(self, target: Version, *, lossy: bool = False) -> dict[Version, int]:
        """How many hops each version is away from `target`; those without a way are left out."""
        graph = self._graphs[lossy]
        if target not in graph:
            return {target: 0}
        found: dict[Version, int] = nx.single_source_shortest_path_length(graph.reverse(copy=False), target)
        return dict(found)

    def _usable(self, lossy: bool) -> nx.DiGraph[Version]:
        graph: nx.DiGraph[Version] = nx.DiGraph()
        graph.add_nodes_from(self.versions)
        for hop in self._hops:
            if hop.closed is None and (lossy or not hop.lossy):
                cost = hop.cost + (LOSSY_COST if hop.lossy else 0.0)
                graph.add_edge(hop.source, hop.target, hop=hop, cost=cost)
        return graph

    def _no_path(self, graph: nx.DiGraph[Version], source: Version, target: Version) -> NoPath:
        after = set(nx.descendants(graph, source)) if source in graph else set()
        reachable = tuple(sorted(after))
        every: nx.DiGraph[Version] = nx.DiGraph()
        for hop in self._hops:
            # As few closed hops as can be: each is something a person has to change.
            barred = (hop.source, hop.target) not in graph.edges
            why = hop.closed or "it loses data, which was not allowed"
            shown = Hop(hop.source, hop.target, hop.cost, hop.lossy, why if barred else None)
            every.add_edge(hop.source, hop.target, hop=shown, cost=hop.cost + (LOSSY_COST if barred else 0.0))
        if source in every and target in every and nx.has_path(every, source, target):
            way = [
                every.edges[a, b]["hop"] for a, b in pairwise(nx.dijkstra_path(every, source, target, "cost"))
            ]
            return NoPath(source, target, reachable, None, tuple(hop for hop in way if hop.closed))
        before = {target} | (set(nx.ancestors(every, target)) if target in every else set())
        here = _nearest(after | {source}, target)
        return NoPath(source, target, reachable, (here, _nearest(before, here)), ())


def _nearest(versions: Iterable[Version], to: Version) -> Version:
    """The member of `versions` that is closest to `to` on its own side, or else the closest on the other."""
    ordered = sorted({*versions, to})
    at = ordered.index(to)
    candidates = set(versions)
    if to in candidates:
        return to
    return ordered[at - 1] if at > 0 else ordered[at + 1]
