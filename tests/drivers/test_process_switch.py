"""The conformance suite of `ProcessSwitch`: the same questions to the real driver and to the fake."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from bumpless.cli.embedded import free_port
from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.common.model.hooks import HaproxyServers, Proxy, SwitchHooks
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Driver, Run, Timing
from bumpless.executor.drivers.hooks.switch import HooksSwitch
from bumpless.executor.drivers.native import NativeSwitch
from bumpless.executor.drivers.proxied import ProxiedSwitch
from bumpless.executor.drivers.systemd.switch import SystemdSwitch
from bumpless.executor.ports import Launch, NotReady, ProcessSwitch, Unanswered
from bumpless.executor.record import Instance
from bumpless.service.handover import Handover, HandoverError, read_handover, write_handover
from drivers import hooked_probe_ask
from drivers.fake_switch import FakeSwitch, World
from support.haproxy import Haproxy

PROBE = Path(__file__).with_name("probe.py")
HOOKED = Path(__file__).with_name("hooked_probe.py")
DEADLINE_S = 15.0


class Bench:
    """One node's switch, which can die and be replaced, as the executor can."""

    def __init__(self, kind: str, home: Path) -> None:
        self.kind, self.home = kind, home
        self.world = World()
        self.proxy = Haproxy({name: free_port() for name in ("blue", "green")}) if kind == "proxied" else None
        self.port = self.proxy.port if self.proxy else free_port()
        self.switch: ProcessSwitch = self._new()
        self.started: list[Instance] = []
        for name in ("versions", "state", "log"):
            (home / "components" / "probe" / name).mkdir(parents=True)

    def _new(self) -> ProcessSwitch:
        if self.kind == "fake":
            return FakeSwitch(self.world)
        if self.kind == "systemd":
            return SystemdSwitch("node-a", self.home / "components")
        if self.kind == "hooks":
            return HooksSwitch("node-a", self.home / "run", self.home / "components")
        native = NativeSwitch("node-a", self.home / "run", self.home / "components")
        return ProxiedSwitch(native, "node-a") if self.kind == "proxied" else native

    def die(self) -> None:
        """The owner is gone; the next one knows nothing but what was written down."""
        self.switch.close()
        self.switch = self._new()

    def target(self, version: str, mode: str = "", *, http: bool = True, overlap: bool = True) -> Target:
        hooked = self.kind == "hooks"
        run = Run(
            driver=Driver.HOOKS if hooked else Driver.NATIVE,
            switch_hooks=SwitchHooks.model_validate(hooked_probe_ask.hooks()) if hooked else None,
            command=("python3", str(HOOKED)) if hooked else ("python3", str(PROBE)),
            overlap=overlap,
            listen={"http": f"tcp://127.0.0.1:{self.port}"} if http else {},
            env={"PROBE_MODE": mode, "PROBE_HTTP": "1" if http else "0"},
            timing=Timing(ready_timeout_s=10, lame_duck_s=0.2, drain_timeout_s=0.4),
            proxy=self._proxy() if http else None,
        )
        digest = Digest("sha256:" + version.encode().hex().ljust(64, "0"))
        return Target(
            component="probe", version=version, root=digest, artifact=digest, artifact_size=1, run=run
        )

    def _proxy(self) -> Proxy | None:
        if self.proxy is None:
            return None
        servers = {name: f"tcp://127.0.0.1:{port}" for name, port in self.proxy.servers.items()}
        found = HaproxyServers(socket=str(self.proxy.socket), backend="web", servers=servers)
        return Proxy(haproxy=found)

    async def start(
        self, version: str, mode: str = "", *, http: bool = True, standby: bool = False
    ) -> Instance:
        """A `standby` is of a component that must not run twice."""
        target = self.target(version, mode, http=http, overlap=not standby)
        listeners = await self.switch.listen("probe", target.run)
        home = self.home / "components" / "probe"
        name = f"{version}-{len(self.started)}"
        instance = Instance(id=name, target=target, listeners=listeners, standby=standby)
        handover = self.handover if standby else None
        launch = Launch("probe", instance, home / "versions", home / "state", home / "log", handover)
        started = await self.switch.start(launch)
        self.started.append(started)
        return started

    async def ready(
        self, version: str, mode: str = "", *, http: bool = True, standby: bool = False
    ) -> Instance:
        instance = await self.start(version, mode, http=http, standby=standby)
        await self.switch.wait_ready(instance, DEADLINE_S)
        return instance

    @property
    def handover(self) -> Path:
        return self.home / "components" / "probe" / "state" / "handover"

    async def accepts(self) -> bool:
        """Whether anybody answers a new connection soon; one that waits in the backlog is given up."""
        if self.kind == "fake":
            return bool(self.world.serving())
        with contextlib.suppress(TimeoutError, aiohttp.ClientError):
            timeout = aiohttp.ClientTimeout(total=0.3)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"http://127.0.0.1:{self.port}/"),
            ):
                return True
        return False

    async def answers(self) -> set[str]:
        """The versions that take new connections."""
        if self.kind == "fake":
            return {p.instance.target.version for p in self.world.serving()}
        found = set()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            for _ in range(40):
                async with session.get(f"http://127.0.0.1:{self.port}/") as reply:
                    found.add((await reply.json())["version"])
        return found


