"""What earlier rollouts took, read from what their logs say."""

from __future__ import annotations

from typing import Any

from bumpless.common.contract import events as e
from bumpless.common.contract.base import MessageId, RolloutId
from bumpless.common.shell.history import MOST_STEPS, earlier_of, record_of
from support.plans import at


def entry(second: float, status: str, *inputs: dict[str, Any]) -> e.RolloutAdvanced:
    return e.RolloutAdvanced(
        id=MessageId(f"m{second}"),
        at=at(second),
        rollout=RolloutId("r1"),
        owner="planner",
        version=1,
        inputs=tuple(e.LoggedInput(at=at(second), message=message) for message in inputs),
        status_before=None,
        status=status,
    )


def finished(node: str, component: str = "api", outcome: str = "done", **seconds: float) -> dict[str, Any]:
    return {
        "type": "step-finished", "node": node, "component": component, "outcome": outcome, "sequence": 2, "seconds": seconds,
    }  # fmt: skip


def test_steps_and_staging_of_one_rollout() -> None:
    found = record_of(
        [
            entry(0, "staging"),
            entry(3, "staging", {"type": "step-staged", "node": "n1"}),
            entry(8, "rolling", {"type": "step-staged", "node": "n2"}),
            entry(9, "rolling", finished("n1", starting=1.5, draining=2.0)),
            entry(9, "rolling", finished("n1", starting=1.5, draining=2.0), finished("n2", starting=1.0)),
            entry(
                10,
                "rolling",
                finished("n3", outcome="failed", starting=30.0),
                finished("n4", outcome="already"),
            ),
            entry(11, "rolling", finished("n1", "web", starting=0.5)),
        ]
    )
    assert found.steps == {"api": (3.5, 1.0), "web": (0.5,)}
    assert found.staging_s == 8


def test_a_rollout_that_never_staged_says_nothing_of_it() -> None:
    assert record_of([entry(0, "staging"), entry(5, "failed")]).staging_s is None
    assert record_of([]).steps == {}


def test_large_rollouts_are_cut() -> None:
    many = [finished(f"n{number}", starting=1.0) for number in range(MOST_STEPS + 7)]
    assert len(record_of([entry(0, "rolling", *many)]).steps["api"]) == MOST_STEPS


def test_several_rollouts_are_one_answer_about_what_is_asked() -> None:
    records = [
        record_of([entry(0, "rolling", finished("n1", starting=3.0), finished("n1", "db", starting=9.0))]),
        record_of([entry(0, "staging"), entry(4, "rolling", finished("n1", starting=1.0))]),
    ]
    found = earlier_of(records, ["api", "cache"])
    assert [(t.component, t.rollouts, t.seconds) for t in found.steps] == [("api", 2, (1.0, 3.0))]
    assert found.staging_s == (4.0,)
