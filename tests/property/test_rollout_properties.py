"""The engine under random courses: limits hold after every message, and copies of messages change nothing."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message
from bumpless.common.engine import rollout as engine
from bumpless.common.model.plan import Plan
from bumpless.common.model.rollout import RolloutStatus
from support.hops import any_plans
from support.walk import Walk
from support.walk import choices as walks

CHOICES = walks()


def walked(plan: Plan, choices: list[int]) -> Walk:
    """Every third course begins where it begins, the others where batches run."""
    walk = Walk(plan)
    if sum(choices) % 3:
        walk.start()
    walk.go(choices)
    return walk


@given(any_plans(), CHOICES)
@settings(max_examples=250)
def test_limits_and_order_hold_all_the_way(plan: Plan, choices: list[int]) -> None:
    walked(plan, choices).check_whole()


@given(any_plans(), CHOICES)
@settings(max_examples=60)
def test_the_same_inputs_give_the_same_states_and_messages(plan: Plan, choices: list[int]) -> None:
    walk = walked(plan, choices)
    (first, moment), *rest = walk.fed
    assert isinstance(first, e.RolloutPlanned)
    decision = engine.begin(Plan.model_validate_json(plan.canonical()), first, moment)
    said = list(decision.messages)
    for message, at in rest:
        decision = engine.decide(decision.state, message, at)
        said += decision.messages
    assert decision.state == walk.state
    assert said == walk.said


@given(any_plans(), CHOICES)
@settings(max_examples=60)
def test_every_message_twice_ends_in_the_same_state(plan: Plan, choices: list[int]) -> None:
    walk = walked(plan, choices)
    (first, moment), *rest = walk.fed
    assert isinstance(first, e.RolloutPlanned)
    state = engine.begin(plan, first, moment).state
    state = engine.decide(state, first, moment).state
    for message, at in rest:
        state = engine.decide(state, message, at).state
        again = engine.decide(state, message, at)
        assert again.state is state
        assert not any(isinstance(m, c.ApplyBatch | c.OpenGate | c.StageArtifacts) for m in again.messages)
    assert state == walk.state


@given(any_plans(), CHOICES, st.integers(1, 20))
@settings(max_examples=60)
def test_many_messages_in_one_turn_are_as_good_as_one_after_the_other(
    plan: Plan, choices: list[int], together: int
) -> None:
    (first, moment), *rest = walked(plan, choices).fed
    assert isinstance(first, e.RolloutPlanned)
    state = engine.begin(plan, first, moment).state
    for start in range(0, len(rest), together):
        messages = [message for message, _ in rest[start : start + together]]
        now = rest[start : start + together][-1][1]
        before = state.model_copy(deep=True)
        found = engine.decide_all(state, messages, now)
        assert state == before
        said: list[Message] = []
        notes: list[str] = []
        for message in messages:
            one = engine.decide(state, message, now)
            state = one.state
            said += one.messages
            notes += one.notes
        assert (found.state, list(found.messages), list(found.notes)) == (state, said, notes)


@given(any_plans(), CHOICES, st.data())
@settings(max_examples=60)
def test_late_copies_change_nothing(plan: Plan, choices: list[int], data: st.DataObject) -> None:
    walk = Walk(plan)
    walk.start()
    for choice in choices:
        walk.go([choice])
        # Who is out is told as a whole, by one who knows it now: no copy of it can come late.
        effective = [message for message in walk.had_effect if not isinstance(message, e.NodesOut)]
        if not effective:
            continue
        late = data.draw(st.sampled_from(effective))
        decision = engine.decide(walk.state, late, walk.now)
        assert decision.state is walk.state, (late, decision.notes)


@given(any_plans())
@settings(max_examples=60)
def test_when_all_goes_well_it_succeeds(plan: Plan) -> None:
    walk = Walk(plan)
    while not walk.state.ended:
        good = walk.good()
        message = good[0]() if good else None
        if message is None:
            walk.fire()
        else:
            walk.feed(message)
    assert walk.status is RolloutStatus.SUCCEEDED
    walk.check_whole()


def test_courses_go_deep() -> None:
    """The courses above are worth something only if they reach what they are to judge."""
    reached: Counter[str] = Counter()

    @given(any_plans(), CHOICES)
    @settings(max_examples=150, derandomize=True, database=None)
    def look(plan: Plan, choices: list[int]) -> None:
        walk = walked(plan, choices)
        reached.update({type(m).__name__ for m in walk.said})
        reached.update({m.text for m in walk.said if isinstance(m, e.CommandAnswered)})
        reached["out"] += any(isinstance(m, e.NodesOut) for m in walk.had_effect)
        hops = {batch.id: batch.hop for batch in plan.batches}
        reached.update({f"hop {hops[m.batch]}" for m in walk.said if isinstance(m, c.ApplyBatch)})

    look()
    for wanted in (
        "RolloutSucceeded",
        "RolloutFailed",
        "RolloutHalted",
        "OpenGate",
        "CloseGate",
        "CommandAnswered",
        "resumed",
        "hop 2",
        "out",
    ):
        assert reached[wanted] >= 5, reached
