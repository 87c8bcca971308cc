"""What people, alarms and time do to a rollout."""

from __future__ import annotations

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.release import RollbackPolicy
from bumpless.common.model.rollout import Rollout
from bumpless.common.model.rollout import RolloutStatus as S
from bumpless.common.model.verdict import Verdict
from support.plans import GATE, batch, digest, plan
from support.rollouts import Course, deadline_name, rolling

CHAIN = plan(batch("api-1", ["n1", "n2"]), batch("api-2", ["n3"], needs=["api-1"]))
APPROVED = plan(batch("api-1", ["n1"]), batch("api-2", ["n2"], needs=["api-1"], approval=True))


def answers(course: Course) -> list[bool]:
    return [answer.accepted for answer in course.sent(e.CommandAnswered)]


def test_a_pause_lets_batches_come_to_rest_and_starts_no_new_one() -> None:
    course = rolling(CHAIN)
    course.feed(course.order(c.Pause, reason="lunch"))
    assert (course.status, answers(course)) == (S.PAUSED, [True])
    assert "lunch" in course.state.reason
    course.finish("api-1")
    assert (course.batch("api-1"), course.applied(), course.status) == ("passed", [], S.PAUSED)
    course.feed(course.order(c.Resume))
    assert (course.status, course.applied()) == (S.ROLLING, ["api-2"])


def test_a_gate_opens_and_passes_in_a_pause() -> None:
    course = rolling(plan(batch("api-1", ["n1"], gate=GATE), batch("api-2", ["n2"], needs=["api-1"])))
    course.feed(course.order(c.Pause))
    course.finish("api-1")
    assert len(course.sent(c.OpenGate)) == 1
    course.feed(course.verdict("api-1"))
    assert (course.batch("api-1"), course.status, course.applied()) == ("passed", S.PAUSED, [])


def test_a_failure_in_a_pause_fails() -> None:
    course = rolling(CHAIN)
    course.feed(course.order(c.Pause))
    course.feed(course.finished("api-1", CHAIN.batches[0].steps[0], StepOutcome.FAILED))
    assert course.status is S.FAILED


def test_resume_after_the_last_batch_succeeds() -> None:
    course = rolling(plan(batch("api-1", ["n1"])))
    course.feed(course.order(c.Pause))
    course.finish("api-1")
    assert course.status is S.PAUSED
    course.feed(course.order(c.Resume))
    assert course.status is S.SUCCEEDED


def test_a_pause_of_staging_goes_back_to_staging() -> None:
    course = Course(CHAIN)
    course.feed(course.order(c.Pause))
    course.feed(course.staged(next(CHAIN.steps())))
    course.feed(course.order(c.Resume))
    assert (course.status, course.applied()) == (S.STAGING, [])
    course.stage_all()
    assert (course.status, course.batch("api-1")) == (S.ROLLING, "applying")


def test_staging_that_ends_in_a_pause_rolls_after_it() -> None:
    course = Course(CHAIN)
    course.feed(course.order(c.Pause))
    course.stage_all()
    assert course.status is S.PAUSED
    course.feed(course.order(c.Resume))
    assert (course.status, course.applied()) == (S.ROLLING, ["api-1"])


def test_a_late_copy_of_an_obeyed_command_does_nothing() -> None:
    course = rolling(CHAIN)
    pause = course.order(c.Pause)
    course.feed(pause)
    course.feed(course.order(c.Resume))
    known = course.state
    course.feed(pause)
    assert (course.state is known, course.out) == (True, ())


def test_what_was_obeyed_is_not_refused_when_it_comes_again() -> None:
    course = rolling(CHAIN)
    order = course.order(c.Abort)
    course.feed(order)
    assert (course.status, answers(course)) == (S.FAILED, [True])
    course.feed(order)
    assert answers(course) == []


def test_a_late_copy_of_promote_does_not_promote_the_next_batch() -> None:
    course = rolling(
        plan(batch("api-1", ["n1"], gate=GATE), batch("api-2", ["n2"], needs=["api-1"], gate=GATE))
    )
    course.finish("api-1")
    promote = course.order(c.Promote)
    course.feed(promote)
    course.finish("api-2")
    course.feed(promote)
    assert course.batch("api-2") == "baking"


def test_a_batch_that_wants_approval_waits_for_it() -> None:
    course = rolling(APPROVED)
    course.finish("api-1")
    assert (course.batch("api-2"), course.applied()) == ("awaiting-approval", [])
    course.feed(course.order(c.Approve, plan_hash=digest("another plan"), batch="api-2"))
    assert (answers(course), course.batch("api-2")) == ([False], "awaiting-approval")
    course.feed(course.order(c.Approve, plan_hash=APPROVED.hash, batch="api-2"))
    assert (answers(course), course.applied()) == ([True], ["api-2"])


