"""What the planner keeps of dry runs and knows of earlier rollouts, on a real broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest

from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import MessageId, RolloutId
from bumpless.common.contract.plan_answer import PlanAnswer
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.finding import Code
from bumpless.common.model.plan import Direction, Plan
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.history import MOST_ROLLOUTS, History
from bumpless.common.shell.rollouts import Plans
from bumpless.common.shell.topology import SHOWN_S, ensure_topology
from bumpless.planner import refusals
from bumpless.planner.app import make_subscribers
from bumpless.planner.handlers import Planner
from bumpless.planner.shown import MOST_BYTES, Shown
from support.plans import at, batch, digest, plan


@pytest.fixture
async def connection(nats_url: str) -> AsyncIterator[Connection]:
    found = await Connection.connect(nats_url, name="test")
    await ensure_topology(found)
    yield found
    await found.close()


def plans_of(connection: Connection) -> Plans:
    return Plans(JetStreamBlobs(connection.js, subjects.SHOWN_BUCKET))


def shown_by(connection: Connection) -> Shown:
    return Shown(plans_of(connection), History(connection))


async def test_a_dry_run_that_fails_is_answered(connection: Connection, nats_url: str) -> None:
    class Failing:
        async def plan(self, message: e.ReleaseAnnounced) -> None:
            raise KeyError("no such thing")

    broker = make_subscribers(nats_url, cast(Planner, Failing()), connection, shown_by(connection))
    asked = e.ReleaseAnnounced(
        id=MessageId("a"), at=at(0), product="shop", digest=digest("release"), envelope="{}"
    )
    await broker.start()
    try:
        raw = await connection.request(subjects.API_PLAN, wire.encode(asked), 30)
    finally:
        await broker.stop()
    answer = PlanAnswer.model_validate_json(raw)
    assert [(found.code, found.subject, found.blocks) for found in answer.findings] == [
        (Code.PLAN_INVALID, "shop", True)
    ]
    assert "KeyError('no such thing')" in answer.reasons[0]


async def test_a_plan_is_kept_and_expires(connection: Connection) -> None:
    made = plan(batch("api-1", ["n1"]))
    answer = await shown_by(connection).completed(PlanAnswer(plan=made, plan_hash=made.hash))
    assert answer.plan == made
    assert (await plans_of(connection).get(made.hash)).hash == made.hash
    config = (await connection.js.stream_info(f"OBJ_{subjects.SHOWN_BUCKET}")).config
    assert config.max_age == SHOWN_S


async def test_a_large_plan_is_read_by_its_hash(connection: Connection) -> None:
    made = plan(batch("api-1", [f"node-{number}" for number in range(6_000)]), max_unavailable=6_000)
    assert len(made.canonical()) > MOST_BYTES
    answer = await shown_by(connection).completed(PlanAnswer(plan=made, plan_hash=made.hash))
    assert (answer.plan, answer.plan_hash) == (None, made.hash)
    assert len(answer.model_dump_json()) < MOST_BYTES
    assert await plans_of(connection).get(made.hash) == made


async def test_what_moved_is_told_as_long_as_the_plan_is_known(connection: Connection) -> None:
    made, now = plan(batch("api-1", ["n1"])), plan(batch("api-1", ["n1", "n2"]))
    first = shown_by(connection)
    unknown = await first.moved(made.hash, now)
    assert len(unknown) == 1
    assert "not known here" in unknown[0]
    assert "not known here" in (await first.moved("no hash", now))[0]
    await first.completed(PlanAnswer(plan=made, plan_hash=made.hash))
    told = await shown_by(connection).moved(made.hash, now)
    assert told[0] == "added: api: upgrade v1 -> v2: n2"
    finding = refusals.moved("r1", f"expected plan {made.hash}", now.hash, told)
    assert finding.evidence.startswith(
        f"expected plan {made.hash}, the fleet now gives {now.hash}\nadded: api"
    )


async def ran(connection: Connection, made: Plan, number: int, seconds: float, status: str) -> None:
    """The log of a rollout in which one step took `seconds`."""
    rollout = RolloutId(f"rollout-{number}")
    await connection.publish(
        e.RolloutPlanned(
            id=MessageId(f"planned-{number}"),
            at=at(number),
            rollout=rollout,
            product=made.product,
            release_version="v2",
            direction=Direction.FORWARD,
            plan_hash=made.hash,
            generation=number,
        ),
        source="planner",
    )
    done = {"type": "step-finished", "outcome": "done", "node": "n1", "component": "api", "sequence": 2,
            "seconds": {"starting": seconds}}  # fmt: skip
    await connection.publish(
        e.RolloutAdvanced(
            id=MessageId(f"advanced-{number}"),
            at=at(number),
            rollout=rollout,
            owner="planner",
            version=1,
            inputs=(e.LoggedInput(at=at(number), message=done),),
            status_before=None,
            status=status,
        ),
        source="planner",
    )


async def test_the_latest_rollouts_that_ended_are_read_once(connection: Connection) -> None:
    made = plan(batch("api-1", ["n1"]))
    for number in range(1, MOST_ROLLOUTS + 3):
        await ran(connection, made, number, float(number), "succeeded")
    await ran(connection, made, 90, 90.0, "rolling")
    await ran(connection, made.model_copy(update={"product": "other"}), 91, 91.0, "succeeded")
    history = History(connection)
    (took,) = (await history.earlier(made.product, ["api"])).steps
    assert (took.rollouts, took.seconds) == (MOST_ROLLOUTS, (3.0, 4.0, 5.0, 6.0, 7.0))
    await connection.js.purge_stream(Stream.RO.value, subject="ro.rollout-7.rollout-advanced", keep=0)
    await ran(connection, made, 92, 1.0, "succeeded")
    (again,) = (await history.earlier(made.product, ["api"])).steps
    assert again.seconds == (1.0, 3.0, 4.0, 5.0, 6.0)