@pytest.fixture(
    params=["native", "hooks", "proxied", "fake", pytest.param("systemd", marks=pytest.mark.booted)]
)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    # Longer than a socket address can be: nothing may depend on a short data directory.
    home = tmp_path / ("d" * 60) / ("e" * 60)
    home.mkdir(parents=True)
    made = Bench(request.param, home)
    async with asyncio.timeout(60):
        with made.proxy or contextlib.nullcontext():
            yield made
            await asyncio.gather(*(made.switch.kill(i) for i in made.started))
            await made.switch.reap(())
            made.die()


async def test_ready_instance_takes_traffic_and_says_how_it_is(bench: Bench) -> None:
    instance = await bench.ready("v1")
    await bench.switch.check(instance)
    assert await bench.answers() == {"v1"}
    assert "release_info" in await bench.switch.scrape(instance)
    assert instance.pid > 0


async def test_an_instance_that_never_gets_ready_is_refused_at_the_deadline(bench: Bench) -> None:
    instance = await bench.start("v1", "never-ready")
    with pytest.raises(NotReady, match=r"within 0\.7 s"):
        await bench.switch.wait_ready(instance, 0.7)


async def test_an_early_death_is_told_with_its_last_words_before_the_deadline(bench: Bench) -> None:
    instance = await bench.start("v1", "dies-early")
    with pytest.raises(NotReady, match=r"status 9.*no database, no service"):
        await bench.switch.wait_ready(instance, DEADLINE_S)


async def test_a_death_after_ready_is_noticed_and_the_other_one_serves(bench: Bench) -> None:
    await bench.ready("v1")
    instance = await bench.ready("v2", "dies-after-ready")
    end = await asyncio.wait_for(bench.switch.exited(instance), DEADLINE_S)
    assert "status 3" in end.reason
    assert await bench.answers() == {"v1"}
    with pytest.raises(Unanswered):
        await bench.switch.check(instance)


async def test_pausing_the_old_one_moves_all_new_work_to_the_new_one(bench: Bench) -> None:
    old, _ = await bench.ready("v1"), await bench.ready("v2")
    await bench.switch.pause(old)
    assert await bench.answers() == {"v2"}
    assert await bench.switch.drained(old, 0.2, 5) == ()
    await bench.switch.stop(old, 5)
    assert await bench.answers() == {"v2"}


async def test_what_does_not_drain_is_named_at_the_deadline(bench: Bench) -> None:
    old = await bench.ready("v1", "will-not-drain")
    await bench.switch.pause(old)
    assert await bench.switch.drained(old, 0.1, 0.4) == ("1 messages unacknowledged",)
    await bench.switch.stop(old, 0.3)
    await asyncio.wait_for(bench.switch.exited(old), DEADLINE_S)


async def test_a_warm_instance_takes_over_again(bench: Bench) -> None:
    old, new = await bench.ready("v1"), await bench.ready("v2")
    await bench.switch.pause(old)
    await bench.switch.resume(old)
    await bench.switch.pause(new)
    assert await bench.answers() == {"v1"}