def test_a_batch_may_be_approved_before_its_turn() -> None:
    course = rolling(APPROVED)
    course.feed(course.order(c.Approve, plan_hash=APPROVED.hash, batch="api-2"))
    assert (answers(course), course.applied()) == ([True], [])
    course.finish("api-1")
    assert course.applied() == ["api-2"]


@pytest.mark.parametrize("name", ["api-1", "no-such-batch"])
def test_what_waits_for_no_approval_is_not_approved(name: str) -> None:
    course = rolling(APPROVED)
    known = course.state
    course.feed(course.order(c.Approve, plan_hash=APPROVED.hash, batch=name))
    assert (answers(course), course.state is known) == ([False], True)


def test_approving_the_start_again_is_refused() -> None:
    course = rolling(APPROVED)
    course.feed(course.order(c.Approve, plan_hash=APPROVED.hash))
    assert (answers(course), course.status) == ([False], S.ROLLING)


def test_abort_stops_and_fails() -> None:
    course = rolling(CHAIN)
    course.feed(course.order(c.Abort, reason="wrong build"))
    assert (course.status, answers(course)) == (S.FAILED, [True])
    [failed] = course.sent(e.RolloutFailed)
    assert "wrong build" in failed.reason
    assert failed.switched_anything


@pytest.mark.parametrize(("fail", "status"), [(True, S.FAILED), (False, S.ROLLING)])
def test_an_alert_fails_only_where_it_is_meant_to(fail: bool, status: S) -> None:
    course = rolling(CHAIN)
    course.feed(course.make(e.AlertFired, name="errors", fail=fail))
    assert course.status is status
    assert bool(course.notes) is not fail


def revert_started(course: Course) -> e.RevertStarted:
    return course.make(e.RevertStarted, revert=RolloutId("revert-1"), reason="slow", by="ann")


@pytest.mark.parametrize(
    ("status", "then"),
    [(S.PLANNED, S.CANCELLED), (S.STAGING, S.FAILED), (S.ROLLING, S.FAILED), (S.PAUSED, S.FAILED)],
)
def test_a_takeover_ends_every_way_forward(status: S, then: S) -> None:
    gated = plan(batch("api-1", ["n1"], gate=GATE), batch("api-2", ["n2"], needs=["api-1"]))
    course = Course(gated.model_copy(update={"approval": status is S.PLANNED}))
    if status in (S.ROLLING, S.PAUSED):
        course.stage_all()
        course.finish("api-1")
    if status is S.PAUSED:
        course.feed(course.order(c.Pause))
    assert course.status is status
    course.feed(revert_started(course))
    assert course.status is then
    assert course.sent(e.RolloutFailed) == []
    assert len(course.sent(c.CloseGate)) == int(status in (S.ROLLING, S.PAUSED))
    known = course.state
    course.feed(course.staged(next(gated.steps())))
    course.feed(revert_started(course))
    assert course.state is known


DEADLINES = {
    "approval": (lambda: Course(CHAIN.model_copy(update={"approval": True})), S.CANCELLED),
    "staging": (lambda: Course(CHAIN), S.FAILED),
    "apply:api-1": (lambda: rolling(CHAIN), S.FAILED),
}


@pytest.mark.parametrize("name", DEADLINES)
def test_a_missed_deadline(name: str) -> None:
    make, status = DEADLINES[name]
    course = make()
    assert deadline_name(course) == name
    course.fire()
    assert course.status is status
    assert course.state.reason


def test_an_apply_deadline_names_the_silent_nodes() -> None:
    course = rolling(CHAIN)
    course.feed(course.finished("api-1", CHAIN.batches[0].steps[0]))
    course.fire()
    assert "n2/api" in course.state.reason
    assert "n1/api" not in course.state.reason


def test_a_staging_deadline_names_the_silent_nodes() -> None:
    course = Course(CHAIN)
    course.feed(course.staged(CHAIN.batches[0].steps[0]))
    course.fire()
    assert "n3/api" in course.state.reason
    assert "n1/api" not in course.state.reason


def test_a_pause_does_not_last_for_ever() -> None:
    course = rolling(plan(batch("api-1", ["n1"]), batch("api-2", ["n2"], needs=["api-1"])))
    course.feed(course.order(c.Pause))
    course.finish("api-1")
    assert deadline_name(course) == "pause"
    course.fire()
    assert course.status is S.FAILED


