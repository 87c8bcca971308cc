"""`rollout watch` on a broker that loses all progress: the log says how it ended, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

from bumpless.cli.client import Client
from bumpless.cli.watched import Watched
from bumpless.common.contract import events as e
from bumpless.common.contract.base import MessageId, RolloutId
from bumpless.common.model.plan import Direction
from bumpless.common.model.rollout import RolloutStatus
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.rollouts import progress
from bumpless.common.shell.topology import ensure_topology
from support.plans import batch, plan
from support.rollouts import planned, rolling
from support.servers import NatsServer

LIMIT_S = 60.0
PLAN = plan(batch("api-1", ["n1"]))
REVERT = RolloutId("revert-1")


def advanced(rollout: RolloutId, status: RolloutStatus, version: int, **more: object) -> e.RolloutAdvanced:
    return e.RolloutAdvanced.model_validate(
        {
            "id": MessageId(f"{rollout} {version}"),
            "at": clock.now(),
            "rollout": rollout,
            "owner": "planner",
            "version": version,
            "inputs": (),
            "status_before": None,
            "status": status,
            **more,
        }
    )


async def test_a_broker_that_restarts_and_a_rollout_that_ends_meanwhile(nats_server: NatsServer) -> None:
    connection = await Connection.connect(nats_server.url, name="test")
    try:
        await ensure_topology(connection)
        course = rolling(PLAN)
        for message in (planned(PLAN, clock.now()), advanced(PLAN.rollout, RolloutStatus.ROLLING, 1)):
            await connection.publish(message, source="planner")
        shown = progress(course.state, course.fed[-1][0], clock.now() - timedelta(seconds=30))
        await connection.publish(shown, source="planner")
        seen: list[tuple[str, str]] = []
        joined = asyncio.Event()

        async def watch() -> Watched:
            watched = Watched(PLAN.rollout)
            async with aclosing(Client(connection).watch(PLAN.rollout)) as changes:
                async for watched, message in changes:  # noqa: B007 - it is what is returned
                    if isinstance(message, e.RolloutProgressed):
                        seen.append((message.rollout, message.status))
                        joined.set()
            return watched

        watching = asyncio.create_task(watch())
        async with asyncio.timeout(LIMIT_S):
            await joined.wait()
            nats_server.stop()
            nats_server.start()
            await _back(connection)
            started = e.RevertStarted(
                id=MessageId("rs"), at=clock.now(), rollout=PLAN.rollout, revert=REVERT, reason="x", by="ann"
            )
            back = planned(PLAN, clock.now()).model_copy(
                update={
                    "id": MessageId("p2"),
                    "rollout": REVERT,
                    "of": PLAN.rollout,
                    "direction": Direction.REVERT,
                }
            )
            for said in (
                started,
                back,
                advanced(REVERT, RolloutStatus.REVERTED, 1),
                advanced(PLAN.rollout, RolloutStatus.REVERTED, 2),
            ):
                await connection.publish(said, source="rollback")
            watched = await watching
        assert watched.exit_code == 2
        assert seen[0] == (PLAN.rollout, "rolling")
        assert seen[-1][1] == "reverted", "of the rollout or of its revert, whichever was heard first"

        async with asyncio.timeout(LIMIT_S), aclosing(Client(connection).watch(PLAN.rollout)) as again:
            late = [watched async for watched, _ in again]
        assert late[-1].exit_code == 2, "who joins when it is over, and progress is lost, is told at once"
    finally:
        await connection.close()


async def _back(connection: Connection) -> None:
    """The broker answers again, and has its streams, as after the start of any service."""
    while True:
        try:
            return await ensure_topology(connection)
        except Exception:  # noqa: BLE001 - whatever a broker that starts says
            await asyncio.sleep(0.1)