async def test_a_stopped_version_can_be_started_again(bench: Bench) -> None:
    old, new = await bench.ready("v1"), await bench.ready("v2")
    await bench.switch.pause(old)
    await bench.switch.stop(old, 5)
    await bench.ready("v1")
    await bench.switch.pause(new)
    assert await bench.answers() == {"v1"}


async def test_a_queue_worker_needs_no_listener(bench: Bench) -> None:
    old = await bench.ready("v1", http=False)
    new = await bench.ready("v2", http=False)
    await bench.switch.pause(old)
    assert await bench.switch.drained(old, 5, 5) == ()
    await bench.switch.stop(old, 5)
    await bench.switch.check(new)


async def test_the_next_owner_takes_over_what_lives_and_its_sockets(bench: Bench) -> None:
    instance = await bench.ready("v1")
    listener = instance.listeners[0]
    bench.die()
    adopted = await bench.switch.adopt(instance)
    assert adopted is not None
    assert adopted.pid == instance.pid
    if bench.proxy is None:  # behind a proxy every instance has a socket of its own
        assert await bench.switch.listen("probe", instance.target.run) == (listener,)
    await bench.ready("v2")
    await bench.switch.pause(adopted)
    assert await bench.answers() == {"v2"}
    await bench.switch.stop(adopted, 5)
    assert (await bench.switch.exited(adopted)).reason


async def test_the_next_owner_can_wait_for_what_was_still_starting(bench: Bench) -> None:
    instance = await bench.start("v1")
    bench.die()
    adopted = await bench.switch.adopt(instance)
    assert adopted is not None
    await bench.switch.wait_ready(adopted, DEADLINE_S)
    assert await bench.answers() == {"v1"}


async def test_a_process_whose_pid_was_never_written_down_is_found_by_its_name(bench: Bench) -> None:
    instance = await bench.ready("v1")
    bench.die()
    adopted = await bench.switch.adopt(instance.model_copy(update={"pid": 0, "started_ticks": 0}))
    assert adopted is not None
    assert adopted.pid == instance.pid


async def test_the_dead_and_the_reused_pid_are_not_adopted(bench: Bench) -> None:
    instance = await bench.ready("v1")
    bench.die()
    another = instance.model_copy(update={"started_ticks": instance.started_ticks + 1})
    assert await bench.switch.adopt(another) is None
    assert await bench.switch.adopt(instance) is not None
    await bench.switch.kill(instance)
    await bench.switch.exited(instance)
    bench.die()
    assert await bench.switch.adopt(instance) is None


async def test_unknown_processes_are_reaped_and_known_ones_are_not(bench: Bench) -> None:
    kept, lost = await bench.ready("v1"), await bench.ready("v2")
    bench.die()
    assert await bench.switch.adopt(kept) is not None
    assert await bench.switch.reap([kept.id]) == (lost.id,)
    assert await bench.answers() == {"v1"}


EXCLUSIVE = pytest.mark.parametrize(
    "bench", ["native", "fake", pytest.param("systemd", marks=pytest.mark.booted)], indirect=True
)
"""A standby keeps the service contract, so a release refuses it with hooks. Behind a proxy: `test_proxied.py`."""


@EXCLUSIVE
async def test_a_standby_is_ready_and_takes_nothing_until_it_is_activated(bench: Bench) -> None:
    standby = await bench.ready("v1", standby=True)
    await bench.switch.check(standby)
    assert not await bench.accepts()
    assert await bench.switch.activate(standby, DEADLINE_S) == "nothing was left"
    assert await bench.answers() == {"v1"}
    await bench.switch.activate(standby, DEADLINE_S)
    assert await bench.answers() == {"v1"}


@EXCLUSIVE
async def test_the_state_goes_from_one_to_the_next_and_back(bench: Bench) -> None:
    old, new = await bench.ready("v1", standby=True), await bench.ready("v2", standby=True)
    await bench.switch.activate(old, DEADLINE_S)
    for one, other in ((old, new), (new, await bench.ready("v1", standby=True))):
        await bench.switch.pause(one)
        await bench.switch.stop(one, DEADLINE_S)
        await asyncio.wait_for(bench.switch.exited(one), DEADLINE_S)
        assert await bench.switch.activate(other, DEADLINE_S) == f"taken from {one.id}"
    assert await bench.answers() == {"v1"}
    left = read_handover(bench.handover, "probe")
    assert left is not None
    assert (left.state, left.instance) == (b"v1 v2", new.id)


