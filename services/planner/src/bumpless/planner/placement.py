"""Where components stand: the nodes that a release names or labels, as far as they are there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from bumpless.common.model.finding import Code, Finding, blocking
from bumpless.common.model.fleet import Fleet, Node
from bumpless.common.model.release import Component

SEEN_WITHIN_S = 60.0
"""A node silent for four heartbeats is taken as away."""
MOST_NAMES = 10
"""How many names a finding lists."""


class Place(Protocol):
    """Nodes by name, or else all that carry every label."""

    @property
    def nodes(self) -> Sequence[str]: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


def places_of(component: Component) -> tuple[Place, ...]:
    """Blue-green has two, and `place` is not looked at."""
    blue, green = component.strategy.blue, component.strategy.green
    return (component.place,) if blue is None or green is None else (blue, green)


def names_in(place: Place, nodes: Iterable[Node]) -> frozenset[str]:
    """Which of `nodes` are in the place."""
    if place.nodes:
        return frozenset(place.nodes).intersection(node.name for node in nodes)
    wanted = place.labels.items()
    return frozenset(n.name for n in nodes if all(n.labels.get(k) == v for k, v in wanted))


def names_of(component: Component, fleet: Fleet) -> frozenset[str]:
    """The nodes of the fleet where the component stands."""
    return frozenset().union(*(names_in(place, fleet.nodes) for place in places_of(component)))


def nodes_of(component: Component, fleet: Fleet) -> list[Node]:
    """The nodes of a component that the fleet has, in the order in which they are named."""
    known = {node.name: node for node in fleet.nodes}
    found: dict[str, Node] = {}
    for place in places_of(component):
        inside = names_in(place, fleet.nodes)
        found |= {name: known[name] for name in place.nodes or known if name in inside}
    return list(found.values())


def placement_faults(components: Sequence[Component], fleet: Fleet, now: datetime) -> Iterator[Finding]:
    """What keeps components from standing where they should: one finding for all unknown nodes, one for all silent."""
    known = {node.name for node in fleet.nodes}
    unknown: dict[str, list[str]] = {}
    silent: dict[str, list[str]] = {}
    seen_s: dict[str, float] = {}
    for component in components:
        for place in places_of(component):
            for name in (name for name in place.nodes if name not in known):
                unknown.setdefault(name, []).append(component.name)
            if not any(names_in(place, [node]) for node in fleet.nodes):
                yield _empty(component.name, place)
        for node in nodes_of(component, fleet):
            quiet = now - node.observed_at
            if quiet > timedelta(seconds=SEEN_WITHIN_S):
                silent.setdefault(node.name, []).append(component.name)
                seen_s[node.name] = quiet.total_seconds()
    if unknown:
        yield blocking(
            Code.NODE_UNKNOWN,
            listed(sorted(unknown)),
            f"named for {_components(unknown)}, and the fleet of {len(known)} nodes has none of that name",
            "correct the names in the placement, or start the executors of these nodes",
        )
    if silent:
        ages = [f"{name} ({seen_s[name]:.0f} s ago)" for name in sorted(silent)]
        yield blocking(
            Code.NODE_SILENT,
            listed(sorted(silent)),
            f"last seen too long ago, for {_components(silent)}: {listed(ages)}",
            "start their executors, or take them out of the placement",
        )


def _empty(component: str, place: Place) -> Finding:
    labels = ", ".join(f"{k}={v}" for k, v in sorted(place.labels.items()))
    wanted = f"with {labels}" if labels else f"among {listed(list(place.nodes))}" if place.nodes else "at all"
    return blocking(
        Code.PLACEMENT_EMPTY,
        component,
        f"expected at least one node {wanted}, found none",
        "correct the placement, or start executors of nodes that it means",
    )


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more: a finding is read by people."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _components(of: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(sorted({name for names in of.values() for name in names}))
