"""Rollouts as an aggregate: what their log entries are known by."""

from __future__ import annotations

from typing import Any

from bumpless.common.shell.rollouts import RolloutKind
from support.plans import at, batch, plan
from support.rollouts import Course


def test_the_same_inputs_decided_at_another_time_are_another_entry() -> None:
    """A rollout that is taken over: the planner hears the same news as the log has, and decides them later.

    Its entry must not pass for the one in the log, or it goes on with a state that nobody can rebuild.
    """
    course = Course(plan(batch("api-1", ["n1"])))
    nobody: Any = None
    kind = RolloutKind("planner", nobody, nobody)
    message, _ = course.fed[0]

    def entry(seconds: float) -> Any:
        return kind.logged("r1", 1, None, course.state, [message], (), at(seconds))

    assert entry(1) == entry(1)
    assert entry(1).id != entry(2).id
