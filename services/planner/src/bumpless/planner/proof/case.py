"""What all proofs look at: a plan with its release and fleet, and what follows from its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter

from bumpless.common.contract.base import BatchId
from bumpless.common.model.fleet import Fleet, Node
from bumpless.common.model.plan import Batch, Plan, Step, Target, TargetId
from bumpless.common.model.release import Component, Release
from bumpless.common.model.strategy import StrategyKind, Wave


@dataclass(frozen=True)
class Case:
    """A plan whose batches form a graph."""

    plan: Plan
    release: Release
    fleet: Fleet
    waves: dict[tuple[str, int], dict[str, Wave]] = field(default_factory=dict, repr=False, compare=False)
    """(component, hop) -> node -> wave, as far as it was asked for (`waves.members`)."""

    @cached_property
    def components(self) -> dict[str, Component]:
        return {component.name: component for component in self.release.components}

    @cached_property
    def nodes(self) -> dict[str, Node]:
        return {node.name: node for node in self.fleet.nodes}

    @cached_property
    def chains(self) -> dict[str, list[Batch]]:
        """Component -> its batches, in the order in which the plan lists them."""
        found: dict[str, list[Batch]] = {}
        for batch in self.plan.batches:
            found.setdefault(batch.component, []).append(batch)
        return found

    @cached_property
    def ways(self) -> dict[tuple[str, str], list[Step]]:
        """(component, node) -> its steps, by hop."""
        found: dict[tuple[str, str], list[Step]] = {}
        for batch in self.plan.batches:
            for step in batch.steps:
                found.setdefault((step.component, step.node), []).append(step)
        for steps in found.values():
            if len(steps) > 1:
                steps.sort(key=lambda step: step.hop)
        return found

    @cached_property
    def placed(self) -> dict[str, list[Node]]:
        """Component -> the nodes where it is to stand; with blue-green, those of both sets."""
        return {name: list(self._placed(component)) for name, component in self.components.items()}

    def _placed(self, component: Component) -> Iterator[Node]:
        strategy = component.strategy
        two = strategy.kind is StrategyKind.BLUE_GREEN
        sets = [strategy.blue, strategy.green] if two else [component.place]
        for node in self.fleet.nodes:
            if any(one is not None and stands_in(one.nodes, one.labels, node) for one in sets):
                yield node

    def target(self, name: TargetId | None) -> Target | None:
        return None if name is None else self.plan.targets.get(name)

    def observed(self, node: str, component: str) -> Target | None:
        """What the node said that it runs."""
        found = self.nodes.get(node)
        seen = None if found is None else found.components.get(component)
        return None if seen is None else seen.target

    @cached_property
    def surely_done(self) -> dict[BatchId, dict[str, int]]:
        """Batch -> component -> how many of that component's first batches must have passed before it may start.

        Never more than is so: where the batches of a component are no chain, fewer are counted.
        """
        by_id = {batch.id: batch for batch in self.plan.batches}
        place = {batch.id: at for chain in self.chains.values() for at, batch in enumerate(chain)}
        found: dict[BatchId, dict[str, int]] = {}
        for name in TopologicalSorter({b.id: b.needs for b in self.plan.batches}).static_order():
            done: dict[str, int] = {}
            for need in by_id[name].needs:
                of = by_id[need].component
                known = found[need]
                for component, count in known.items():
                    if count > done.get(component, 0):
                        done[component] = count
                if known.get(of, 0) >= place[need] and place[need] + 1 > done.get(of, 0):
                    done[of] = place[need] + 1
            found[name] = done
        return found

    def waits_for_all_of(self, batch: Batch, component: str) -> bool:
        """Whether `batch` can start only when every batch of `component` has passed."""
        return self.surely_done[batch.id].get(component, 0) >= len(self.chains.get(component, ()))

    @cached_property
    def changed(self) -> dict[str, int]:
        """Component -> how many nodes come to a version in its largest stage; what is cut into batches."""
        counts: dict[tuple[str, int], int] = {}
        for batch in self.plan.batches:
            arriving = sum(step.after is not None for step in batch.steps)
            counts[batch.component, batch.hop] = counts.get((batch.component, batch.hop), 0) + arriving
        found: dict[str, int] = {}
        for (component, _), count in counts.items():
            found[component] = max(count, found.get(component, 0))
        return found

    def stages(self, component: str) -> list[list[Batch]]:
        """The batches of a component by hop; what leaves comes last and for itself."""
        found: dict[tuple[bool, int], list[Batch]] = {}
        for batch in self.chains.get(component, ()):
            leaving = all(step.after is None for step in batch.steps)
            found.setdefault((leaving, batch.hop), []).append(batch)
        return [found[key] for key in sorted(found)]


def stands_in(names: tuple[str, ...], labels: Mapping[str, str], node: Node) -> bool:
    """Whether a set that is named, or else labelled, has the node."""
    if names:
        return node.name in names
    return all(node.labels.get(key) == value for key, value in labels.items())
