"""Services of the control plane under an executor: one version gives way to the other, and back, and nobody notices."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bumpless.cli.control_commands import generate_keys
from bumpless.cli.home import Home
from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release import Timing
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from bumpless.executor.ports import Unanswered
from support.real_node import RealNode
from support.waiting import eventually

TIMING = Timing(ready_timeout_s=60, soak_s=0.1, lame_duck_s=0.5, drain_timeout_s=10, warm_s=60)
HELD = 'bumpless_lease_held{service="rollback"}'


@asynccontextmanager
async def component(tmp_path: Path, name: str) -> AsyncIterator[RealNode]:
    node = RealNode(tmp_path, component=name)
    await node.start()
    try:
        yield node
    finally:
        await node.close()


def version(node: RealNode, name: str, env: Mapping[str, str], **run: Any) -> Target:
    """No tree of its own: the service of this environment."""
    command = (sys.executable, "-m", f"bumpless.{node.component}.app")
    return node.version(name, main="", command=command, env=dict(env), timing=TIMING, **run)


async def declared(nats_url: str) -> None:
    """The streams are there, as the planner of the site has made them."""
    connection = await Connection.connect(nats_url, name="test")
    await ensure_topology(connection)
    await connection.close()


async def leading(node: RealNode) -> dict[str, bool]:
    """Which versions run here, and whether each holds the lease; without one that is just ending."""
    record = node.executor.record(node.component)
    assert record is not None
    found = {}
    for one in record.instances:
        with contextlib.suppress(Unanswered):
            found[one.target.version] = f"{HELD} 1.0" in await node.switch.scrape(one)
    return found


async def test_a_lease_goes_to_the_new_version_and_back_to_the_one_that_was_kept_warm(
    tmp_path: Path, nats_url: str, redis_url: str
) -> None:
    home = Home(tmp_path / "home")
    generate_keys(home)
    env = {
        "BUMPLESS_ROLLBACK_NATS_URL": nats_url,
        "BUMPLESS_ROLLBACK_REDIS_URL": redis_url,
        "BUMPLESS_ROLLBACK_DEPLOY_KEY": str(home.deploy_key),
        "BUMPLESS_ROLLBACK_TRUST": str(home.trust),
    }
    await declared(nats_url)
    async with component(tmp_path, "rollback") as node:
        v1, v2 = (version(node, name, env, listen={}) for name in ("v1", "v2"))
        assert (await node.apply(v1)).outcome is StepOutcome.DONE
        await eventually(lambda: leading(node), lambda seen: seen == {"v1": True}, "v1 to lead")

        assert (await node.apply(v2, v1)).outcome is StepOutcome.DONE
        first = {"v1": False, "v2": True}
        await eventually(lambda: leading(node), lambda seen: seen == first, "v2 to lead beside the warm v1")

        await node.restart()  # the next executor finds both as they are
        assert await leading(node) == first

        back = await node.apply(v1, v2, Direction.REVERT)
        assert back.outcome is StepOutcome.DONE, back.reason
        again = await eventually(lambda: leading(node), lambda seen: seen.get("v1"), "v1 to lead again")
        assert not again.get("v2", False)


async def test_no_request_to_a_dashboard_fails_while_it_is_replaced(tmp_path: Path, nats_url: str) -> None:
    async with component(tmp_path, "dashboard") as node:
        env = {
            "BUMPLESS_DASHBOARD_NATS_URL": nats_url,
            "BUMPLESS_DASHBOARD_PORT": str(node.port),
        }
        v1, v2 = version(node, "v1", env), version(node, "v2", env)
        assert (await node.apply(v1)).outcome is StepOutcome.DONE
        statuses: list[int | str] = []

        async def ask(session: aiohttp.ClientSession) -> None:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{node.port}/api/session") as answer:
                        await answer.read()
                        statuses.append(answer.status)
                except aiohttp.ClientError as error:
                    statuses.append(repr(error))

        async with aiohttp.ClientSession() as session:
            asking = [asyncio.create_task(ask(session)) for _ in range(4)]
            before = node.pid
            result = await node.apply(v2, v1)
            assert result.outcome is StepOutcome.DONE, result.reason
            back = await node.apply(v1, v2, Direction.REVERT)
            assert back.outcome is StepOutcome.DONE, back.reason
            assert node.pid == before
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)
        assert len(statuses) > 100
        assert set(statuses) == {200}, {one for one in statuses if one != 200}
