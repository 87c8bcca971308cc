"""Instances behind a real HAProxy: replaced while clients of every temper are served, and when the proxy is away."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bumpless.cli.embedded import free_port
from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.common.model.hooks import HaproxyServers, Proxy
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Run, Timing
from bumpless.executor.drivers.haproxy import Server
from bumpless.executor.drivers.native import NativeSwitch
from bumpless.executor.drivers.proxied import ProxiedSwitch
from bumpless.executor.ports import Launch, NotReady, Unanswered
from bumpless.executor.record import Instance
from support.haproxy import Haproxy
from support.mixed_load import TEMPERS, MixedLoad, version_at

PROBE = Path(__file__).with_name("probe.py")
READY_S = 60.0
DRAIN_S = 30.0


class Node:
    """A node whose instances stand behind `proxy`; `slots` False: they all stand for one server."""

    def __init__(self, home: Path, proxy: Haproxy, *, slots: bool = True) -> None:
        self.home, self.proxy, self.slots = home, proxy, slots
        self.switch = self._new()
        self.started: list[Instance] = []
        for name in ("versions", "state", "log"):
            (home / "components" / "probe" / name).mkdir(parents=True)

    def _new(self) -> ProxiedSwitch:
        return ProxiedSwitch(NativeSwitch("node-a", self.home / "run", self.home / "components"), "node-a")

    def die(self) -> None:
        self.switch.close()
        self.switch = self._new()

    async def start(self, version: str, *, standby: bool = False) -> Instance:
        servers = {name: f"tcp://127.0.0.1:{port}" for name, port in self.proxy.servers.items()}
        one = None if self.slots else "{node.name}"
        listen = f"tcp://127.0.0.1:{self.proxy.port}" if self.slots else next(iter(servers.values()))
        place = HaproxyServers(
            socket=str(self.proxy.socket), backend="web", servers=servers if self.slots else {}, server=one
        )
        run = Run(
            command=("python3", str(PROBE)),
            listen={"http": listen},
            timing=Timing(ready_timeout_s=READY_S, lame_duck_s=0.2, drain_timeout_s=DRAIN_S),
            proxy=Proxy(haproxy=place),
        )
        digest = Digest("sha256:" + version.encode().hex().ljust(64, "0"))
        target = Target(
            component="probe", version=version, root=digest, artifact=digest, artifact_size=1, run=run
        )
        home = self.home / "components" / "probe"
        listeners = await self.switch.listen("probe", run)
        instance = Instance(
            id=f"{version}-{len(self.started)}", target=target, listeners=listeners, standby=standby
        )
        launch = Launch("probe", instance, home / "versions", home / "state", home / "log")
        started = await self.switch.start(launch)
        self.started.append(started)
        return started

    async def ready(self, version: str) -> Instance:
        instance = await self.start(version)
        await self.switch.wait_ready(instance, READY_S)
        await self.switch.check(instance)
        return instance

    async def retire(self, old: Instance) -> None:
        await self.switch.pause(old)
        assert await self.switch.drained(old, 0.2, DRAIN_S) == ()
        await self.switch.stop(old, DRAIN_S)

    async def status(self, server: str) -> str:
        return (await Server(str(self.proxy.socket), "web", server).look()).status


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async for made in _node(tmp_path, {"blue": free_port(), "green": free_port()}, slots=True):
        yield made


@pytest.fixture
async def single(tmp_path: Path) -> AsyncIterator[Node]:
    async for made in _node(tmp_path, {"node-a": free_port()}, slots=False):
        yield made


async def _node(home: Path, servers: dict[str, int], *, slots: bool) -> AsyncIterator[Node]:
    async with asyncio.timeout(150):
        with Haproxy(servers) as proxy:
            made = Node(home, proxy, slots=slots)
            try:
                yield made
            finally:
                await asyncio.gather(*(made.switch.kill(i) for i in made.started))
                made.switch.close()


def body(version: str) -> str:
    return f'"version":"{version}"'


async def test_nobody_behind_the_proxy_notices_a_switch(node: Node) -> None:
    serving = await node.ready("v0")
    async with MixedLoad(node.proxy.port, slow_path="/slow") as load:
        for n in range(1, 6):
            await load.answered(5)
            fresh = await node.ready(f"v{n}")
            await load.answered(3)
            await node.retire(serving)
            serving = fresh
            assert body(f"v{n}") in await version_at(node.proxy.port)
        await load.answered(5)
    print(f"\nproxy: failed of all, 5 switches: {load.seen}")
    assert not sum(load.seen.failed[name] for name in TEMPERS), (str(load.seen), load.seen.failures[:10])


async def test_going_back_takes_the_old_one_in_again(node: Node) -> None:
    old, new = await node.ready("v1"), await node.ready("v2")
    await node.switch.pause(old)
    assert await node.switch.drained(old, 0, DRAIN_S) == ()
    assert await node.status("blue") == "MAINT"
    await node.switch.resume(old)
    await node.switch.stop(new, DRAIN_S)
    assert await node.status("green") == "MAINT"
    assert body("v1") in await version_at(node.proxy.port)


async def test_sessions_that_stay_are_named_at_the_deadline(node: Node) -> None:
    old = await node.ready("v1")
    _, writer = await asyncio.open_connection("127.0.0.1", node.proxy.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n12")
    await writer.drain()
    server = Server(str(node.proxy.socket), "web", "blue")
    while (await server.look()).sessions == 0:
        await writer.drain()
    await node.switch.pause(old)
    left = await node.switch.drained(old, 0, 0.5)
    writer.close()
    assert "1 sessions of web/blue in HAProxy" in left


async def test_a_proxy_that_does_not_answer_refuses_the_step_and_the_old_one_serves_on(node: Node) -> None:
    old = await node.ready("v1")
    hidden = node.proxy.socket.with_name("hidden")
    node.proxy.socket.rename(hidden)
    with pytest.raises(Refused, match="expected HAProxy to answer"):
        await node.start("v2")
    assert body("v1") in await version_at(node.proxy.port)
    hidden.rename(node.proxy.socket)
    await node.retire(await node.ready("v3"))
    await node.switch.check(old)


async def test_a_proxy_that_falls_silent_while_it_starts_fails_the_step(node: Node) -> None:
    await node.ready("v1")
    fresh = await node.start("v2")
    node.proxy.socket.rename(node.proxy.socket.with_name("hidden"))
    with pytest.raises(NotReady, match="the proxy does not take it"):
        await node.switch.wait_ready(fresh, READY_S)
    await node.switch.kill(fresh)
    assert body("v1") in await version_at(node.proxy.port)


async def test_while_the_proxy_cannot_be_told_the_old_one_serves_on(node: Node) -> None:
    old, _ = await node.ready("v1"), await node.ready("v2")
    node.proxy.socket.rename(node.proxy.socket.with_name("hidden"))
    with pytest.raises(Unanswered):
        await node.switch.pause(old)
    left = await node.switch.drained(old, 0, 0.3)
    assert "is not out of the proxy" in left[-1]
    served = {await version_at(node.proxy.port) for _ in range(4)}
    assert any(body("v1") in answer for answer in served)
    assert any(body("v2") in answer for answer in served)


async def test_one_that_dies_is_taken_out(node: Node) -> None:
    await node.ready("v1")
    lost = await node.ready("v2")
    os.kill(lost.pid, signal.SIGKILL)
    await node.switch.exited(lost)
    assert await node.status("green") == "MAINT"
    assert body("v1") in await version_at(node.proxy.port)


async def test_a_third_instance_needs_a_third_server(node: Node) -> None:
    await node.ready("v1")
    await node.ready("v2")
    with pytest.raises(Refused, match="name one server more"):
        await node.start("v3")


async def test_the_next_executor_knows_who_has_which_server(node: Node) -> None:
    old = await node.ready("v1")
    node.die()
    assert await node.switch.adopt(old) is not None
    fresh = await node.ready("v2")
    await node.retire(old)
    assert await node.status("green") == "UP" or await node.status("green") == "no check"
    assert body("v2") in await version_at(node.proxy.port)
    await node.switch.check(fresh)


async def test_the_one_server_of_a_node_is_out_while_its_instance_is_replaced(single: Node) -> None:
    old = await single.ready("v1")
    async with MixedLoad(single.proxy.port) as load:
        await load.answered(3)
        await single.retire(old)
        assert await single.status("node-a") == "MAINT"
        with pytest.raises(Unanswered):
            await single.switch.check(old)
        await single.ready("v2")
        await load.answered(3)
    # The proxy has no other node here: its clients wait in its queue or are told 503, and none is cut.
    assert all("503" in failure for failure in load.seen.failures), load.seen.failures[:10]
    assert body("v2") in await version_at(single.proxy.port)


async def test_a_standby_gets_the_one_server_when_it_is_activated(single: Node) -> None:
    old = await single.ready("v1")
    fresh = await single.start("v2", standby=True)
    await single.switch.wait_ready(fresh, READY_S)
    assert body("v1") in await version_at(single.proxy.port)
    await single.retire(old)
    assert await single.status("node-a") == "MAINT"
    await single.switch.activate(fresh, READY_S)
    assert body("v2") in await version_at(single.proxy.port)
