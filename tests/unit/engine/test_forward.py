"""A forward rollout along its table: approval, staging, batches in order, the end."""

from __future__ import annotations

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.release import RollbackPolicy
from bumpless.common.model.rollout import RolloutStatus as S
from support.plans import at, batch, digest, plan
from support.rollouts import Course, deadline_name, rolling

ONE = plan(batch("api-1", ["n1", "n2"]))
CHAIN = plan(batch("api-1", ["n1"]), batch("api-2", ["n2"], needs=["api-1"]))


def test_begin_stages_every_step_at_once() -> None:
    course = Course(ONE)
    assert course.status is S.STAGING
    [command] = course.out
    assert isinstance(command, c.StageArtifacts)
    assert command.steps == ONE.batches[0].steps
    assert (command.plan_hash, command.generation, command.sequence) == (ONE.hash, 7, 1)
    assert command.expires_at == at(ONE.stage_timeout_s)


def test_an_empty_plan_succeeds_at_once() -> None:
    course = Course(plan())
    assert course.status is S.SUCCEEDED
    assert len(course.sent(e.RolloutSucceeded)) == 1


def test_where_approval_is_required_nothing_starts_before_it() -> None:
    course = Course(ONE.model_copy(update={"approval": True}))
    assert (course.status, course.out) == (S.PLANNED, ())
    course.feed(course.order(c.Approve, plan_hash=digest("another plan")))
    assert course.status is S.PLANNED
    assert [answer.accepted for answer in course.sent(e.CommandAnswered)] == [False]
    course.feed(course.order(c.Approve, plan_hash=course.plan.hash))
    assert course.status is S.STAGING
    assert [answer.accepted for answer in course.sent(e.CommandAnswered)] == [True]
    assert len(course.sent(c.StageArtifacts)) == 1


def test_abort_before_the_start_cancels() -> None:
    course = Course(ONE.model_copy(update={"approval": True}))
    course.feed(course.order(c.Abort, reason="wrong day"))
    assert course.status is S.CANCELLED
    [cancelled] = course.sent(e.RolloutCancelled)
    assert "wrong day" in cancelled.reason


def test_nothing_is_applied_until_every_node_is_staged() -> None:
    course = Course(ONE)
    first, second = ONE.steps()
    course.feed(course.staged(first))
    assert (course.status, course.applied()) == (S.STAGING, [])
    course.feed(course.staged(second))
    assert (course.status, course.applied()) == (S.ROLLING, ["api-1"])


def test_a_node_that_cannot_stage_fails_the_rollout_with_nothing_switched() -> None:
    course = Course(ONE)
    course.feed(course.staged(next(ONE.steps()), ok=False))
    assert course.status is S.FAILED
    [failed] = course.sent(e.RolloutFailed)
    assert not failed.switched_anything
    assert "no space" in failed.reason
    assert course.state.ended
    assert deadline_name(course) is None


def test_a_second_word_of_a_staged_node_changes_nothing() -> None:
    course = Course(ONE)
    first = next(ONE.steps())
    course.feed(course.staged(first))
    known = course.state
    course.feed(course.staged(first, ok=False))
    assert course.state is known


def test_staging_for_another_plan_counts_for_nothing() -> None:
    course = Course(ONE)
    known = course.state
    course.feed(course.staged(next(ONE.steps()), plan_hash=digest("another plan")))
    assert course.state is known


def test_batches_follow_each_other_and_the_last_one_ends_it() -> None:
    course = rolling(CHAIN)
    assert course.applied() == ["api-1"]
    course.finish("api-1")
    assert (course.status, course.applied()) == (S.ROLLING, ["api-2"])
    course.finish("api-2")
    assert course.status is S.SUCCEEDED
    [succeeded] = course.sent(e.RolloutSucceeded)
    assert (succeeded.rollout, succeeded.release_version) == (course.plan.rollout, "v2")


