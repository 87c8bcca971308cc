"""The reverse plan: every commanded step back to what was observed before it, dependents and later hops first. Pure.

Commanded, not succeeded: a node that did not answer may have switched. Components of which nothing was commanded on a
node are fenced there: told to stay where they are, under a higher sequence than any late forward command.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import networkx as nx

from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.model.plan import MAX_HOPS, Batch, Direction, Plan, Step, StepKey
from bumpless.common.model.rollout import Rollout

SEQUENCE_BASE = 1 << 20
"""Above every forward sequence of the same generation."""
SEQUENCES_PER_REVERT = MAX_HOPS + 24
"""One for the fence, one for every hop that may have to be taken back."""

Stage = tuple[str, int]
"""A component and its hop forward."""


@dataclass(frozen=True)
class How:
    """`only` limits a revert to some steps: with a step goes what went after it.
    `now`: every node of one hop of a component at once, whatever the unavailability budget says."""

    only: Collection[StepKey] = ()
    now: bool = False


WHOLE = How()


def reverse(state: Rollout, *, revert: RolloutId, number: int, how: How = WHOLE) -> Plan:
    """The plan that takes `state` back; `number` counts earlier reverts of the same rollout.

    Within one hop of a component every node goes back at once, as far as the unavailability budget allows.
    """
    plan, commanded = state.plan, state.commanded
    if how.now:
        nodes = len({step.node for step in plan.steps()})
        plan = plan.model_copy(update={"max_unavailable": max(plan.max_unavailable, nodes)})
    chosen = _chosen(plan, commanded, how.only)
    steps: dict[Stage, list[Step]] = {}
    for step in plan.steps():
        if step.key in chosen:
            steps.setdefault((step.component, step.hop), []).append(step)
    touched = {step.place for step in plan.steps() if step.key in commanded}
    fence = tuple(
        step.model_copy(update={"after": step.before})
        for step in (course[0] for course in plan.courses().values())
        if step.place not in touched
    )
    return plan.model_copy(
        update={
            "rollout": revert,
            "of": plan.rollout,
            "direction": Direction.REVERT,
            "partial": chosen != commanded,
            "sequence_base": SEQUENCE_BASE + SEQUENCES_PER_REVERT * number,
            "batches": tuple(_batches(plan, steps)),
            "hops": (),
            "fence": fence,
            "approval": False,
            "unchanged": (),
        }
    )


def _chosen(plan: Plan, commanded: frozenset[StepKey], only: Collection[StepKey]) -> frozenset[StepKey]:
    """The commanded steps to take back: all, or those that `only` names and what went after them."""
    if not only:
        return commanded
    named = _named(plan, commanded, only)
    return named | _after(plan, commanded, named)


def left_over(state: Rollout, only: Collection[StepKey]) -> list[StepKey]:
    """Commanded steps of other components that went after what `only` names, and that it leaves out.

    They were proven to serve beside what is to be taken back, not beside what was there before it.
    """
    commanded = state.commanded
    named = _named(state.plan, commanded, only)
    return sorted(_after(state.plan, commanded, named) - named)


def _after(plan: Plan, commanded: frozenset[StepKey], steps: Collection[StepKey]) -> frozenset[StepKey]:
    """The commanded steps of every stage of another component that went after one of `steps`."""
    followers = _followers(plan)
    stages = {(step.component, step.hop) for step in plan.steps() if step.key in steps}
    later = {found for stage in stages for found in followers.get(stage, ()) if found[0] != stage[0]}
    return frozenset(
        step.key for step in plan.steps() if step.key in commanded and (step.component, step.hop) in later
    )


def _named(plan: Plan, commanded: frozenset[StepKey], only: Collection[StepKey]) -> frozenset[StepKey]:
    """The commanded steps that `only` names, and what came after them in their place."""
    first: dict[StepKey, int] = {}
    for key in only:
        place, _, hop = key.partition("#")
        first[StepKey(place)] = min(int(hop or 1), first.get(StepKey(place), MAX_HOPS))
    return frozenset(
        step.key
        for step in plan.steps()
        if step.key in commanded and step.hop >= first.get(step.place, MAX_HOPS + 1)
    )


def _batches(plan: Plan, steps: dict[Stage, list[Step]]) -> list[Batch]:
    """The last hop of a component is the first one back."""
    after = _followers(plan)
    limits = {(batch.component, batch.hop): batch.apply_timeout_s for batch in plan.batches}
    ids: dict[Stage, list[BatchId]] = {}
    counts: dict[str, int] = {}
    order = sorted(steps, key=lambda stage: -stage[1])
    for stage in order:
        for _ in _parts(steps[stage], plan.max_unavailable):
            counts[stage[0]] = counts.get(stage[0], 0) + 1
            ids.setdefault(stage, []).append(BatchId(f"{stage[0]}-back-{counts[stage[0]]}"))
    batches = []
    for stage in order:
        name, hop = stage
        needs = tuple(found for other in sorted(after.get(stage, ())) for found in ids.get(other, ()))
        for batch_id, part in zip(ids[stage], _parts(steps[stage], plan.max_unavailable), strict=True):
            batches.append(
                Batch(
                    id=batch_id,
                    component=name,
                    hop=hop,
                    steps=tuple(
                        step.model_copy(update={"before": step.after, "after": step.before}) for step in part
                    ),
                    needs=needs,
                    apply_timeout_s=limits[stage],
                )
            )
    return batches


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
