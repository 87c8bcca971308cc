"""Where components stand: the nodes that a release names or labels, as far as they are there. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from bumpless.common.model.fleet import Fleet, Node
from bumpless.common.model.release import Component

SEEN_WITHIN_S = 60.0
"""A node silent for four heartbeats is taken as away."""


def nodes_of(component: Component, fleet: Fleet, now: datetime, reasons: list[str]) -> list[Node]:
    place = component.place
    if place.nodes:
        found = []
        for name in place.nodes:
            node = fleet.node(name)
            if node is None:
                known = ", ".join(n.name for n in fleet.nodes) or "none"
                reasons.append(f"{component.name}: expected a node of the fleet ({known}), found {name!r}")
            else:
                found.append(node)
    else:
        found = [n for n in fleet.nodes if all(n.labels.get(k) == v for k, v in place.labels.items())]
    if not found:
        labels = ", ".join(f"{k}={v}" for k, v in place.labels.items())
        reasons.append(
            f"{component.name}: expected at least one node" + (f" with {labels}" if labels else "")
        )
    for node in found:
        silent = now - node.observed_at
        if silent > timedelta(seconds=SEEN_WITHIN_S):
            reasons.append(
                f"{component.name}: node {node.name} was last seen {silent.total_seconds():.0f} s ago; "
                "start its executor, or take it out of the placement"
            )
    return found
