"""Reverse plans of random courses: they restore what was, dependents first, and fence what was never commanded."""

from __future__ import annotations

import networkx as nx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bumpless.common.contract import commands as c
from bumpless.common.contract.base import RolloutId
from bumpless.common.engine.expand import node_commands
from bumpless.common.model.plan import MAX_HOPS, Direction, Plan
from bumpless.common.model.rollout import Rollout, RolloutStatus
from bumpless.rollback.reverse import How, reverse
from support.hops import any_plans
from support.rollouts import Course
from support.walk import Walk
from support.walk import choices as walks

CHOICES = walks()


def commanded(plan: Plan, choices: list[int]) -> Rollout:
    walk = Walk(plan)
    walk.start()
    walk.go(choices)
    assume(walk.state.commanded)
    return walk.state


def back(state: Rollout, number: int = 0) -> Plan:
    return reverse(state, revert=RolloutId("revert-1"), number=number)


@given(any_plans(), CHOICES)
@settings(max_examples=50)
def test_exactly_what_was_commanded_goes_back_and_the_rest_is_fenced(plan: Plan, choices: list[int]) -> None:
    state = commanded(plan, choices)
    found = back(state)
    before = {step.key: step for step in plan.steps()}
    steps = list(found.steps())
    assert {step.key for step in steps} == state.commanded
    assert len(steps) == len(state.commanded)
    for step in steps:
        assert (step.after, step.before) == (before[step.key].before, before[step.key].after)
    touched = {before[key].place for key in state.commanded}
    untouched = {place: course[0].key for place, course in plan.courses().items() if place not in touched}
    assert {step.key for step in found.fence} == set(untouched.values())
    for step in found.fence:
        assert step.after == step.before == before[step.key].before
    assert (found.of, found.direction, found.generation) == (plan.rollout, Direction.REVERT, plan.generation)


@given(any_plans(), CHOICES)
@settings(max_examples=50)
def test_dependents_go_back_first_and_the_budget_holds(plan: Plan, choices: list[int]) -> None:
    found = back(commanded(plan, choices))
    forward, reverse_order = nx.DiGraph(), nx.DiGraph()
    stage = {batch.id: (batch.component, batch.hop) for batch in plan.batches}
    forward.add_nodes_from(stage.values())
    forward.add_edges_from(
        (stage[n], stage[b.id]) for b in plan.batches for n in b.needs if stage[n] != stage[b.id]
    )
    reverse_order.add_nodes_from(batch.id for batch in found.batches)
    reverse_order.add_edges_from((need, batch.id) for batch in found.batches for need in batch.needs)
    assert nx.is_directed_acyclic_graph(reverse_order)
    for batch in found.batches:
        assert len(batch.steps) <= plan.max_unavailable
        mine = batch.component, batch.hop
        for other in found.batches:
            theirs = other.component, other.hop
            if mine != theirs and nx.has_path(forward, mine, theirs):
                assert nx.has_path(reverse_order, other.id, batch.id)


@given(any_plans(), CHOICES)
@settings(max_examples=40)
def test_it_is_another_plan_whose_commands_win(plan: Plan, choices: list[int]) -> None:
    state = commanded(plan, choices)
    forward_hash = plan.hash
    first, second = back(state, 0), back(state, 1)
    assert len({forward_hash, first.hash, second.hash}) == 3
    assert first.hash == Plan.model_validate_json(first.canonical()).hash
    highest = 0
    for found in (plan, first, second):
        walk = Course(found)
        sent = [
            one
            for m in walk.out
            if isinstance(m, c.StageArtifacts | c.ApplyBatch)
            for one in node_commands(found, m)
        ]
        assert all(one.sequence > highest for one in sent)
        highest = found.sequence_base + 1 + MAX_HOPS


@given(any_plans(), CHOICES)
@settings(max_examples=40)
def test_running_it_restores_every_commanded_node(plan: Plan, choices: list[int]) -> None:
    state = commanded(plan, choices)
    before = {step.key: step.before for step in plan.steps()}
    runs = {key: next(s for s in plan.steps() if s.key == key).after for key in state.commanded}
    course = Walk(back(state))
    while not course.state.ended:
        ready = [b for b in course.plan.batches if course.batch(b.id) == "applying"]
        if not ready:
            course.fire()
            continue
        for step in ready[0].steps:
            assert runs[step.key] == step.before
            runs[step.key] = step.after
            course.feed(course.finished(ready[0].id, step))
    assert course.status is RolloutStatus.REVERTED
    assert runs == {key: before[key] for key in state.commanded}


@given(any_plans(), CHOICES, st.data())
@settings(max_examples=30)
def test_only_some_of_it(plan: Plan, choices: list[int], data: st.DataObject) -> None:
    state = commanded(plan, choices)
    some = data.draw(st.sets(st.sampled_from(sorted(state.commanded)), min_size=1))
    found = reverse(state, revert=RolloutId("revert-1"), number=0, how=How(some))
    first: dict[str, int] = {}
    for step in plan.steps():
        if step.key in some:
            first[step.place] = min(step.hop, first.get(step.place, MAX_HOPS))
    with_later = {
        s.key for s in plan.steps() if s.key in state.commanded and s.hop >= first.get(s.place, MAX_HOPS + 1)
    }
    taken = {step.key for step in found.steps()}
    assert with_later <= taken <= state.commanded
    graph = nx.DiGraph((need, batch.id) for batch in plan.batches for need in batch.needs)
    for batch in plan.batches:
        if {step.key for step in batch.steps} & (state.commanded - taken) and batch.id in graph:
            went_before = nx.ancestors(graph, batch.id)
            for other in plan.batches:
                if other.id in went_before and other.component != batch.component:
                    assert not {step.key for step in other.steps} & taken, "what needs it stays"
    if len({batch.component for batch in plan.batches}) == 1:
        assert taken == with_later


@given(any_plans(), CHOICES, CHOICES)
@settings(max_examples=40)
def test_a_revert_holds_the_same_limits_on_every_course(
    plan: Plan, choices: list[int], more: list[int]
) -> None:
    walk = Walk(back(commanded(plan, choices)))
    walk.go(more)
    walk.check_whole()
    assert walk.status not in (RolloutStatus.FAILED, RolloutStatus.SUCCEEDED) or any(
        type(m).__name__ == "RevertStarted" for m, _ in walk.fed
    )
