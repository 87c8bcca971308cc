"""One budget for all rollouts of a fleet: who is out, and who is told."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, RolloutId
from bumpless.common.contract.events import StepOutcome
from bumpless.common.engine import rollout as engine
from bumpless.common.engine.batch import unavailable
from bumpless.common.model.fleet import ComponentState, Drain
from bumpless.common.model.plan import Plan
from bumpless.common.model.release import RollbackPolicy
from bumpless.planner.budget import Budget
from bumpless.planner.placement import SEEN_WITHIN_S
from support.plans import T0, at, batch, node, plan, target
from support.rollouts import Course, planned, rolling

API = plan(batch("api-1", ["n1"]), batch("api-2", ["n2"], needs=["api-1"]), max_unavailable=1)
DB = plan(
    batch("db-1", ["n2"], component="db"),
    batch("db-2", ["n1"], component="db", needs=["db-1"]),
    max_unavailable=1,
    rollout=RolloutId("other"),
)


def staged(of: Plan, clock: float = 0.0) -> Course:
    """A rollout that begins at `clock`, and whose steps are staged but for the last."""
    course = Course(of, clock=clock)
    steps = [step for step in of.steps() if step.after is not None]
    for step in steps[:-1]:
        course.feed(course.staged(step))
    return course


def tell(course: Course, budget: Budget) -> e.NodesOut | None:
    news = budget.news(course.state, course.now)
    if news is not None:
        course.feed(news)
    return news


def test_a_node_that_one_rollout_switches_is_out_for_the_other() -> None:
    budget, api = Budget(), rolling(API)
    budget.decided(api.state)
    other = staged(DB)
    news = tell(other, budget)
    assert news is not None
    assert list(news.nodes) == ["n1"]
    assert api.state.id in news.nodes["n1"]
    other.feed(other.staged(list(DB.steps())[-1]))
    assert other.applied() == []
    assert any("n1 is out" in note for note in other.notes)

    api.finish("api-1")  # and n2 is taken out at once: it being out already, db may be switched there as well
    budget.decided(api.state)
    tell(other, budget)
    assert (list(other.state.out), other.applied()) == (["n2"], ["db-1"])


def test_a_rollout_goes_on_when_the_other_is_done() -> None:
    budget, api = Budget(), rolling(API)
    budget.decided(api.state)
    other = staged(DB)
    tell(other, budget)
    other.feed(other.staged(list(DB.steps())[-1]))
    assert other.state.held_since is not None
    api.feed(api.order(c.Pause))
    api.finish("api-1")
    budget.decided(api.state)
    tell(other, budget)
    assert (other.state.out, other.applied(), other.state.held_since) == ({}, ["db-1"], None)


def test_nodes_of_a_failed_rollout_are_out_until_it_is_taken_back() -> None:
    budget, api = Budget(), rolling(API)
    api.finish("api-1")
    api.feed(api.finished("api-2", API.batches[1].steps[0], StepOutcome.FAILED))
    budget.decided(api.state)
    other = staged(DB)
    assert set(budget.out_for(other.state)) == {"n1", "n2"}
    api.feed(api.make(e.RolloutReverted, revert=RolloutId("revert")))
    budget.decided(api.state)
    assert budget.out_for(other.state) == {}
    assert not budget.busy


def test_what_failed_and_was_left_to_a_person_does_not_count_for_what_was_planned_later() -> None:
    manual = API.model_copy(update={"rollback_policy": RollbackPolicy.MANUAL})
    budget, api = Budget(), rolling(manual)
    api.finish("api-1")
    api.feed(api.finished("api-2", API.batches[1].steps[0], StepOutcome.FAILED))
    budget.decided(api.state)
    after = DB.model_copy(update={"generation": API.generation + 1})
    assert budget.out_for(staged(after, api.clock).state) == {}
    for before in (staged(DB), staged(after, api.clock - 0.1)):
        assert set(budget.out_for(before.state)) == {"n1", "n2"}, "made before it failed"


def test_silent_nodes_and_stuck_components_are_out() -> None:
    budget, other = Budget(), staged(DB)
    one, two, three = (node(name, {"db": target("db", "v1")}) for name in ("n1", "n2", "n3"))
    stuck = two.components["db"].model_copy(update={"state": ComponentState.STUCK})
    nodes = (
        one.model_copy(update={"observed_at": T0 - timedelta(seconds=SEEN_WITHIN_S + 1)}),
        two.model_copy(update={"components": {"db": stuck}}),
        three.model_copy(update={"observed_at": T0 - timedelta(days=1)}),
    )
    budget.observed(nodes, T0)
    out = budget.out_for(other.state)
    assert set(out) == {"n1", "n2"}, "n3 is none of its nodes"
    assert "silent" in out["n1"]
    assert "db is stuck" in out["n2"]


def test_a_drained_node_is_out_and_counts_once() -> None:
    budget, other = Budget(), staged(DB)
    drained = node("n1", {"db": target("db", "v1")}).model_copy(
        update={"drain": Drain(by="ada", reason="new disk", since=T0), "observed_at": T0 - timedelta(days=1)}
    )
    budget.observed([drained], T0)
    tell(other, budget)
    assert list(other.state.out) == ["n1"]
    assert "drained by ada" in other.state.out["n1"]
    other.feed(other.staged(list(DB.steps())[-1]))
    assert other.applied() == [], "n1 is out, so n2 must not be"
    own = plan(batch("db-1", ["n1"], component="db"), max_unavailable=1)
    course = Course(own, {"n1": "drained"})
    course.feed(course.staged(next(own.steps())))
    assert course.applied() == ["db-1"], "it is out already: its own step costs nothing"


def test_a_rollout_knows_who_is_out_when_it_begins() -> None:
    """Its first batch only removes, so nothing is staged: it may start in the very first decision."""
    removes = plan(
        batch("api-1", ["n3"], after=None),
        batch("api-2", ["n1"], after=None, needs=["api-1"]),
        max_unavailable=1,
    )
    api = rolling(plan(batch("db-1", ["n1"], component="db"), rollout=RolloutId("other")))
    alone, knowing = Budget({removes.hash: removes}.get), Budget({removes.hash: removes}.get)
    knowing.decided(api.state)
    for budget, out, started in ((alone, [], ["api-1"]), (knowing, ["n1"], [])):
        message = budget.opening(planned(removes, T0))
        assert isinstance(message, e.RolloutPlanned)
        begun = engine.begin(removes, message, T0)
        assert list(begun.state.out) == out
        assert [m.batch for m in begun.messages if isinstance(m, c.ApplyBatch)] == started
        assert budget.news(begun.state, T0) is None, "nothing is left to be told"


def test_a_rollout_that_only_others_hold_fails_after_its_limit() -> None:
    other = staged(DB)
    other.feed(other.make(e.NodesOut, nodes={"n1": "its executor is silent"}))
    other.feed(other.staged(list(DB.steps())[-1]))
    assert other.state.held_since == other.now
    due = other.fire()
    assert due.name == "held"
    assert other.state.status == "failed"
    assert "nodes are out" in other.state.reason


def test_a_wait_between_batches_is_looked_at_again_when_it_is_over() -> None:
    waits = plan(
        batch("api-1", ["n1"]), batch("api-2", ["n2"], needs=["api-1"], wait_s=30), max_unavailable=1
    )
    course = rolling(waits)
    course.finish("api-1")
    course.feed(course.make(e.NodesOut, nodes={"n1": "silent"}))
    assert course.state.held_since is None
    assert course.fire().name == "start:api-2"
    assert (course.applied(), course.state.held_since) == ([], course.now)
    course.feed(course.make(e.NodesOut, nodes={}))
    assert course.applied() == ["api-2"]


def test_nothing_is_told_twice_and_an_ended_rollout_nothing() -> None:
    budget, api, other = Budget(), rolling(API), staged(DB)
    budget.decided(api.state)
    budget.decided(other.state)
    assert [news.rollout for news in budget.behind(at(5))] == [RolloutId("other")]
    tell(other, budget)
    budget.decided(other.state)
    assert budget.behind(at(6)) == []
    assert budget.changed.is_set()


@given(st.data())
def test_two_rollouts_never_take_more_nodes_than_one_may(data: st.DataObject) -> None:
    """Any order of answers: the shared nodes that are out never exceed the smaller budget."""
    names = [f"n{number}" for number in range(data.draw(st.integers(2, 5)))]
    most = data.draw(st.integers(1, len(names)))
    budget, rollouts = Budget(), {}
    for component in ("api", "db"):
        size = data.draw(st.integers(1, most))
        parts = [names[i : i + size] for i in range(0, len(names), size)]
        batches = [
            batch(
                f"{component}-{number}",
                part,
                component=component,
                needs=[f"{component}-{number - 1}"] if number else [],
            )
            for number, part in enumerate(parts)
        ]
        made = plan(*batches, max_unavailable=most, rollout=RolloutId(component))
        rollouts[component] = Course(made)
    open_steps = {name: list(course.plan.steps()) for name, course in rollouts.items()}

    def feed(name: str, message: Message) -> None:
        course = rollouts[name]
        news = budget.news(course.state, course.now)
        if news is not None:
            course.feed(news)
        course.feed(message)
        budget.decided(course.state)

    for name, course in rollouts.items():
        for step in open_steps[name]:
            feed(name, course.staged(step))
    for _ in range(200):
        out = {node for course in rollouts.values() for node in unavailable(course.state)}
        assert len(out) <= most
        for told in budget.behind(T0):
            feed(told.rollout, told)
        ready = [
            (name, known_batch.id, step)
            for name, course in rollouts.items()
            for known_batch in course.plan.batches
            for step in known_batch.steps
            if (fact := course.state.batches[known_batch.id].steps.get(step.key)) is not None
            and fact.ok is None
        ]
        if not ready:
            break
        name, which, step = data.draw(st.sampled_from(ready))
        feed(name, rollouts[name].finished(which, step))
    assert {str(course.status) for course in rollouts.values()} == {"succeeded"}
