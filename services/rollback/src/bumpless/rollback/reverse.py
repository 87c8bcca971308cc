"""The reverse plan: every commanded step back to what was observed before it, dependents first. Pure.

Commanded, not succeeded: a node that did not answer may have switched. Steps that were not commanded are fenced:
told to stay where they are, under a higher sequence than any late forward command.
"""

from __future__ import annotations

from collections.abc import Collection

import networkx as nx

from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.model.plan import Batch, Direction, Plan, Step, StepKey
from bumpless.common.model.rollout import Rollout

SEQUENCE_BASE = 1 << 20
"""Above every forward sequence of the same generation."""
SEQUENCES_PER_REVERT = 4


def reverse(state: Rollout, *, revert: RolloutId, number: int, only: Collection[StepKey] = ()) -> Plan:
    """The plan that takes `state` back; `number` counts earlier reverts of the same rollout, `only` limits it.

    Within one component every node goes back at once, as far as the unavailability budget allows.
    """
    plan = state.plan
    chosen = state.commanded & set(only) if only else state.commanded
    steps: dict[str, list[Step]] = {}
    for step in plan.steps():
        if step.key in chosen:
            back = Step(node=step.node, component=step.component, before=step.after, after=step.before)
            steps.setdefault(step.component, []).append(back)
    fence = tuple(
        Step(node=step.node, component=step.component, before=step.before, after=step.before)
        for step in plan.steps()
        if step.key not in state.commanded
    )
    dependents = _dependents(plan)
    parts = {name: _parts(found, plan.max_unavailable) for name, found in steps.items()}
    limits = {batch.component: batch.apply_timeout_s for batch in plan.batches}
    batches = [
        Batch(
            id=_id(name, number_of),
            component=name,
            steps=tuple(part),
            needs=tuple(
                _id(other, k)
                for other in sorted(dependents.get(name, ()))
                for k in range(1, len(parts.get(other, ())) + 1)
            ),
            apply_timeout_s=limits[name],
        )
        for name in parts
        for number_of, part in enumerate(parts[name], start=1)
    ]
    return plan.model_copy(
        update={
            "rollout": revert,
            "of": plan.rollout,
            "direction": Direction.REVERT,
            "partial": chosen != state.commanded,
            "sequence_base": SEQUENCE_BASE + SEQUENCES_PER_REVERT * number,
            "batches": tuple(batches),
            "fence": fence,
            "approval": False,
            "unchanged": (),
        }
    )


def _id(component: str, number: int) -> BatchId:
    return BatchId(f"{component}-back-{number}")


def _parts(steps: list[Step], budget: int) -> list[list[Step]]:
    return [steps[i : i + budget] for i in range(0, len(steps), budget)]


def _dependents(plan: Plan) -> dict[str, set[str]]:
    """For every component, those that went after it."""
    component = {batch.id: batch.component for batch in plan.batches}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(component.values())
    graph.add_edges_from(
        (component[need], batch.component)
        for batch in plan.batches
        for need in batch.needs
        if component[need] != batch.component
    )
    return {name: set(nx.descendants(graph, name)) for name in graph}
