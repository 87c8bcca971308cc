"""Observed fleet -> route: the stages in which every component comes to its target. Pure.

A stage takes nodes of one component to one version. It is cut into batches elsewhere, and waits for the stages that
it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bumpless.common.model.plan import StepKey, Target, step_key
from bumpless.common.model.release import Component
from bumpless.planner.blue_green import Sides
from bumpless.planner.targets import serves


@dataclass(frozen=True)
class Visit:
    """A node of a stage, and what it runs when the stage begins; None: nothing."""

    node: str
    before: Target | None


@dataclass(frozen=True)
class Stage:
    """The `hop`-th stage of `component` (from 1): its `visits` go to `target`. None: it is taken off them.

    `after` are the places in the route, lower than its own, of the stages that must have passed before.
    """

    component: Component
    hop: int
    target: Target | None
    visits: tuple[Visit, ...]
    after: tuple[int, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The versions it leaves."""
        return tuple(sorted({visit.before.version for visit in self.visits if visit.before is not None}))


@dataclass(frozen=True)
class Route:
    """Every stage stands after those it waits for. `unchanged`: steps of nodes that have nothing to do."""

    stages: tuple[Stage, ...]
    unchanged: tuple[StepKey, ...]

    def most_changed(self, component: str) -> tuple[str, ...]:
        """The nodes of the largest stage of the component."""
        found = [
            tuple(v.node for v in stage.visits) for stage in self.stages if stage.component.name == component
        ]
        return max(found, key=len, default=())


def route_of(
    components: Sequence[Component], sides: Mapping[str, Sides], targets: Mapping[str, Target]
) -> Route:
    """One stage for every component that has something to do, in the order of `components`: dependencies first."""
    stages: list[Stage] = []
    unchanged: list[StepKey] = []
    last: dict[str, tuple[int, ...]] = {}
    for component in components:
        name = component.name
        visits = []
        for node in sides[name].taking:
            seen = node.components.get(name)
            if serves(seen, targets[name]):
                unchanged.append(step_key(node.name, name))
            else:
                visits.append(Visit(node.name, seen.target if seen is not None else None))
        after = tuple(dict.fromkeys(stage for dep in component.depends_on for stage in last[dep]))
        last[name] = (len(stages),) if visits else after
        if visits:
            stages.append(Stage(component, 1, targets[name], tuple(visits), after))
        if sides[name].leaving:
            gone = tuple(Visit(node.name, node.components[name].target) for node in sides[name].leaving)
            stages.append(Stage(component, 2, None, gone, last[name]))
            last[name] = (len(stages) - 1,)
        unchanged += [step_key(node.name, name) for node in sides[name].idle]
    return Route(tuple(stages), tuple(unchanged))