def test_an_apply_command_carries_what_a_node_needs_to_refuse_it() -> None:
    course = rolling(CHAIN)
    [command] = course.sent(c.ApplyBatch)
    assert (command.generation, command.sequence, command.plan_hash) == (7, 2, CHAIN.hash)
    assert (command.expires_at - course.now).total_seconds() == CHAIN.batches[0].apply_timeout_s


def test_independent_branches_run_at_once_and_join() -> None:
    course = rolling(
        plan(
            batch("db-1", ["n1"], component="db"),
            batch("cache-1", ["n2"], component="cache"),
            batch("api-1", ["n3"], needs=["db-1", "cache-1"]),
        )
    )
    assert course.applied() == ["db-1", "cache-1"]
    course.finish("db-1")
    assert course.applied() == []
    course.finish("cache-1")
    assert course.applied() == ["api-1"]


def test_a_batch_waits_while_the_budget_is_used_up() -> None:
    course = rolling(
        plan(
            batch("db-1", ["n1"], component="db"),
            batch("cache-1", ["n2"], component="cache"),
            max_unavailable=1,
        )
    )
    assert course.applied() == ["db-1"]
    assert any("unavailable" in note for note in course.notes)
    course.finish("db-1")
    assert course.applied() == ["cache-1"]


def test_two_batches_on_the_same_nodes_use_the_budget_once() -> None:
    course = rolling(
        plan(
            batch("db-1", ["n1"], component="db"),
            batch("cache-1", ["n1"], component="cache"),
            max_unavailable=1,
        )
    )
    assert course.applied() == ["db-1", "cache-1"]


def test_a_budget_that_comes_free_within_a_batch_is_used() -> None:
    course = rolling(
        plan(
            batch("db-1", ["n1", "n2"], component="db"),
            batch("cache-1", ["n3"], component="cache"),
            max_unavailable=2,
        )
    )
    course.feed(course.finished("db-1", course.plan.batches[0].steps[0]))
    assert deadline_name(course) == "start:cache-1"
    course.fire()
    assert course.applied() == ["cache-1"]


def test_failed_steps_within_tolerance_keep_using_the_budget() -> None:
    chain = plan(
        batch("api-1", ["n1", "n2"], tolerance=1),
        batch("api-2", ["n3", "n4"], needs=["api-1"]),
        max_unavailable=2,
    )
    course = rolling(chain)
    first, second = chain.batches[0].steps
    course.feed(course.finished("api-1", first, StepOutcome.FAILED))
    assert course.status is S.ROLLING
    course.feed(course.finished("api-1", second))
    assert course.batch("api-1") == "passed"
    assert course.status is S.FAILED
    assert "n1 are out" in course.state.reason


def test_the_interval_between_batches_is_waited_for() -> None:
    course = rolling(plan(batch("api-1", ["n1"]), batch("api-2", ["n2"], needs=["api-1"], wait_s=30)))
    course.finish("api-1")
    passed = course.clock
    assert course.applied() == []
    assert deadline_name(course) == "start:api-2"
    course.fire()
    assert course.applied() == ["api-2"]
    assert course.clock == passed + 30


def test_more_failures_than_tolerated_fail_the_rollout() -> None:
    course = rolling(ONE)
    course.feed(course.finished("api-1", next(ONE.steps()), StepOutcome.FAILED))
    assert (course.status, course.batch("api-1")) == (S.FAILED, "failed")
    [failed] = course.sent(e.RolloutFailed)
    assert failed.switched_anything
    assert "would not start" in failed.reason


@pytest.mark.parametrize(("policy", "auto"), [(RollbackPolicy.AUTO, True), (RollbackPolicy.MANUAL, False)])
def test_a_failure_says_whether_it_is_taken_back_by_itself(policy: RollbackPolicy, auto: bool) -> None:
    course = rolling(ONE.model_copy(update={"rollback_policy": policy}))
    course.feed(course.finished("api-1", next(ONE.steps()), StepOutcome.STUCK))
    [failed] = course.sent(e.RolloutFailed)
    assert failed.policy_auto is auto
    assert deadline_name(course) == ("revert" if auto else None)
    assert not course.state.ended


