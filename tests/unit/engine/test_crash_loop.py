"""A version that comes up on a node and does not stay up: what it does to the rollout that brought it."""

from __future__ import annotations

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.model.rollout import RolloutStatus as S
from support.plans import GATE, batch, plan
from support.rollouts import Course, rolling


def one_baking(tolerance: int = 0) -> Course:
    """Two nodes of `api` are switched and judged; `db` comes after."""
    first = batch("api-1", ["n1", "n2"], component="api", gate=GATE).model_copy(
        update={"tolerance": tolerance}
    )
    course = rolling(plan(first, batch("db-1", ["n3"], component="db", needs=("api-1",))))
    course.finish("api-1")
    assert course.batch("api-1") == "baking"
    return course


def test_it_fails_a_batch_that_bakes_and_closes_its_gate() -> None:
    course = one_baking()
    course.feed(course.crash_looping(course.plan.batches[0].steps[0]))
    assert (course.status, course.batch("api-1")) == (S.FAILED, "failed")
    assert "crash-looping: it crashed 5 times" in course.state.reason
    assert [type(m) for m in course.out] == [c.CloseGate, e.RolloutFailed]


def test_it_fails_a_batch_that_had_passed() -> None:
    course = one_baking()
    course.feed(course.verdict("api-1"))
    assert (course.status, course.batch("api-1")) == (S.ROLLING, "passed")
    course.feed(course.crash_looping(course.plan.batches[0].steps[1]))
    assert (course.status, course.batch("api-1")) == (S.FAILED, "failed")


def test_a_batch_that_tolerates_it_goes_on_and_the_node_counts_as_out() -> None:
    course = one_baking(tolerance=1)
    step = course.plan.batches[0].steps[0]
    course.feed(course.crash_looping(step))
    assert (course.status, course.batch("api-1")) == (S.ROLLING, "baking")
    assert course.state.batches[course.plan.batches[0].id].steps[step.key].ok is False
    course.feed(course.crash_looping(course.plan.batches[0].steps[1]))
    assert course.status is S.FAILED


def test_what_the_node_said_before_does_not_outweigh_it() -> None:
    course = one_baking(tolerance=1)
    step = course.plan.batches[0].steps[0]
    course.feed(course.crash_looping(step))
    before = course.state
    course.feed(course.finished("api-1", step))
    assert course.state is before


@pytest.mark.parametrize(
    "change", [{"root": "sha256:" + "0" * 64}, {"plan_hash": "sha256:other"}, {"node": "n9"}]
)
def test_a_loop_of_something_else_changes_nothing(change: dict[str, str]) -> None:
    course = one_baking()
    before = course.state
    course.feed(course.crash_looping(course.plan.batches[0].steps[0], **change))
    assert course.state is before


def test_a_node_that_was_not_commanded_changes_nothing() -> None:
    course = one_baking()
    before = course.state
    course.feed(course.crash_looping(course.plan.batches[1].steps[0]))
    assert course.state is before
