"""Every proof, over one plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Plan
from bumpless.common.model.release import Release
from bumpless.planner.proof import (
    capacity,
    coverage,
    graph,
    limits,
    mixing,
    order,
    strategy,
    targets,
    way_back,
)
from bumpless.planner.proof.case import Case

Proof = Callable[[Case], Iterator[str]]
"""Yields what breaks one invariant, which its docstring states; nothing where it holds."""

PROOFS: tuple[Proof, ...] = (
    limits.the_plan_is_the_releases,
    limits.the_generation_is_new,
    limits.gates_are_the_releases,
    limits.people_are_asked,
    limits.waits_are_kept,
    limits.nodes_have_time,
    coverage.steps_stand_in_their_batch,
    coverage.every_step_once,
    coverage.every_placed_node_arrives,
    coverage.nothing_else_is_touched,
    coverage.hops_are_chained,
    targets.targets_are_named_by_their_content,
    targets.targets_are_the_releases,
    targets.steps_begin_where_the_fleet_is,
    targets.nothing_is_carried_that_no_step_uses,
    order.batches_of_a_component_go_one_by_one,
    order.dependencies_go_first,
    order.messages_can_be_read,
    capacity.batches_fit_the_budget,
    capacity.batches_are_as_small_as_asked,
    capacity.a_set_leaves_after_the_other_has_come,
    strategy.canaries_go_first,
    strategy.waves_go_in_their_order,
    strategy.priorities_go_in_their_order,
    strategy.batches_are_spread,
    mixing.versions_side_by_side_mix,
    mixing.clients_fit_providers_at_every_moment,
    way_back.horizons_are_marked,
)


def faults(plan: Plan, release: Release, fleet: Fleet) -> list[tuple[str, str]]:
    """(the proof that failed, what breaks it); empty when the plan holds. A plan that is no graph is looked at no further."""
    broken = list(graph.the_batches_form_a_graph(plan))
    if broken:
        return [(graph.the_batches_form_a_graph.__name__, text) for text in broken]
    case = Case(plan, release, fleet)
    return [(proof.__name__, text) for proof in PROOFS for text in proof(case)]


def check(plan: Plan, release: Release, fleet: Fleet) -> list[str]:
    """Everything that is wrong with `plan`; empty when it holds."""
    return [text for _, text in faults(plan, release, fleet)]
