"""What the checks look at: the release, the fleet, what is known from before, the rules, and the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from bumpless.common.contract.base import Digest
from bumpless.common.model.finding import Finding
from bumpless.common.model.fleet import Fleet, Node
from bumpless.common.model.plan import Target
from bumpless.common.model.preflight import Preflight
from bumpless.common.model.release import Component, Release
from bumpless.common.model.statement import Rehearsed
from bumpless.planner.placement import names_in, nodes_of, places_of


@dataclass(frozen=True)
class History:
    """`roots` are the trees that announced releases brought, as far back as they are kept; None: not looked up.

    `rehearsed` are the successes on other fleets that somebody signed for.
    """

    roots: frozenset[Digest] | None = None
    rehearsed: tuple[Rehearsed, ...] = ()


@dataclass(frozen=True)
class Case:
    """`policy` are the rules of the fleet; those of the release hold as well."""

    release: Release
    digest: Digest
    fleet: Fleet
    now: datetime
    policy: Preflight = field(default_factory=Preflight)
    history: History = field(default_factory=History)

    @property
    def rules(self) -> tuple[Preflight, Preflight]:
        return self.policy, self.release.preflight

    @cached_property
    def placed(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes of every component, as far as the fleet has them."""
        return {c.name: tuple(nodes_of(c, self.fleet)) for c in self.release.components}

    def coming(self, component: Component) -> Iterator[tuple[Node, Target | None]]:
        """The nodes whose tree of `component` would change, and what serves there now. A blue set only loses its own."""
        places = places_of(component)
        kept = names_in(places[-1], self.fleet.nodes) if len(places) > 1 else None
        for node in self.placed[component.name]:
            if kept is not None and node.name not in kept:
                continue
            running = runs(node, component.name)
            if running is None or running.root != component.root:
                yield node, running


Check = Callable[[Case], Iterable[Finding]]


def runs(node: Node, component: str) -> Target | None:
    """What serves on the node."""
    seen = node.components.get(component)
    return None if seen is None else seen.target
