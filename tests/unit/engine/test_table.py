"""The whole product of rollout states and inputs, cell by cell."""

from __future__ import annotations

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, RolloutId
from bumpless.common.engine import rollout as engine
from bumpless.common.engine.transitions import IGNORE, ILLEGAL, INPUTS, TABLE
from bumpless.common.engine.turn import next_deadline
from bumpless.common.model.rollout import RolloutStatus as S
from support.plans import GATE, at, batch, plan
from support.rollouts import Course, rolling

REVERT = RolloutId("revert-1")
BUSY = plan(
    batch("api-1", ["n1", "n2"], component="api"),
    batch("cache-1", ["n3"], component="cache", gate=GATE),
    batch("db-1", ["n4"], component="db", approval=True),
)
WITHOUT_EFFECT = {
    (S.STAGING, e.StepFinished),
    (S.ROLLING, e.StepStaged),
    (S.PAUSED, e.StepStaged),
}
"""Accepted, and nothing to do here: nothing is commanded yet, everything is staged already."""


def busy() -> Course:
    """One batch applies, one bakes, one waits for approval."""
    course = rolling(BUSY)
    course.finish("cache-1")
    assert [course.batch(name) for name in ("api-1", "cache-1", "db-1")] == [
        "applying",
        "baking",
        "awaiting-approval",
    ]
    return course


def in_state(status: S) -> Course:
    match status:
        case S.PLANNED:
            return Course(BUSY.model_copy(update={"approval": True}))
        case S.STAGING:
            return Course(BUSY)
        case S.ROLLING:
            return busy()
        case S.PAUSED:
            course = busy()
            course.feed(course.order(c.Pause))
            return course
        case S.SUCCEEDED:
            course = rolling(plan(batch("api-1", ["n1"])))
            course.finish("api-1")
            return course
        case S.FAILED:
            course = busy()
            course.feed(course.order(c.Abort))
            return course
        case S.REVERTED:
            course = in_state(S.FAILED)
            course.feed(course.make(e.RolloutReverted, revert=REVERT))
            return course
        case S.HALTED:
            course = in_state(S.FAILED)
            course.feed(course.make(e.RolloutHalted, of=REVERT, reason="a node is stuck"))
            return course
        case S.CANCELLED:
            course = in_state(S.PLANNED)
            course.feed(course.order(c.Abort))
            return course


def message(course: Course, kind: type[Message]) -> Message:
    """A message of `kind` that fits the course as well as it can."""
    first = next(course.plan.steps())
    if kind is e.RolloutPlanned:
        return course.fed[0][0]
    if issubclass(kind, c.Approve | c.Deny):
        some = None if course.status is S.PLANNED else "db-1"
        return course.order(kind, plan_hash=course.plan.hash, batch=some)
    if kind is e.StepStaged:
        return course.staged(first)
    if kind is e.StepFinished:
        return course.finished(course.plan.batches[0].id, first)
    if kind is e.ComponentCrashLooping:
        return course.crash_looping(first)
    if kind is e.VerdictReached:
        return course.verdict("cache-1" if "cache-1" in course.state.batches else "api-1")
    if kind is e.AlertFired:
        return course.make(e.AlertFired, name="errors", detail="too many")
    if kind is e.NodesOut:
        return course.make(e.NodesOut, nodes={"n1": "silent"})
    if kind is e.DeadlineReached:
        due = next_deadline(course.state)
        name, moment = ("pause", course.now) if due is None else (due.name, due.due)
        course.clock = max(course.clock, (moment - at(0)).total_seconds())
        return e.DeadlineReached(
            id=course.fresh(), at=moment, aggregate=course.plan.rollout, name=name, due=moment
        )
    if kind is e.RevertStarted:
        return course.make(e.RevertStarted, revert=REVERT, reason="slow", by="ann")
    if kind is e.RolloutReverted:
        return course.make(e.RolloutReverted, revert=REVERT)
    if kind is e.RolloutHalted:
        return course.make(e.RolloutHalted, of=REVERT, reason="a node is stuck")
    return course.order(kind)


def test_every_pair_is_listed() -> None:
    assert set(TABLE) == set(S)
    for status, row in TABLE.items():
        assert set(row) == set(INPUTS), status
        for kind, cell in row.items():
            assert cell in (IGNORE, ILLEGAL) or (cell and isinstance(cell, frozenset)), (status, kind)


def test_only_operator_commands_are_illegal() -> None:
    illegal = {kind for row in TABLE.values() for kind, cell in row.items() if cell == ILLEGAL}
    assert all(issubclass(kind, c.OperatorCommand) for kind in illegal)


@pytest.mark.parametrize("kind", INPUTS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("status", list(S))
def test_cell(status: S, kind: type[Message]) -> None:
    course = in_state(status)
    assert course.status is status
    before, said = course.state, message(course, kind)
    decision = engine.decide(before, said, at(course.clock + 1))
    cell = TABLE[status][kind]
    if cell in (IGNORE, ILLEGAL):
        assert decision.state is before
        assert decision.notes
        answers = [m for m in decision.messages if isinstance(m, e.CommandAnswered)]
        assert len(answers) == len(decision.messages) == int(isinstance(said, c.OperatorCommand))
        assert all(not answer.accepted and answer.cause == said.id for answer in answers)
    else:
        assert decision.state.status in cell
        assert (decision.state is before) == ((status, kind) in WITHOUT_EFFECT)
        if isinstance(said, c.OperatorCommand):
            [answer] = [m for m in decision.messages if isinstance(m, e.CommandAnswered)]
            assert answer.accepted


def test_a_command_the_table_does_not_know_is_answered() -> None:
    course = busy()
    course.feed(course.order(c.Rollback))
    [answer] = course.out
    assert isinstance(answer, e.CommandAnswered)
    assert not answer.accepted