def test_a_step_that_ends_with_another_digest_than_wanted_has_failed() -> None:
    course = rolling(ONE)
    course.feed(course.finished("api-1", next(ONE.steps()), root=digest("something else")))
    assert course.status is S.FAILED
    assert digest("something else") in course.state.reason


def test_a_removed_component_is_done_when_nothing_runs() -> None:
    course = Course(plan(batch("api-1", ["n1"], after=None)))
    assert (course.status, course.applied()) == (S.ROLLING, ["api-1"])
    course.finish("api-1")
    assert course.status is S.SUCCEEDED


def test_a_refused_step_that_a_redelivery_finishes_counts_as_done() -> None:
    two = plan(batch("api-1", ["n1", "n2"], tolerance=1))
    course = rolling(two)
    first, second = two.steps()
    course.feed(course.finished("api-1", first, StepOutcome.REFUSED))
    course.feed(course.finished("api-1", first, StepOutcome.DONE))
    course.feed(course.finished("api-1", second))
    assert all(fact.ok for fact in course.state.batches[two.batches[0].id].steps.values())


def test_late_repeated_and_foreign_results_change_nothing() -> None:
    course = rolling(CHAIN)
    first = CHAIN.batches[0].steps[0]
    done = course.finished("api-1", first)
    course.feed(done)
    known = course.state
    for late in (
        done,
        course.finished("api-1", first, StepOutcome.FAILED),
        course.finished("api-2", CHAIN.batches[1].steps[0], plan_hash=digest("another plan")),
        course.finished("api-2", first),
        course.finished("no-such-batch", first),
        course.finished("api-2", CHAIN.batches[1].steps[0], node="n9"),
        course.finished(None, first),  # type: ignore[arg-type]
    ):
        course.feed(late)
        assert course.state is known
        assert course.out == ()
        assert course.notes


def test_a_result_before_its_command_changes_nothing() -> None:
    course = rolling(CHAIN)
    known = course.state
    course.feed(course.finished("api-2", CHAIN.batches[1].steps[0]))
    assert course.state is known


def test_after_the_end_results_change_nothing() -> None:
    course = rolling(ONE)
    course.feed(course.order(c.Abort))
    known = course.state
    course.feed(course.finished("api-1", next(ONE.steps())))
    assert course.state is known


@pytest.mark.parametrize("kind", [e.RolloutReverted, e.RolloutHalted])
def test_what_became_of_a_failure(kind: type[e.RolloutReverted] | type[e.RolloutHalted]) -> None:
    course = rolling(ONE)
    course.feed(course.order(c.Abort))
    revert = RolloutId("revert-1")
    if kind is e.RolloutReverted:
        course.feed(course.make(e.RolloutReverted, revert=revert))
        assert course.status is S.REVERTED
    else:
        course.feed(course.make(e.RolloutHalted, of=revert, reason="n2 is stuck"))
        assert course.status is S.HALTED
        assert "n2 is stuck" in course.state.reason
        course.feed(course.make(e.RolloutReverted, revert=revert))
        assert course.status is S.REVERTED


def test_taking_back_a_part_of_what_succeeded_leaves_it_succeeded() -> None:
    course = rolling(plan(batch("api-1", ["n1"])))
    course.finish("api-1")
    course.feed(course.make(e.RolloutReverted, revert=RolloutId("revert-1"), partial=True))
    assert course.status is S.SUCCEEDED
    assert course.notes


def test_a_release_that_succeeded_can_still_be_taken_back() -> None:
    course = rolling(plan(batch("api-1", ["n1"])))
    course.finish("api-1")
    course.feed(course.make(e.RolloutReverted, revert=RolloutId("revert-1")))
    assert course.status is S.REVERTED