def test_an_approval_nobody_gives_fails_the_batch() -> None:
    course = rolling(APPROVED)
    course.finish("api-1")
    assert deadline_name(course) == "approve:api-2"
    course.fire()
    assert (course.status, course.batch("api-2")) == (S.FAILED, "failed")


def test_a_revert_that_does_not_come_halts() -> None:
    course = rolling(CHAIN)
    course.feed(course.order(c.Abort))
    assert deadline_name(course) == "revert"
    course.fire()
    assert course.status is S.HALTED
    [halted] = course.sent(e.RolloutHalted)
    assert (halted.rollout, halted.of) == (CHAIN.rollout, None)


def test_deadlines_that_are_over_or_not_yet_due_change_nothing() -> None:
    course = rolling(CHAIN)
    known = course.state
    for name in ("staging", "apply:api-1", "apply:api-2", "start:api-2", "no-such-deadline"):
        course.feed(
            e.DeadlineReached(
                id=course.fresh(), at=course.now, aggregate=CHAIN.rollout, name=name, due=course.now
            )
        )
        assert course.state is known
        assert course.notes


def test_no_state_without_a_deadline() -> None:
    gated = plan(
        batch("api-1", ["n1"], gate=GATE),
        batch("api-2", ["n2"], needs=["api-1"], approval=True, wait_s=5),
    )
    course = Course(gated.model_copy(update={"approval": True}))
    seen = []

    def look() -> None:
        assert (deadline_name(course) is None) is course.state.ended, course.status
        seen.append(course.status)

    look()
    course.feed(course.order(c.Approve, plan_hash=course.plan.hash))
    look()
    for step in course.plan.steps():
        course.feed(course.staged(step))
        look()
    course.finish("api-1")
    look()
    course.feed(course.verdict("api-1", Verdict.INCONCLUSIVE))
    look()
    course.feed(course.order(c.Promote))
    look()
    course.fire()
    look()
    assert course.batch("api-2") == "awaiting-approval"
    course.feed(course.order(c.Approve, plan_hash=course.plan.hash, batch="api-2"))
    look()
    course.feed(course.order(c.Abort))
    look()
    course.fire()
    look()
    assert set(seen) == {S.PLANNED, S.STAGING, S.ROLLING, S.PAUSED, S.FAILED, S.HALTED}


def test_only_a_failure_left_to_a_person_waits_without_a_deadline() -> None:
    course = rolling(CHAIN.model_copy(update={"rollback_policy": RollbackPolicy.MANUAL}))
    course.feed(course.order(c.Abort))
    assert (course.status, course.state.ended, deadline_name(course)) == (S.FAILED, False, None)


def test_what_is_taken_over_is_not_left_to_a_person() -> None:
    """Its nodes are not free for another rollout while somebody takes them back."""
    course = rolling(CHAIN.model_copy(update={"rollback_policy": RollbackPolicy.MANUAL}))
    course.feed(revert_started(course))
    assert (course.status, course.state.left_to_a_person, deadline_name(course)) == (
        S.FAILED,
        False,
        "revert",
    )
    assert Rollout.model_validate_json(course.state.model_dump_json()).taken_over
    course.fire()
    assert course.status is S.HALTED


def test_a_denied_batch_fails_the_rollout() -> None:
    course = rolling(APPROVED)
    course.finish("api-1")
    course.feed(course.order(c.Deny, plan_hash=digest("another plan"), batch="api-2"))
    assert (answers(course), course.batch("api-2")) == ([False], "awaiting-approval")
    course.feed(course.order(c.Deny, plan_hash=APPROVED.hash, batch="api-2", reason="not today"))
    assert (answers(course), course.batch("api-2"), course.status) == ([True], "failed", S.FAILED)
    assert course.state.reason == "batch api-2 failed: denied by ann: not today"


def test_a_denied_rollout_is_cancelled() -> None:
    course = Course(APPROVED.model_copy(update={"approval": True}))
    course.feed(course.order(c.Deny, plan_hash=course.plan.hash))
    assert (answers(course), course.status, course.state.reason) == ([True], S.CANCELLED, "denied by ann")


def test_what_was_approved_is_not_denied_any_more() -> None:
    course = rolling(APPROVED)
    course.feed(course.order(c.Deny, plan_hash=APPROVED.hash, batch="api-2"))
    assert (answers(course), course.batch("api-2")) == ([False], "pending"), "it does not wait yet"
    course.feed(course.order(c.Approve, plan_hash=APPROVED.hash, batch="api-2"))
    course.finish("api-1")
    course.feed(course.order(c.Deny, plan_hash=APPROVED.hash, batch="api-2"))
    course.feed(course.order(c.Deny, plan_hash=APPROVED.hash))
    assert (answers(course), course.status) == ([False], S.ROLLING)
