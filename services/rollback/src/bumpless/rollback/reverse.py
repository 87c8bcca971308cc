"""The reverse plan: every commanded step back to what was observed before it, dependents and later hops first. Pure.

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

Stage = tuple[str, int]
"""A component and its hop."""


def reverse(state: Rollout, *, revert: RolloutId, number: int, only: Collection[StepKey] = ()) -> Plan:
    """The plan that takes `state` back; `number` counts earlier reverts of the same rollout, `only` limits it.

    Within one hop of a component every node goes back at once, as far as the unavailability budget allows.
    """
    plan = state.plan
    chosen = state.commanded & set(only) if only else state.commanded
    steps: dict[Stage, list[Step]] = {}
    for step in sorted(plan.steps(), key=lambda step: -step.hop):
        if step.key in chosen:
            back = step.model_copy(update={"before": step.after, "after": step.before})
            steps.setdefault((step.component, step.hop), []).append(back)
    fence = tuple(
        step.model_copy(update={"after": step.before})
        for step in plan.steps()
        if step.key not in state.commanded
    )
    followers = _followers(plan)
    parts = {stage: _parts(found, plan.max_unavailable) for stage, found in steps.items()}
    ids: dict[Stage, list[BatchId]] = {}
    for stage, cut in parts.items():
        before = sum(len(found) for other, found in ids.items() if other[0] == stage[0])
        ids[stage] = [BatchId(f"{stage[0]}-back-{before + number}") for number in range(1, len(cut) + 1)]
    limits = {(batch.component, batch.hop): batch.apply_timeout_s for batch in plan.batches}
    batches = [
        Batch(
            id=batch_id,
            component=stage[0],
            hop=stage[1],
            steps=tuple(part),
            needs=tuple(found for other in sorted(followers[stage]) for found in ids.get(other, ())),
            apply_timeout_s=limits[stage],
        )
        for stage in parts
        for batch_id, part in zip(ids[stage], parts[stage], strict=True)
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


def _parts(steps: list[Step], budget: int) -> list[list[Step]]:
    return [steps[i : i + budget] for i in range(0, len(steps), budget)]


def _followers(plan: Plan) -> dict[Stage, set[Stage]]:
    """For every hop of a component, the hops that went after it."""
    stage: dict[BatchId, Stage] = {batch.id: (batch.component, batch.hop) for batch in plan.batches}
    graph: nx.DiGraph[Stage] = nx.DiGraph()
    graph.add_nodes_from(stage.values())
    graph.add_edges_from(
        (stage[need], stage[batch.id])
        for batch in plan.batches
        for need in batch.needs
        if stage[need] != stage[batch.id]
    )
    return {name: set(nx.descendants(graph, name)) for name in graph}
