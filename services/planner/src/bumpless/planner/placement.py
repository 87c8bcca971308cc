"""Where components stand: the nodes that a release names or labels, as far as they are there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from bumpless.common.model.fleet import Fleet, Node
from bumpless.common.model.release import Component

SEEN_WITHIN_S = 60.0
"""A node silent for four heartbeats is taken as away."""


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


def nodes_of(component: Component, fleet: Fleet, now: datetime, reasons: list[str]) -> list[Node]:
    found: dict[str, Node] = {}
    for place in places_of(component):
        found |= {node.name: node for node in _nodes_in(place, component.name, fleet, reasons)}
    for node in found.values():
        silent = now - node.observed_at
        if silent > timedelta(seconds=SEEN_WITHIN_S):
            reasons.append(
                f"{component.name}: node {node.name} was last seen {silent.total_seconds():.0f} s ago; "
                "start its executor, or take it out of the placement"
            )
    return list(found.values())


def _nodes_in(place: Place, component: str, fleet: Fleet, reasons: list[str]) -> list[Node]:
    known = {node.name: node for node in fleet.nodes}
    for name in (name for name in place.nodes if name not in known):
        told = ", ".join(known) or "none"
        reasons.append(f"{component}: expected a node of the fleet ({told}), found {name!r}")
    inside = names_in(place, fleet.nodes)
    found = [known[name] for name in place.nodes or known if name in inside]
    if not found:
        labels = ", ".join(f"{k}={v}" for k, v in place.labels.items())
        reasons.append(f"{component}: expected at least one node" + (f" with {labels}" if labels else ""))
    return found
