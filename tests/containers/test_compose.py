"""compose.yaml as a user starts it. One command rolls the shop out, upgrades it, and a bad release takes itself back, with no
failed request of a customer; containers are killed, paused and cut off the network in the middle of rollouts, and each
ends right, with no failed request but of nodes that are away."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from bumpless.cli.client import Client, client
from bumpless.common.access.entry import Entry
from bumpless.common.errors import Refused, Retryable
from support.compose import NODES, Stack
from support.fleet_product import write_release
from support.fleet_watch import check_log, ended, on_fleet, publish, step, until, until_batch
from support.waiting import eventually

pytestmark = pytest.mark.timeout(600)
FEWEST_REQUESTS = 500
COMPONENTS = ("database", "cache", "api", "gateway", "worker")
PARTS = {"planner", "health-gate", "rollback", "alerts", "events", "dashboard", *NODES}
AWAY_S = 8.0
"""Longer than a lease, and than the silence after which a connection is given up."""
DEAD_S = 2.0
"""Until what was killed is started again."""

Fault = Callable[[Stack], Awaitable[None]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all tests here."""
    with Stack(tmp_path_factory.mktemp("stack")) as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Releases and their trees."""
    return tmp_path_factory.mktemp("releases")


async def versions(stack: Stack) -> dict[str, set[str]]:
    async with stack.client() as found:
        return {name: set((await on_fleet(found, name)).values()) for name in COMPONENTS}


async def test_the_shop_is_rolled_out_upgraded_and_a_bad_release_takes_itself_back(stack: Stack) -> None:
    await stack.compose_later("run", "--rm", "-T", "shop", "v1.yaml")
    assert await versions(stack) == {name: {"v1"} for name in COMPONENTS}
    await stack.compose_later("up", "--detach", "--no-deps", "customers")

    await stack.compose_later("run", "--rm", "-T", "shop", "v2.yaml")
    assert await versions(stack) == {name: {"v2"} for name in COMPONENTS}
    bad = await stack.compose_later("run", "--rm", "-T", "shop", "v3-bad.yaml", ends=2)
    assert "error rate" in bad.stdout
    assert await versions(stack) == {name: {"v2"} for name in COMPONENTS}

    customers = stack.container("customers")
    stack.docker("stop", "--time", "30", customers)
    seen = json.loads(stack.docker("logs", customers))
    assert seen["requests_failed"] == 0, seen
    assert seen["requests_total"] >= FEWEST_REQUESTS, seen


async def test_prometheus_finds_every_part(stack: Stack) -> None:
    async def up() -> list[tuple[str, str]]:
        url = f"http://127.0.0.1:{stack.ports['PROMETHEUS']}/api/v1/query?query=up"
        async with aiohttp.ClientSession() as session, session.get(url) as said:
            found = (await said.json())["data"]["result"]
        return sorted((each["metric"]["part"], each["value"][1]) for each in found)

    wanted = sorted([*((part, "1") for part in PARTS), ("planner", "1")])
    await eventually(up, lambda found: found == wanted, "both planners and one of everything else to be up")


def test_the_dashboard_asks_for_a_login_over_https(stack: Stack) -> None:
    context = ssl.create_default_context(cafile=str(stack.home.path / "tls" / "ca.pem"))
    url = f"https://localhost:{stack.ports['DASHBOARD']}/"
    with urllib.request.urlopen(url, timeout=10, context=context) as said:
        assert said.status == 200
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}api/topics/fleet", timeout=10, context=context)


def test_people_ask_by_the_command(stack: Stack) -> None:
    said = stack.compose("run", "--rm", "-T", "bumpless", "-o", "json", "fleet", "list").stdout
    assert {node["node"] for node in json.loads(said)} == set(NODES)


async def test_nobody_comes_to_the_broker_without_a_key_or_without_tls(stack: Stack) -> None:
    for other in (
        Entry(stack.entry().url, None, stack.entry().ca),
        Entry(stack.entry().url, stack.entry().seed),
    ):
        with pytest.raises((Retryable, Refused)):
            async with client(other, timeout_s=2):
                pass


def test_every_container_is_confined(stack: Stack) -> None:
    for name in stack.containers():
        found = stack.inspected(name)
        host = found["HostConfig"]
        held = (found["Config"]["User"], host["ReadonlyRootfs"], host["CapDrop"], bool(host["Memory"]))
        assert held == ("65532:65532", True, ["ALL"], True), name
        assert "no-new-privileges:true" in host["SecurityOpt"], name


def test_nodes_do_not_reach_the_state_store(stack: Stack) -> None:
    at = stack.inspected(stack.container("redis"))["NetworkSettings"]["Networks"]
    assert list(at) == [f"{stack.project}_state"]
    asked = ["exec", stack.container("node-1"), "python3", "-c"]
    code = (
        f"import socket; socket.create_connection(({at[f'{stack.project}_state']['IPAddress']!r}, 6379), 2)"
    )
    with pytest.raises(AssertionError, match=r"timed out|unreachable"):
        stack.docker(*asked, code)


@pytest.fixture
async def installed(stack: Stack, folder: Path) -> AsyncIterator[Client]:
    """A client, with the tiny product serving on every node."""
    async with stack.client() as found:
        if set(await on_fleet(found, "front")) != set(NODES):
            version = stack.fresh()
            rollout = await publish(stack, found, write_release(folder, version, core=version, gate=None))
            await ended(found, rollout, "succeeded")
        yield found
    stack.until_healthy()


async def stay_away(seconds: float = AWAY_S) -> None:
    """What happens in this time is what is tested: nothing tells of it."""
    await asyncio.sleep(seconds)


def kill(service: str, *, holder: bool = False) -> Fault:
    async def done(stack: Stack) -> None:
        name = stack.working(service) if holder else stack.container(service)
        stack.docker("kill", name)
        await stay_away(DEAD_S)
        stack.docker("start", name)

    return done


def pause(service: str, *, holder: bool = False) -> Fault:
    async def done(stack: Stack) -> None:
        name = stack.working(service) if holder else stack.container(service)
        stack.docker("pause", name)
        await stay_away()
        stack.docker("unpause", name)

    return done


def cut_off(service: str, network: str = "fleet", *, holder: bool = False) -> Fault:
    async def done(stack: Stack) -> None:
        name = stack.working(service) if holder else stack.container(service)
        with stack.cut_off(name, network):
            await stay_away()

    return done


CONTROL_PLANE = {
    "the working planner killed": kill("planner", holder=True),
    "the working planner paused": pause("planner", holder=True),
    "the working planner cut off": cut_off("planner", holder=True),
    "the broker killed": kill("nats"),
    "the broker paused": pause("nats"),
    "the store killed": kill("redis"),
    "the store cut off": cut_off("redis", "state"),
    "the health gate killed": kill("health-gate"),
    "the health gate paused": pause("health-gate"),
}


@pytest.mark.parametrize("what", CONTROL_PLANE)
async def test_a_release_succeeds_meanwhile(stack: Stack, installed: Client, folder: Path, what: str) -> None:
    new = stack.fresh()
    async with stack.load():
        rollout = await publish(stack, installed, write_release(folder, new, core=new))
        await until_batch(installed, rollout, "core-1", "applying")
        await CONTROL_PLANE[what](stack)
        log = await ended(installed, rollout, "succeeded")
    await check_log(installed, log)
    assert await on_fleet(installed, "core") == dict.fromkeys(NODES, new)


REVERTING = {"killed": kill("rollback"), "paused": pause("rollback"), "cut off": cut_off("rollback")}


@pytest.mark.parametrize("what", REVERTING)
async def test_a_bad_release_takes_itself_back_meanwhile(
    stack: Stack, installed: Client, folder: Path, what: str
) -> None:
    before, bad = await on_fleet(installed, "core"), stack.fresh()
    release = write_release(folder, bad, core=bad, mode="errors", rollback_policy="auto")
    async with stack.load(failing=True):
        rollout = await publish(stack, installed, release)
        await until_batch(installed, rollout, "core-1", "baking")
        await REVERTING[what](stack)
        log = await ended(installed, rollout, "reverted")
    await check_log(installed, log)
    assert await on_fleet(installed, "core") == before


BEFORE_IT_SWITCHES_S = 5.0
"""Its new instance is watched for that long: a node that goes down in the middle of a switch goes back instead."""
NODE = {"killed": kill("node-4"), "paused": pause("node-4"), "cut off": cut_off("node-4")}


@pytest.mark.parametrize("what", NODE)
async def test_a_node_that_was_away_ends_where_the_others_are(
    stack: Stack, installed: Client, folder: Path, what: str
) -> None:
    """Meanwhile nobody asks it. Then it has customers again, or its gate could not judge it."""
    new, away = stack.fresh(), NODES[3]
    async with stack.load(NODES[:3]):
        timing = {"soak_s": BEFORE_IT_SWITCHES_S}
        rollout = await publish(stack, installed, write_release(folder, new, core=new, timing=timing))
        await until(installed, rollout, step(away, "core", "starting"), f"{away} to start it")
        await NODE[what](stack)
        await eventually(lambda: stack.answers(away), bool, f"{away} to serve again")
        async with stack.load([away]):
            log = await ended(installed, rollout, "succeeded")
    await check_log(installed, log)
    assert await on_fleet(installed, "core") == dict.fromkeys(NODES, new)
