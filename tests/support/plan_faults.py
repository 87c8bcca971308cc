"""Faults planted in right plans: each a small change, and the proof that must find it.

A fault is a function of a world, its plan and a source of choices. It returns the spoilt plan, or None where this
plan has no place for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis.strategies import SearchStrategy

from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.plan import Batch, Direction, Plan, Step, TargetId, step_key
from bumpless.common.model.release import RollbackPolicy
from bumpless.common.model.strategy import NodeSet, Strategy, StrategyKind
from bumpless.planner.unplannable import Unplannable
from support.hops import clashes, hop_worlds, moments
from support.plans import GATE, digest, target
from support.worlds import SETS, World, worlds

X = TypeVar("X")
Spoil = Callable[[World, Plan, random.Random], Plan | None]


@dataclass(frozen=True)
class Fault:
    """`kinds`: the strategies in whose worlds it is looked for; `blue_green`: also in worlds with two sets.

    `hops`: in worlds where the way leads over several versions.
    """

    spoil: Spoil
    proof: str
    kinds: tuple[StrategyKind, ...] = SETS
    blue_green: bool = False
    hops: bool = False

    def worlds(self) -> SearchStrategy[World]:
        if self.hops:
            return hop_worlds().filter(_has_way)
        return worlds(blue_green=self.blue_green, kinds=self.kinds)


def _has_way(world: World) -> bool:
    try:
        return len(world.plan().batches) <= 8
    except Unplannable:
        return False


FAULTS: dict[str, Fault] = {}


def planted(
    proof: str, *kinds: StrategyKind, blue_green: bool = False, hops: bool = False
) -> Callable[[Spoil], Spoil]:
    """Keeps a fault under the name of its function, in words."""

    def keep(spoil: Spoil) -> Spoil:
        FAULTS[spoil.__name__.replace("_", " ")] = Fault(spoil, proof, kinds or SETS, blue_green, hops)
        return spoil

    return keep


# changing plans -------------------------------------------------------------------------------------------


def pick(dice: random.Random, items: Sequence[X]) -> X | None:
    return dice.choice(items) if items else None


def with_batch(plan: Plan, batch: Batch, **updates: Any) -> Plan:
    changed = tuple(b.model_copy(update=updates) if b.id == batch.id else b for b in plan.batches)
    return plan.model_copy(update={"batches": changed})


def with_step(plan: Plan, batch: Batch, step: Step, **updates: Any) -> Plan:
    steps = tuple(s.model_copy(update=updates) if s is step else s for s in batch.steps)
    return with_batch(plan, batch, steps=steps)


def swapped(plan: Plan, one: Batch, other: Batch) -> Plan:
    """Two batches trade their steps."""
    return with_batch(with_batch(plan, one, steps=other.steps), other, steps=one.steps)


def any_step(plan: Plan, dice: random.Random, wanted: Callable[[Step], bool] = lambda step: True) -> Any:
    return pick(dice, [(batch, step) for batch in plan.batches for step in batch.steps if wanted(step)])


def chain_of(plan: Plan, component: str) -> list[Batch]:
    return [batch for batch in plan.batches if batch.component == component]


def neighbours(plan: Plan) -> list[tuple[Batch, Batch]]:
    """Batches of one component, one right after the other."""
    chains = [chain_of(plan, name) for name in dict.fromkeys(b.component for b in plan.batches)]
    return [(chain[at], chain[at + 1]) for chain in chains for at in range(len(chain) - 1)]


def strategy_of(world: World, batch: Batch) -> Strategy:
    return next(c.strategy for c in world.release.components if c.name == batch.component)


def came(step: Step) -> bool:
    return step.after is not None


# the graph ------------------------------------------------------------------------------------------------

GRAPH = "the_batches_form_a_graph"


@planted(GRAPH)
def a_batch_twice(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, plan.batches)
    return found and plan.model_copy(update={"batches": (*plan.batches, found)})


@planted(GRAPH)
def a_need_that_does_not_exist(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, plan.batches)
    return found and with_batch(plan, found, needs=(*found.needs, BatchId("nobody")))


@planted(GRAPH)
def a_batch_that_waits_for_itself(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, neighbours(plan))
    return found and with_batch(plan, found[0], needs=(*found[0].needs, found[1].id))


# limits ---------------------------------------------------------------------------------------------------

WHOLE = "the_plan_is_the_releases"


@planted("the_generation_is_new")
def a_generation_that_was_taken(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    return plan.model_copy(update={"generation": max(node.generation for node in world.fleet.nodes)})


@planted(WHOLE)
def a_larger_budget(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    return plan.model_copy(update={"max_unavailable": plan.max_unavailable + 1})


@planted(WHOLE)
def another_rollback_policy(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    other = next(policy for policy in RollbackPolicy if policy is not plan.rollback_policy)
    return plan.model_copy(update={"rollback_policy": other})


@planted(WHOLE)
def an_approval_of_the_rollout_forgotten(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    return plan.model_copy(update={"approval": False}) if plan.approval else None


@planted(WHOLE)
def another_limit_to_stage(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    return plan.model_copy(update={"stage_timeout_s": plan.stage_timeout_s * 2})


@planted(WHOLE)
def another_release_by_name(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    return plan.model_copy(update={"release_version": "v99"})


@planted(WHOLE)
def a_revert_in_disguise(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    return plan.model_copy(update={"direction": Direction.REVERT, "of": RolloutId("other")})


@planted("gates_are_the_releases")
def a_gate_left_out(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if batch.gate is not None])
    return found and with_batch(plan, found, gate=None)


@planted("gates_are_the_releases")
def a_gate_that_bakes_less(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if batch.gate is not None])
    if found is None or found.gate is None:
        return None
    return with_batch(plan, found, gate=GateSpec(window_s=0.1, warm_up_s=0, timeout_s=1))


@planted("gates_are_the_releases")
def a_gate_that_nobody_asked_for(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if batch.gate is None])
    return found and with_batch(plan, found, gate=GATE)


@planted("people_are_asked")
def an_approval_of_a_batch_forgotten(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if batch.approval])
    return found and with_batch(plan, found, approval=False)


@planted("people_are_asked")
def a_person_asked_for_nothing(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if not batch.approval])
    return found and with_batch(plan, found, approval=True)


@planted("waits_are_kept")
def an_interval_cut_short(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [b for b in plan.batches if b.wait_s and strategy_of(world, b).interval_s])
    return found and with_batch(plan, found, wait_s=found.wait_s / 2)


@planted("waits_are_kept", StrategyKind.CANARY)
def canaries_not_observed(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(
        dice,
        [
            after
            for before, after in neighbours(plan)
            if before.canary and not after.canary and strategy_of(world, after).observe_s
        ],
    )
    return found and with_batch(plan, found, wait_s=0)


@planted("waits_are_kept", StrategyKind.WAVES)
def a_soak_left_out(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if batch.wait_s])
    return found and with_batch(plan, found, wait_s=0)


@planted("waits_are_kept", blue_green=True)
def a_set_not_held(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if batch.hold_s])
    return found and with_batch(plan, found, hold_s=0)


@planted("nodes_have_time")
def a_batch_without_time(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, plan.batches)
    return found and with_batch(plan, found, apply_timeout_s=1)


# coverage -------------------------------------------------------------------------------------------------


@planted("steps_stand_in_their_batch")
def a_step_in_a_foreign_batch(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    pairs = [(a, b) for a in plan.batches for b in plan.batches if a.component != b.component]
    found = pick(dice, pairs)
    if found is None:
        return None
    return with_batch(plan, found[0], steps=(*found[0].steps, found[1].steps[0]))


@planted("steps_stand_in_their_batch")
def a_step_of_another_hop(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice)
    return found and with_step(plan, *found, hop=found[1].hop + 1)


@planted("every_step_once")
def a_step_twice(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [(a, b) for a in plan.batches for b in plan.batches if a.component == b.component])
    return found and with_batch(plan, found[0], steps=(*found[0].steps, found[1].steps[0]))


@planted("every_step_once")
def a_node_changed_and_unchanged(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice)
    return found and plan.model_copy(update={"unchanged": (*plan.unchanged, found[1].key)})


@planted("every_placed_node_arrives")
def a_node_forgotten(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if len(batch.steps) > 1 and came(batch.steps[0])])
    return found and with_batch(plan, found, steps=found.steps[1:])


@planted("every_placed_node_arrives")
def a_batch_forgotten(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    needed = {need for batch in plan.batches for need in batch.needs}
    found = pick(dice, [b for b in plan.batches if b.id not in needed and came(b.steps[0])])
    if found is None:
        return None
    return plan.model_copy(update={"batches": tuple(b for b in plan.batches if b is not found)})


@planted("every_placed_node_arrives")
def a_node_taken_for_done(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if len(batch.steps) > 1 and came(batch.steps[0])])
    if found is None:
        return None
    key = step_key(found.steps[0].node, found.component)
    left = with_batch(plan, found, steps=found.steps[1:])
    return left.model_copy(update={"unchanged": (*plan.unchanged, key)})


@planted("nothing_else_is_touched")
def a_node_that_is_not_there(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice)
    return found and with_step(plan, *found, node="ghost")


@planted("nothing_else_is_touched")
def a_node_outside_the_placement(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    places = {c.name: c.place.nodes for c in world.release.components if c.place.nodes}
    names = [node.name for node in world.fleet.nodes]
    spots = [
        (batch, name)
        for batch in plan.batches
        for name in names
        if batch.component in places and name not in places[batch.component]
    ]
    found = pick(dice, spots)
    if found is None:
        return None
    batch, name = found
    return with_batch(plan, batch, steps=(*batch.steps, batch.steps[0].model_copy(update={"node": name})))


@planted("hops_are_chained")
def a_second_hop_that_begins_elsewhere(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice, lambda step: came(step) and step.before != step.after)
    if found is None:
        return None
    batch, step = found
    if step.before == step.after:
        return None
    again = step.model_copy(update={"hop": 2})
    more = batch.model_copy(
        update={"id": BatchId(batch.id + "-again"), "hop": 2, "needs": (batch.id,), "steps": (again,)}
    )
    return plan.model_copy(update={"batches": (*plan.batches, more)})


# targets --------------------------------------------------------------------------------------------------


@planted("targets_are_named_by_their_content")
def a_target_that_was_changed(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    name = pick(dice, sorted(plan.targets))
    if name is None:
        return None
    other = plan.targets[name].model_copy(update={"root": digest("something else")})
    return plan.model_copy(update={"targets": {**plan.targets, name: other}})


def _instead(plan: Plan, dice: random.Random, **updates: Any) -> Plan | None:
    """One step leads to its target with something else in it."""
    found = any_step(plan, dice, came)
    if found is None:
        return None
    batch, step = found
    other = plan.targets[step.after].model_copy(update=updates)
    more = plan.model_copy(update={"targets": {**plan.targets, other.id: other}})
    return with_step(more, batch, step, after=other.id)


@planted("targets_are_the_releases")
def a_tree_that_the_release_does_not_name(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    return _instead(plan, dice, root=digest("something else"))


@planted("targets_are_the_releases")
def a_package_of_another_build(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    return _instead(plan, dice, artifact=digest("something else"))


@planted("targets_are_the_releases")
def another_command(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice, came)
    if found is None:
        return None
    run = plan.targets[found[1].after].run.model_copy(update={"command": ("bin/evil",)})
    return _instead(plan, dice, run=run)


@planted("targets_are_the_releases")
def the_old_version(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice, came)
    if found is None:
        return None
    old = target(found[1].component, "v0")
    more = plan.model_copy(update={"targets": {**plan.targets, old.id: old}})
    return with_step(more, *found, after=old.id)


@planted("targets_are_the_releases")
def a_target_that_is_nowhere(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice, came)
    return found and with_step(plan, *found, after=TargetId("nowhere"))


@planted("targets_are_the_releases")
def a_target_of_another_component(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice, came)
    if found is None:
        return None
    others = [name for name, t in plan.targets.items() if t.component != found[1].component]
    other = pick(dice, sorted(others))
    return other and with_step(plan, *found, after=other)


@planted("targets_are_the_releases")
def a_component_taken_away(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice, came)
    return found and with_step(plan, *found, after=None)


@planted("steps_begin_where_the_fleet_is")
def a_step_that_begins_with_what_never_ran(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice)
    if found is None:
        return None
    other = target(found[1].component, "v0")
    more = plan.model_copy(update={"targets": {**plan.targets, other.id: other}})
    return with_step(more, *found, before=other.id)


@planted("steps_begin_where_the_fleet_is")
def a_step_that_takes_a_node_for_empty(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = any_step(plan, dice, lambda step: step.before is not None)
    return found and with_step(plan, *found, before=None)


@planted("nothing_is_carried_that_no_step_uses")
def a_target_for_nobody(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    other = target("stranger", "v2")
    return plan.model_copy(update={"targets": {**plan.targets, other.id: other}})


# order ----------------------------------------------------------------------------------------------------


@planted("batches_of_a_component_go_one_by_one")
def a_batch_that_does_not_wait_for_the_last(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, neighbours(plan))
    return found and with_batch(plan, found[1], needs=found[0].needs)


@planted("dependencies_go_first")
def a_dependency_not_waited_for(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    depends = {c.name: c.depends_on for c in world.release.components}
    changed = {batch.component for batch in plan.batches}
    firsts = [
        chain_of(plan, name)[0]
        for name in sorted(changed)
        if any(dependency in changed for dependency in depends[name])
    ]
    found = pick(dice, firsts)
    return found and with_batch(plan, found, needs=())


@planted("messages_can_be_read")
def a_format_written_before_it_is_read(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    produce = {c.name for c in world.release.components if c.produces}
    found = pick(dice, [b for b in plan.batches if b.component in produce and b.needs])
    if found is None or found is not chain_of(plan, found.component)[0]:
        return None
    consumer = next(c.name for c in world.release.components if c.consumes)
    running = [node.components[consumer].target for node in world.fleet.nodes]
    if not chain_of(plan, consumer) or not any(t is not None and t.version == "v1" for t in running):
        return None
    leaves = {step.node for batch in chain_of(plan, consumer) for step in batch.steps if step.before}
    return with_batch(plan, found, needs=()) if leaves else None


# capacity -------------------------------------------------------------------------------------------------


@planted("batches_fit_the_budget")
def two_batches_in_one_above_the_budget(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    joined = [
        (one, other)
        for one, other in neighbours(plan)
        if len({s.node for s in (*one.steps, *other.steps)}) > plan.max_unavailable
    ]
    found = pick(dice, joined)
    return found and with_batch(plan, found[0], steps=(*found[0].steps, *found[1].steps))


@planted("batches_are_as_small_as_asked", StrategyKind.ROLLING)
def two_batches_in_one_within_the_budget(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    joined = [
        (one, other)
        for one, other in neighbours(plan)
        if len({s.node for s in (*one.steps, *other.steps)}) <= plan.max_unavailable
    ]
    found = pick(dice, joined)
    if found is None:
        return None
    one, other = found
    left = tuple(
        b.model_copy(update={"needs": tuple(one.id if n == other.id else n for n in b.needs)})
        for b in plan.batches
        if b is not other
    )
    merged = plan.model_copy(update={"batches": left})
    size = strategy_of(world, one).batch_size
    if not isinstance(size, int) or len(one.steps) + len(other.steps) <= size:
        return None
    return with_batch(merged, one, steps=(*one.steps, *other.steps))


@planted("a_set_leaves_after_the_other_has_come", blue_green=True)
def a_set_that_leaves_at_once(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [b for b in plan.batches if not came(b.steps[0]) and b.needs])
    if found is None or not any(came(b.steps[0]) for b in chain_of(plan, found.component)):
        return None
    return with_batch(plan, found, needs=())


@planted("a_set_leaves_after_the_other_has_come", blue_green=True)
def more_that_leave_than_came(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [b for b in plan.batches if not came(b.steps[0])])
    if found is None:
        return None
    ghosts = (found.steps[0].model_copy(update={"node": f"ghost-{number}"}) for number in range(8))
    return with_batch(plan, found, steps=(*found.steps, *ghosts))


# strategies -----------------------------------------------------------------------------------------------


@planted("canaries_go_first", StrategyKind.CANARY)
def a_canary_that_is_none(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if batch.canary])
    return found and with_batch(plan, found, canary=False)


@planted("canaries_go_first")
def a_canary_that_nobody_asked_for(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    plain = [b for b in plan.batches if strategy_of(world, b).kind is not StrategyKind.CANARY]
    found = pick(dice, plain)
    return found and with_batch(plan, found, canary=True)


@planted("canaries_go_first", StrategyKind.CANARY)
def a_drained_node_that_is_watched(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    """A canary and the drained node of a later batch trade places."""
    drained = {node.name for node in world.fleet.nodes if node.drain is not None}
    found = pick(
        dice,
        [
            (one, other, step, away)
            for one in plan.batches
            for other in chain_of(plan, one.component)
            if one.canary and not other.canary and one.hop == other.hop
            for step in one.steps
            for away in other.steps
            if away.node in drained and step.node not in drained
        ],
    )
    if found is None or isinstance(strategy_of(world, found[0]).canary, NodeSet):
        return None
    one, other, step, away = found
    traded = with_batch(plan, one, steps=tuple(away if s is step else s for s in one.steps))
    return with_batch(traded, other, steps=tuple(step if s is away else s for s in other.steps))


@planted("canaries_go_first", StrategyKind.CANARY)
def a_canary_after_the_rest(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [(a, b) for a, b in neighbours(plan) if a.canary and not b.canary])
    if found is None:
        return None
    return with_batch(with_batch(plan, found[0], canary=False), found[1], canary=True)


@planted("waves_go_in_their_order", StrategyKind.WAVES)
def a_wave_before_its_turn(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, _of_two_waves(world, plan))
    return found and swapped(plan, *found)


@planted("waves_go_in_their_order", StrategyKind.WAVES)
def a_node_in_the_wrong_wave(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, _of_two_waves(world, plan))
    if found is None:
        return None
    one, other = found
    return with_batch(plan, one, steps=(*one.steps, other.steps[0]))


def _of_two_waves(world: World, plan: Plan) -> list[tuple[Batch, Batch]]:
    """Neighbours of which the second is of a labelled or the last wave, and the first is not."""

    def zone(step: Step) -> bool:
        node = world.fleet.node(step.node)
        return node is not None and node.labels["zone"] == "a"

    found = []
    for one, other in neighbours(plan):
        waves = strategy_of(world, one).waves
        labelled = [wave for wave in waves if wave.labels]
        if len(waves) == 2 and labelled and zone(one.steps[0]) and not zone(other.steps[0]):
            found.append((one, other))
    return found


@planted("priorities_go_in_their_order", StrategyKind.PRIORITY)
def a_lower_priority_first(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    def rank(batch: Batch) -> set[str]:
        return {world.fleet.node(step.node).labels["rank"] for step in batch.steps}  # type: ignore[union-attr]

    found = pick(dice, [(a, b) for a, b in neighbours(plan) if rank(a) == {"2"} and rank(b) == {"1"}])
    return found and swapped(plan, *found)


@planted("batches_are_spread", StrategyKind.ROLLING, StrategyKind.ALL_AT_ONCE)
def a_batch_over_two_zones(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    def zones(batch: Batch) -> set[str]:
        return {world.fleet.node(step.node).labels["zone"] for step in batch.steps}  # type: ignore[union-attr]

    apart = []
    for one, other in neighbours(plan):
        spread = strategy_of(world, one).spread
        if spread is not None and spread.mode == "one-at-a-time" and zones(one) != zones(other):
            apart.append((one, other))
    found = pick(dice, apart)
    return found and with_batch(plan, found[0], steps=(*found[0].steps, *found[1].steps))


# what fits together ---------------------------------------------------------------------------------------


def _new_clashes(world: World, plan: Plan, spoilt: Plan) -> set[str]:
    """What meets in some order of the spoilt plan and in none of the right one, found by looking at every order."""

    def of(one: Plan) -> set[str]:
        return {what for seen in moments(one, world.fleet) for what in clashes(seen, world.release)}

    return of(spoilt) - of(plan)


@planted("clients_fit_providers_at_every_moment", hops=True)
def a_pair_that_may_meet(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    """A batch that waits only for its own component any more."""
    component = {batch.id: batch.component for batch in plan.batches}
    foreign = [b for b in plan.batches if any(component[need] != b.component for need in b.needs)]
    found = pick(dice, foreign)
    if found is None:
        return None
    chain = chain_of(plan, found.component)
    own = tuple(batch.id for batch in chain[: chain.index(found)][-1:])
    spoilt = with_batch(plan, found, needs=own)
    return (
        spoilt
        if any(" beside " in x and x.count(" ") > 3 for x in _new_clashes(world, plan, spoilt))
        else None
    )


@planted("versions_side_by_side_mix", hops=True)
def a_hop_passed_over(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    """The nodes of a first hop go on to the last version at once."""
    found = pick(dice, [b for b in plan.batches if b.hop > 1 and any(s.hop == b.hop for s in b.steps)])
    if found is None:
        return None
    before = [b for b in chain_of(plan, found.component) if b.hop == found.hop - 1]
    if not before:
        return None
    steps = tuple(s.model_copy(update={"after": found.steps[0].after}) for s in before[0].steps)
    spoilt = with_batch(plan, before[0], steps=steps)
    mixed = {x for x in _new_clashes(world, plan, spoilt) if x.count(" ") == 3}
    return spoilt if any(x.startswith(found.component + " ") for x in mixed) else None


# the way back ---------------------------------------------------------------------------------------------

WAY_BACK = "horizons_are_marked"


@planted(WAY_BACK, hops=True)
def a_horizon_that_is_not_told(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if batch.horizon])
    return found and with_batch(plan, found, horizon="", freeze=False)


@planted(WAY_BACK, hops=True)
def a_horizon_where_there_is_none(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if not batch.horizon])
    return found and with_batch(plan, found, horizon="the old one does not read what the new one writes")


@planted(WAY_BACK, hops=True)
def a_freeze_left_out(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if batch.freeze])
    return found and with_batch(plan, found, freeze=False)


@planted(WAY_BACK, hops=True)
def a_freeze_that_nobody_asked_for(world: World, plan: Plan, dice: random.Random) -> Plan | None:
    found = pick(dice, [batch for batch in plan.batches if batch.horizon and not batch.freeze])
    return found and with_batch(plan, found, freeze=True)