@EXCLUSIVE
async def test_a_standby_that_is_stopped_leaves_the_state_of_its_predecessor(bench: Bench) -> None:
    write_handover(bench.handover, "probe", Handover(b"v0", "v0", "somebody"))
    standby = await bench.ready("v1", standby=True)
    await bench.switch.stop(standby, DEADLINE_S)
    left = read_handover(bench.handover, "probe")
    assert left is not None
    assert left.instance == "somebody"


@EXCLUSIVE
async def test_a_damaged_state_is_told_and_a_refused_one_fails_the_activation(bench: Bench) -> None:
    bench.handover.write_bytes(b"rubbish")
    with pytest.raises(HandoverError):
        read_handover(bench.handover, "probe")
    standby = await bench.ready("v1", standby=True)
    assert (await bench.switch.activate(standby, DEADLINE_S)).startswith("not read: expected a line")
    await bench.switch.stop(standby, DEADLINE_S)
    refusing = await bench.ready("v2", "refuses-state", standby=True)
    with pytest.raises(Unanswered, match=r"found 500.*no such state"):
        await bench.switch.activate(refusing, DEADLINE_S)
    assert not await bench.accepts()


@EXCLUSIVE
async def test_the_next_owner_waits_for_a_standby_and_activates_it(bench: Bench) -> None:
    standby = await bench.start("v1", standby=True)
    bench.die()
    adopted = await bench.switch.adopt(standby)
    assert adopted is not None
    await bench.switch.wait_ready(adopted, DEADLINE_S)
    assert not await bench.accepts()
    await bench.switch.activate(adopted, DEADLINE_S)
    assert await bench.answers() == {"v1"}


@EXCLUSIVE
async def test_a_socket_that_only_an_unknown_process_holds_is_taken_before_that_is_ended(
    bench: Bench,
) -> None:
    lost = await bench.ready("v1", standby=True)
    bench.die()
    assert await bench.switch.reap(()) == (lost.id,)
    assert await bench.switch.listen("probe", lost.target.run) == lost.listeners


def _native(home: Path) -> NativeSwitch:
    return NativeSwitch("node-a", home / "run", home / "components")


def _at(address: str) -> Run:
    return Run(command=("true",), listen={"http": address})


async def test_an_address_somebody_else_holds_is_refused_with_what_to_do(tmp_path: Path) -> None:
    switch = _native(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Refused, match="to be free on this node"):
            await switch.listen("probe", _at(address))
    switch.close()


async def test_shared_sockets_are_as_measured(tmp_path: Path) -> None:
    """High descriptor, closed on exec, no delay: each one was a measured trap."""
    switch = _native(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await switch.listen("probe", _at(f"tcp://127.0.0.1:{port}"))
    (held,) = switch._listeners._held.values()
    assert held.fileno() >= 64
    assert not held.get_inheritable()
    assert held.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    switch.close()


async def test_instances_that_start_at_the_same_moment_share_what_is_bound(tmp_path: Path) -> None:
    """After a reboot in the middle of a step the version before and the new one both start."""
    switch = _native(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = _at(f"tcp://127.0.0.1:{port}")
    first, second = await asyncio.gather(switch.listen("probe", run), switch.listen("probe", run))
    assert first == second
    switch.close()


async def test_a_socket_nobody_needs_any_more_refuses_and_does_not_queue(tmp_path: Path) -> None:
    switch = _native(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await switch.listen("probe", _at(f"tcp://127.0.0.1:{port}"))
    (await asyncio.open_connection("127.0.0.1", port))[1].close()
    await switch.keep_only("probe", ())
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    switch.close()


async def test_a_unix_listener_of_any_length_replaces_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / ("s" * 100) / "service.sock"
    for _ in range(2):
        switch = _native(tmp_path)
        await switch.listen("probe", _at(f"unix://{path}"))
        assert path.is_socket()
        switch.close()
