"""Reverse plans of particular rollouts, and when a failure is taken back by itself."""

from __future__ import annotations

import pytest

from bumpless.common.contract.base import RolloutId, derive_id
from bumpless.common.contract.events import RolloutFailed
from bumpless.common.model.plan import Direction, StepKey
from bumpless.rollback.policy import why_not
from bumpless.rollback.reverse import SEQUENCE_BASE, How, left_over, reverse
from support.plans import T0, batch, digest, plan, target
from support.rollouts import Course, rolling

REVERT = RolloutId("revert-1")
PLAN = plan(
    batch("db-1", ["n1"], component="db"),
    batch("api-1", ["n2"], needs=["db-1"]),
    batch("api-2", ["n3"], needs=["api-1"], before=None),
    batch("web-1", ["n4"], component="web", needs=["api-2"]),
    max_unavailable=1,
)


def halfway() -> Course:
    """db and the first of api are done, the second of api was commanded, web was not."""
    course = rolling(PLAN)
    course.finish("db-1")
    course.finish("api-1")
    return course


def test_what_was_commanded_goes_back_dependents_first() -> None:
    back = reverse(halfway().state, revert=REVERT, number=0)
    assert {str(b.id): ([s.key for s in b.steps], list(b.needs)) for b in back.batches} == {
        "db-back-1": (["n1/db"], ["api-back-1", "api-back-2"]),
        "api-back-1": (["n2/api"], []),
        "api-back-2": (["n3/api"], []),
    }
    steps = {step.key: step for step in back.steps()}
    assert steps[StepKey("n2/api")].after == target("api", "v1").id
    assert steps[StepKey("n3/api")].after is None
    assert all(b.gate is None and not b.approval for b in back.batches)


def test_what_was_not_commanded_is_told_to_stay() -> None:
    [fenced] = reverse(halfway().state, revert=REVERT, number=0).fence
    assert (fenced.key, fenced.before, fenced.after) == (
        "n4/web",
        target("web", "v1").id,
        target("web", "v1").id,
    )


def test_it_is_a_plan_of_its_own() -> None:
    forward = PLAN.hash
    back = reverse(halfway().state, revert=REVERT, number=0)
    assert back.hash != forward
    assert PLAN.hash == forward
    assert (back.rollout, back.of, back.direction) == (REVERT, PLAN.rollout, Direction.REVERT)
    assert (back.generation, back.sequence_base) == (PLAN.generation, SEQUENCE_BASE)
    assert reverse(halfway().state, revert=REVERT, number=1).sequence_base > SEQUENCE_BASE + 2


def test_an_approved_plan_needs_no_approval_to_go_back() -> None:
    approved = halfway().state
    state = approved.model_copy(update={"plan": approved.plan.model_copy(update={"approval": True})})
    assert not reverse(state, revert=REVERT, number=0).approval


def test_only_what_was_asked_for() -> None:
    back = reverse(halfway().state, revert=REVERT, number=0, how=How([StepKey("n2/api"), StepKey("n4/web")]))
    assert [step.key for step in back.steps()] == ["n2/api"]


def test_what_went_after_it_goes_back_with_it() -> None:
    only = [StepKey("n1/db")]
    assert left_over(halfway().state, only) == ["n2/api", "n3/api"]
    assert left_over(halfway().state, [*only, StepKey("n2/api"), StepKey("n3/api")]) == []
    assert left_over(halfway().state, [StepKey("n2/api")]) == [], "n3 has the same component"
    back = reverse(halfway().state, revert=REVERT, number=0, how=How(only))
    assert sorted(step.key for step in back.steps()) == ["n1/db", "n2/api", "n3/api"]


def failed(**fields: object) -> RolloutFailed:
    return RolloutFailed.model_validate(
        {
            "id": derive_id("failed"),
            "at": T0,
            "rollout": PLAN.rollout,
            "product": "shop",
            "plan_hash": digest("plan"),
            "generation": 1,
            "reason": "slow",
            "policy_auto": True,
            "switched_anything": True,
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, None),
        ({"policy_auto": False}, "manual"),
        ({"switched_anything": False}, "nothing was switched"),
        ({"switched_anything": False, "policy_auto": False}, "nothing was switched"),
    ],
)
def test_why_not(fields: dict[str, object], words: str | None) -> None:
    found = why_not(failed(**fields))
    assert found is None if words is None else words in str(found)


def test_now_takes_every_node_of_a_component_at_once() -> None:
    back = reverse(halfway().state, revert=REVERT, number=0, how=How(now=True))
    assert {str(b.id): [s.key for s in b.steps] for b in back.batches} == {
        "db-back-1": ["n1/db"],
        "api-back-1": ["n2/api", "n3/api"],
    }
    assert back.max_unavailable >= 2
