"""Who may begin where, on a real broker: every rollout sees what the others wrote."""

from __future__ import annotations

from typing import Any

import pytest

from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import RolloutId, derive_id
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Plan
from bumpless.common.shell.broker import Connection, StaleSequence
from bumpless.common.shell.places import Places
from bumpless.common.shell.rollouts import Plans, RolloutKind, revert_started
from bumpless.common.shell.taken import Taken
from support.plans import batch, plan
from support.rollouts import Course


class Room:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.plans = Plans(JetStreamBlobs(connection.js, subjects.PLAN_BUCKET))
        self.places = Places(connection, self.plans)

    async def course(self, rollout: str, nodes: list[str], **more: Any) -> Course:
        """A rollout of `nodes` that has been decided and stands nowhere yet."""
        course = Course(plan(batch("api-1", nodes), rollout=RolloutId(rollout), **more))
        await self.plans.put(course.plan)
        return course

    async def begin(self, course: Course) -> int:
        return await self.places.begin(self.entry(course), "planner")

    def entry(self, course: Course, version: int = 1) -> e.RolloutAdvanced:
        message, when = course.fed[-1]
        kind = RolloutKind("planner", self.plans, self.connection)
        found = kind.logged(course.plan.rollout, version, None, course.state, [message], (), when)
        assert isinstance(found, e.RolloutAdvanced)
        return found


@pytest.fixture
async def room(connection: Connection) -> Room:
    return Room(connection)


async def test_one_begins_beside_others_elsewhere(room: Room) -> None:
    first = await room.begin(await room.course("r1", ["n1", "n2"]))
    assert await room.begin(await room.course("r2", ["n3"])) > first


async def test_nobody_begins_where_another_is_at_work(room: Room) -> None:
    await room.begin(await room.course("r1", ["n1", "n2"]))
    second = await room.course("r2", ["n2", "n3"])
    with pytest.raises(Taken, match="rollout r1 is staging on the same places") as found:
        await room.begin(second)
    assert (found.value.plan.rollout, found.value.status) == ("r1", "staging")
    with pytest.raises(Taken):
        await room.places.free(second.plan, RolloutId("r2-back"))


async def test_its_place_is_free_once_another_has_ended(room: Room) -> None:
    course = await room.course("r1", ["n1"])
    last = await room.begin(course)
    course.feed(
        revert_started(
            course.plan.rollout,
            RolloutId("r1-back"),
            cause=course.fresh(),
            by="ann",
            reason="x",
            now=course.now,
        )
    )
    assert course.state.ended
    await room.connection.publish(room.entry(course, 2), source="planner", expect_last=last)
    second = await room.course("r2", ["n1"])
    await room.places.free(second.plan, RolloutId("r2-back"))
    await room.begin(second)


async def test_a_rollout_and_its_revert_do_not_keep_each_other(room: Room) -> None:
    forward = await room.course("r1", ["n1"])
    await room.begin(forward)
    await room.begin(await room.course("r1-back", ["n1"], of=RolloutId("r1")))
    await room.places.free(forward.plan, RolloutId("r1-back"))
    with pytest.raises(Taken):
        await room.places.free(forward.plan, RolloutId("another"))


async def test_beginning_again_is_the_same_beginning(room: Room) -> None:
    course = await room.course("r1", ["n1"])
    assert await room.begin(course) == await room.begin(course)
    other = room.entry(course).model_copy(update={"id": derive_id("another", "entry")})
    with pytest.raises(StaleSequence):
        await room.places.begin(other, "planner")


async def test_what_begins_between_the_look_and_the_word_is_seen(room: Room) -> None:
    """The other one is written while we look: the broker refuses ours, and we look again."""
    other = await room.course("r2", ["n1"])
    slow = _Slow(room.connection, room.entry(other), times=1)
    with pytest.raises(Taken, match="rollout r2"):
        await Places(slow, room.plans).begin(room.entry(await room.course("r1", ["n1"])), "planner")


async def test_logs_that_never_rest_are_retryable(room: Room) -> None:
    busy = _Slow(room.connection, room.entry(await room.course("r2", ["n9"])), times=10_000)
    with pytest.raises(Retryable, match="keep growing"):
        await Places(busy, room.plans).begin(room.entry(await room.course("r1", ["n1"])), "planner")


class _Slow(Connection):
    """The same connection, where another rollout writes after every look, `times` in all."""

    def __init__(self, connection: Connection, entry: e.RolloutAdvanced, times: int) -> None:
        self.__dict__.update(connection.__dict__)
        self._entry, self._times = entry, times

    async def snapshot(self, *args: Any, **how: Any) -> Any:
        found = await super().snapshot(*args, **how)
        if self._times:
            self._times -= 1
            entry = self._entry.model_copy(update={"id": derive_id(self._entry.id, str(self._times))})
            await super().publish(entry, source="other")
        return found


def test_what_is_taken_is_said_with_its_kind() -> None:
    back: Plan = plan(batch("api-1", ["n1"]), of=RolloutId("r0"))
    assert str(Taken(back, "rolling", Course(back).now)).startswith(f"revert {back.rollout} is rolling")
