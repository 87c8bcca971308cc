"""Rollouts as an aggregate: what their log entries are known by."""

from __future__ import annotations

from typing import Any

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import wire
from bumpless.common.model.plan import Plan
from bumpless.common.shell.broker import Received
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


async def test_what_came_before_the_plan_is_decided_again_too() -> None:
    """A command and the plan that were decided together: the answer to the command follows from the log as well."""
    course = Course(plan(batch("api-1", ["n1"])))
    planned, when = course.fed[0]
    early = course.order(c.Pause)

    class Known:
        def known(self, plan_hash: str) -> Plan:
            return course.plan

        async def get(self, plan_hash: str) -> Plan:
            return course.plan

    known: Any = Known()
    nobody: Any = None
    kind = RolloutKind("planner", known, nobody)
    logged = kind.logged("r1", 1, None, course.state, [early, planned], (), when)
    assert logged is not None
    rebuilt = await kind.replay([Received("ro.r1.rollout-advanced", wire.encode(logged), 7)])
    assert rebuilt is not None
    assert (rebuilt.version, rebuilt.log_sequence) == (1, 7)
    assert [m.cause for m in rebuilt.messages if isinstance(m, e.CommandAnswered)] == [early.id]
