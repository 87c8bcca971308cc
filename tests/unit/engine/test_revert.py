"""The same engine over a reverse plan: no staging, no gates, and a failure halts."""

from __future__ import annotations

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.plan import MAX_HOPS, Direction, Plan
from bumpless.common.model.rollout import RolloutStatus as S
from support.plans import batch, plan
from support.rollouts import Course, deadline_name

FORWARD = RolloutId("forward-1")
FENCED = batch("unused", ["n8", "n9"]).steps


def reverse_plan(*, fence: bool = True) -> Plan:
    return plan(
        batch("web-back-1", ["n1", "n2"], component="web", before="v2", after="v1"),
        batch("api-back-1", ["n3"], needs=["web-back-1"], before="v2", after="v1"),
        direction=Direction.REVERT,
        of=FORWARD,
        sequence_base=1 << 20,
        fence=FENCED if fence else (),
        rollout=RolloutId("revert-1"),
    )


def test_it_fences_and_applies_at_once() -> None:
    course = Course(reverse_plan())
    assert course.status is S.ROLLING
    fenced, applied = course.out
    assert isinstance(fenced, c.StageArtifacts)
    assert isinstance(applied, c.ApplyBatch)
    assert fenced.steps == FENCED
    assert (fenced.sequence, applied.sequence) == ((1 << 20) + 1, (1 << 20) + 1 + MAX_HOPS)
    assert (fenced.direction, applied.direction) == (Direction.REVERT, Direction.REVERT)


def test_without_anything_to_fence_it_only_applies() -> None:
    assert len(Course(reverse_plan(fence=False)).out) == 1


def test_it_ends_reverted_and_says_so_about_the_forward_rollout() -> None:
    course = Course(reverse_plan())
    course.finish("web-back-1")
    assert course.applied() == ["api-back-1"]
    course.finish("api-back-1")
    assert course.status is S.REVERTED
    [reverted] = course.sent(e.RolloutReverted)
    assert (reverted.rollout, reverted.revert) == (FORWARD, course.plan.rollout)


def test_a_node_that_is_back_already_counts() -> None:
    course = Course(reverse_plan())
    for step in course.plan.batches[0].steps:
        course.feed(course.finished("web-back-1", step, StepOutcome.ALREADY))
    assert course.batch("web-back-1") == "passed"


def test_a_failed_revert_halts_and_reverts_nothing() -> None:
    course = Course(reverse_plan())
    course.feed(course.finished("web-back-1", course.plan.batches[0].steps[0], StepOutcome.STUCK))
    assert course.status is S.HALTED
    assert course.sent(e.RolloutFailed) == []
    [halted] = course.sent(e.RolloutHalted)
    assert (halted.rollout, halted.of) == (FORWARD, course.plan.rollout)
    assert course.state.ended
    assert deadline_name(course) is None


def test_a_silent_node_halts_the_revert() -> None:
    course = Course(reverse_plan())
    assert deadline_name(course) == "apply:web-back-1"
    course.fire()
    assert course.status is S.HALTED


def test_abort_and_alerts_halt() -> None:
    for stop in ("abort", "alert"):
        course = Course(reverse_plan())
        course.feed(course.order(c.Abort) if stop == "abort" else course.make(e.AlertFired, name="errors"))
        assert course.status is S.HALTED
        assert len(course.sent(e.RolloutHalted)) == 1


def test_pause_and_resume() -> None:
    course = Course(reverse_plan())
    course.feed(course.order(c.Pause))
    course.finish("web-back-1")
    assert (course.status, course.applied()) == (S.PAUSED, [])
    course.feed(course.order(c.Resume))
    assert (course.status, course.applied()) == (S.ROLLING, ["api-back-1"])


def test_what_nodes_say_about_staging_changes_no_step() -> None:
    course = Course(reverse_plan())
    course.feed(course.staged(next(course.plan.steps()), ok=False))
    assert course.status is S.ROLLING


def test_a_forward_result_does_not_count() -> None:
    course = Course(reverse_plan())
    known = course.state
    step = course.plan.batches[0].steps[0]
    course.feed(course.finished("web-back-1", step, plan_hash=plan(batch("x", ["n1"])).hash))
    assert course.state is known


def test_an_empty_reverse_plan_is_reverted_at_once() -> None:
    empty = reverse_plan().model_copy(update={"batches": (), "fence": ()})
    assert Course(empty).status is S.REVERTED
