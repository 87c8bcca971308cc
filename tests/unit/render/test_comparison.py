"""Shown against done: courses of the engine hold; everything planted in what was done is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.contract.events import StepOutcome
from bumpless.common.engine import rollout as engine
from bumpless.common.engine.expand import node_commands
from bumpless.common.model.gate import OnInconclusive
from bumpless.common.model.plan import Plan
from bumpless.common.model.verdict import Verdict
from bumpless.common.render.compared import Comparison, Kind, Turn
from bumpless.common.render.comparison import compare, in_words, taken_back
from bumpless.rollback.reverse import reverse
from support.plans import GATE, batch, plan, target
from support.rollouts import Course, rolling

SHOWN = plan(
    batch("db-1", ["n1"], component="db"),
    batch("api-1", ["n1"], needs=["db-1"], gate=GATE, canary=True),
    batch("api-2", ["n2", "n3"], needs=["api-1"], gate=GATE, wait_s=5, approval=True),
    batch("web-1", ["n2"], component="web", needs=["db-1"], after=None),
)


def turns_of(course: Course) -> list[Turn]:
    """Everything the course was fed, with what the engine sent because of it."""
    first, at = course.fed[0]
    assert isinstance(first, e.RolloutPlanned)
    decision = engine.begin(course.plan, first, at)
    turns = [Turn(at, (first,), decision.messages)]
    for message, moment in course.fed[1:]:
        decision = engine.decide(decision.state, message, moment)
        turns.append(Turn(moment, (message,), decision.messages))
    return turns


def succeeded() -> Course:
    course = rolling(SHOWN)
    course.finish("db-1")
    course.finish("api-1")
    course.finish("web-1")
    course.feed(course.verdict("api-1"))
    course.feed(course.order(c.Approve, plan_hash=SHOWN.hash, batch="api-2"))
    course.fire()
    course.finish("api-2")
    course.feed(course.verdict("api-2"))
    assert course.status == "succeeded"
    return course


def failed() -> Course:
    course = rolling(SHOWN)
    course.finish("db-1")
    course.feed(course.finished("api-1", SHOWN.batches[1].steps[0], StepOutcome.FAILED))
    assert course.status == "failed"
    return course


def held(course: Course, turns: list[Turn] | None = None, shown: Plan | None = None) -> Comparison:
    return compare(shown or course.plan, turns_of(course) if turns is None else turns, course.status)


def kinds(found: Comparison) -> set[tuple[str, str]]:
    return {(one.kind.value, one.subject) for one in found.discrepancies}


def test_a_rollout_that_succeeds_does_exactly_what_was_shown() -> None:
    found = held(succeeded())
    assert found.discrepancies == ()
    assert (found.batches, found.steps, found.answered, found.gates, found.left_out) == (4, 5, 5, 2, ())
    assert in_words(found)[0].startswith(f"{SHOWN.rollout}: done exactly as shown (4 batches with 5 steps")


def test_a_rollout_that_fails_leaves_the_rest_out_and_does_nothing_else() -> None:
    found = held(failed())
    assert found.discrepancies == ()
    assert found.left_out == ("api-2",)
    assert in_words(found)[1] == "  not commanded, because it is failed: api-2"


def test_a_revert_is_held_against_its_own_plan() -> None:
    course = failed()
    back = reverse(course.state, revert=RolloutId("revert-1"), number=0)
    revert = Course(back)
    for one in (b.id for b in back.batches if not b.needs):
        revert.finish(one)
    for one in (b.id for b in back.batches if b.needs):
        revert.finish(one)
    assert revert.status == "reverted"
    assert held(revert).discrepancies == ()
    assert taken_back(SHOWN, course.state.commanded, [back]) == []


def test_a_revert_that_forgets_a_step_or_takes_back_another_is_found() -> None:
    course = failed()
    back = reverse(course.state, revert=RolloutId("revert-1"), number=0)
    missing = taken_back(SHOWN, course.state.commanded | {"n3/api"}, [back])  # type: ignore[arg-type]
    assert [(one.kind, one.subject) for one in missing] == [(Kind.MISSING, "n3/api")]
    outside = taken_back(SHOWN, course.state.commanded - {"n1/db"}, [back])  # type: ignore[operator]
    assert [(one.kind, one.subject) for one in outside] == [(Kind.OUTSIDE, "n1/db")]


def test_an_inconclusive_gate_may_be_opened_again() -> None:
    gate = GATE.model_copy(update={"on_inconclusive": OnInconclusive.EXTEND})
    course = rolling(plan(batch("api-1", ["n1"], gate=gate)))
    course.finish("api-1")
    course.feed(course.verdict("api-1", Verdict.INCONCLUSIVE))
    course.feed(course.verdict("api-1"))
    found = held(course)
    assert (found.discrepancies, found.gates, found.status) == ((), 2, "succeeded")


# planted ---------------------------------------------------------------------------------------------------


def sent(turns: list[Turn], change: Callable[[c.ApplyBatch], list[object]]) -> list[Turn]:
    """The turns with every command to a batch replaced."""
    return [
        replace(
            turn,
            sent=tuple(
                out
                for message in turn.sent
                for out in (change(message) if isinstance(message, c.ApplyBatch) else [message])
            ),
        )  # type: ignore[arg-type]
        for turn in turns
    ]


def only(name: str, change: Callable[[c.ApplyBatch], list[object]]) -> Callable[[c.ApplyBatch], list[object]]:
    return lambda message: change(message) if message.batch == name else [message]


def without(turns: list[Turn], drop: Callable[[object], bool]) -> list[Turn]:
    return [
        replace(
            turn,
            inputs=tuple(m for m in turn.inputs if not drop(m)),
            sent=tuple(m for m in turn.sent if not drop(m)),
        )
        for turn in turns
    ]


FAULTS: dict[str, tuple[Callable[[list[Turn]], list[Turn]], tuple[str, str]]] = {
    "a batch is never commanded": (
        lambda t: sent(t, only("web-1", lambda m: [])),
        ("missing", "web-1"),
    ),
    "a batch is commanded twice": (
        lambda t: sent(t, only("web-1", lambda m: [m, m])),
        ("twice", "web-1"),
    ),
    "a batch that was not shown": (
        lambda t: sent(t, only("web-1", lambda m: [m, m.model_copy(update={"batch": BatchId("web-9")})])),
        ("outside", "web-9"),
    ),
    "a step is left out of a command": (
        lambda t: sent(t, only("api-2", lambda m: [m.model_copy(update={"steps": m.steps[:1]})])),
        ("missing", "n3/api"),
    ),
    "a step is added to a command": (
        lambda t: sent(
            t,
            only("web-1", lambda m: [m.model_copy(update={"steps": (*m.steps, SHOWN.batches[2].steps[1])})]),
        ),
        ("outside", "n3/api"),
    ),
    "a step goes elsewhere": (
        lambda t: sent(
            t,
            only(
                "db-1",
                lambda m: [m.model_copy(update={"steps": (m.steps[0].model_copy(update={"after": None}),)})],
            ),
        ),
        ("outside", "n1/db"),
    ),
    "a command of another generation": (
        lambda t: sent(t, only("db-1", lambda m: [m.model_copy(update={"generation": 8})])),
        ("plan", "db-1"),
    ),
    "a batch starts before what it needs": (
        lambda t: [replace(t[0], sent=(*t[0].sent, command(t, "web-1"))), *sent(t[1:], only("web-1", lambda m: []))],
        ("order", "web-1"),
    ),
    "a batch does not wait": (
        lambda t: [replace(x, at=t[0].at) for x in t],
        ("order", "api-2"),
    ),
    "nobody approved": (
        lambda t: without(t, lambda m: isinstance(m, c.Approve)),
        ("approval", "api-2"),
    ),
    "a gate is not opened": (
        lambda t: without(t, lambda m: isinstance(m, c.OpenGate) and m.batch == "api-1"),
        ("gate", "api-1"),
    ),
    "a gate is opened twice": (
        lambda t: [replace(x, sent=(*x.sent, *(m for m in x.sent if isinstance(m, c.OpenGate)))) for x in t],
        ("gate", "api-2"),
    ),
    "a gate nobody showed": (
        lambda t: [
            replace(x, sent=(*x.sent, *(m.model_copy(update={"batch": BatchId("db-1")}) for m in x.sent if isinstance(m, c.OpenGate))))
            for x in t
        ],
        ("gate", "db-1"),
    ),
    "a batch goes on without its verdict": (
        lambda t: without(t, lambda m: isinstance(m, e.VerdictReached) and m.batch == "api-1"),
        ("order", "api-2"),
    ),
    "a node never answered": (
        lambda t: without(t, lambda m: isinstance(m, e.StepFinished) and m.batch == "web-1"),
        ("missing", "n2/web"),
    ),
    "a node runs something else": (
        lambda t: answers(t, "db-1", root=target("db", "v1").root),
        ("result", "n1/db"),
    ),
    "a node switched twice": (
        lambda t: [*t, Turn(t[-1].at, (again(t, "db-1"),), ())],
        ("twice", "n1/db"),
    ),
    "a node nobody showed": (
        lambda t: [*t, Turn(t[-1].at, (again(t, "db-1").model_copy(update={"node": "n9"}),), ())],
        ("outside", "n9/db"),
    ),
    "staged twice": (
        lambda t: [t[0], t[0], *t[1:]],
        ("twice", SHOWN.rollout),
    ),
    "another plan": (
        lambda t: [
            replace(t[0], inputs=tuple(m.model_copy(update={"plan_hash": "sha256:other"}) for m in t[0].inputs)),
            *t[1:],
        ],
        ("plan", SHOWN.rollout),
    ),
}  # fmt: skip


def command(turns: list[Turn], name: str) -> c.ApplyBatch:
    return next(m for t in turns for m in t.sent if isinstance(m, c.ApplyBatch) and m.batch == name)


def again(turns: list[Turn], name: str) -> e.StepFinished:
    said = next(m for t in turns for m in t.inputs if isinstance(m, e.StepFinished) and m.batch == name)
    assert said.switched_at is not None
    return said.model_copy(update={"switched_at": said.switched_at + timedelta(seconds=9)})


def answers(turns: list[Turn], name: str, **changes: object) -> list[Turn]:
    return [
        replace(
            turn,
            inputs=tuple(
                m.model_copy(update=changes) if isinstance(m, e.StepFinished) and m.batch == name else m
                for m in turn.inputs
            ),
        )
        for turn in turns
    ]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_planted_is_found(fault: str) -> None:
    plant, wanted = FAULTS[fault]
    course = succeeded()
    found = held(course, plant(turns_of(course)))
    assert wanted in kinds(found), found.discrepancies
    assert "not done as shown" in in_words(found)[0]


def test_more_nodes_out_than_were_shown_are_found() -> None:
    shown = plan(batch("a-1", ["n1"], component="a"), batch("b-1", ["n2"], component="b"))
    narrow = shown.model_copy(update={"max_unavailable": 1})
    course = rolling(shown)
    found = held(course, shown=narrow)
    assert "2 nodes out at once, at most 1 were shown" in [one.text for one in found.discrepancies]


def test_commands_that_stand_on_the_broker_are_those_that_were_shown() -> None:
    course = succeeded()
    turns = turns_of(course)
    standing = [one for name in ("db-1", "web-1") for one in node_commands(SHOWN, command(turns, name))]
    assert compare(SHOWN, turns, course.status, standing).discrepancies == ()
    strayed = [
        standing[0].model_copy(update={"node": "n9"}),
        standing[1].model_copy(update={"target": target("web", "v2")}),
        standing[0].model_copy(update={"rollout": RolloutId("another"), "node": "n8"}),
    ]
    found = compare(SHOWN, turns, course.status, strayed)
    assert kinds(found) == {("outside", "n9/db"), ("outside", "n2/web")}


def test_a_node_that_left_by_itself_does_not_run_what_was_shown() -> None:
    course = succeeded()
    course.feed(course.crash_looping(SHOWN.batches[0].steps[0], returning=True))
    assert ("result", "n1/db") in kinds(held(course))
