"""Taking over a rollout: what its last writer logged and did not say is said first, but its commands are not given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, MessageId, RolloutId
from bumpless.common.model.rollout import Rollout, RolloutStatus
from bumpless.common.shell.kind import Rebuilt
from bumpless.common.shell.rollouts import RolloutKind
from bumpless.rollback.handlers import Rollbacker
from support.plans import batch, plan
from support.rollouts import Course


class Log(RolloutKind):
    """A log with one entry, whose messages have not left."""

    def __init__(self, course: Course) -> None:
        nobody: Any = None
        super().__init__("planner", nobody, nobody)
        self._course = course

    async def rebuild(self, aggregate: str) -> Rebuilt[Rollout] | None:
        said, _ = self._course.fed[0]
        return Rebuilt(self._course.state, 1, 7, (said, *self._course.out))


class Out:
    def __init__(self) -> None:
        self.said: list[Message] = []

    async def log(self, entry: Message, after: int) -> int:
        assert after == 7
        self.said.append(entry)
        return 8

    async def send(self, messages: Sequence[Message]) -> None:
        self.said += messages


async def test_the_events_of_the_last_entry_are_said_before_it_is_taken_over() -> None:
    course = Course(plan(batch("api-1", ["n1"])))
    assert any(isinstance(m, c.StageArtifacts) for m in course.out)
    out: Any = Out()
    nobody: Any = None
    service = Rollbacker(nobody, nobody, Log(course), nobody, out)
    state = await service._take_over(
        course.plan.rollout, RolloutId("revert-1"), MessageId("asked"), "ann", "slow"
    )
    assert state.status is RolloutStatus.FAILED
    assert [type(m) for m in out.said[:2]] == [e.RolloutPlanned, e.RolloutAdvanced]
    assert not any(isinstance(m, c.StageArtifacts) for m in out.said)
