"""The executor process against a real broker, real artifacts and real services, under load and under SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from bumpless.common.artifacts.build import PreviousTree, build_artifact
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import wire
from bumpless.common.contract.base import BatchId, Message, PlanHash, RolloutId, derive_id
from bumpless.common.contract.commands import ApplyComponent, InjectFault, RequestReport, StageComponent
from bumpless.common.contract.envelope import COMMAND_TYPE
from bumpless.common.contract.events import (
    MessageParked,
    MetricsSampled,
    NodeObserved,
    StepFinished,
    StepOutcome,
    StepProgressed,
    StepStaged,
)
from bumpless.common.contract.subjects import (
    ARTIFACT_BUCKET,
    Stream,
    progress_subjects,
    subject_for,
    subject_of,
)
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release import Run, Timing
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.topology import ensure_topology
from support.servers import NatsServer
from support.waiting import comes_true

M = TypeVar("M", bound=Message)
PROBE = Path(__file__).parents[1] / "drivers" / "probe.py"
PATIENCE_S = 20.0
TIMING = Timing(ready_timeout_s=10, soak_s=0.1, lame_duck_s=0.6, drain_timeout_s=5, warm_s=30)
NODE, COMPONENT = "node-a", "probe"


class Load:
    """Clients on kept and on fresh connections, none of which tries anything twice."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.versions: list[str] = []
        self.failures: list[str] = []
        self._answered = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._client(keep)) for keep in (True, True, True, False, False)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, version: str) -> None:
        """Return when a new answer comes from `version`."""
        start = len(self.versions)
        async with asyncio.timeout(PATIENCE_S):
            while version not in self.versions[start:]:
                self._answered.clear()
                await self._answered.wait()

    async def _client(self, keep: bool) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    while await self._ask(reader, writer) and keep:
                        pass
                finally:
                    writer.close()
            except (OSError, EOFError, ValueError) as error:
                self.failures.append(repr(error))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection may be used again."""
        writer.write(b"GET / HTTP/1.1\r\nHost: probe\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split()[0])
        self._answered.set()
        self.versions.append(json.loads(await reader.readexactly(length))["version"])
        return "connection: close" not in head


class Site:
    """One node, the keys, the artifacts, and a planner's pen."""

    def __init__(self, url: str, home: Path, connection: Connection) -> None:
        self.url, self.home, self.connection = url, home, connection
        self.release, self.deploy = SigningKey.generate(), SigningKey.generate()
        TrustStore.of(release=self.release.public, deploy=self.deploy.public).save(home / "trust.json")
        self.heard: list[Message] = []
        self._news = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    @property
    def component(self) -> Path:
        return self.home / "node" / "components" / COMPONENT

    # the executor process

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def damage(self, version: Target) -> None:
        """A file of a version that is here becomes another; the files are read-only."""
        file = self.component / "versions" / version.root.removeprefix("sha256:") / "data"
        file.chmod(0o644)
        file.write_bytes(b"a bad sector\n")
        file.chmod(0o444)

    async def second(self, folder: str) -> str:
        """Run another executor of the same name with its data in `folder`, to its end; what it says."""
        first, self._process = self._process, None
        self.start(HEARTBEAT_S="1", DATA_DIR=str(self.home / folder))
        second, self._process = self._process, first
        assert second is not None
        try:
            assert await asyncio.to_thread(second.wait, 60) == 1
        finally:
            second.kill()
        return (self.home / "executor.log").read_text()

    def environment(self, **more: str) -> dict[str, str]:
        """Of an executor of this node; `more` are settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BUMPLESS_")}
        env = {
            "NATS_URL": self.url,
            "NODE": NODE,
            "DATA_DIR": str(self.home / "node"),
            "TRUST": str(self.home / "trust.json"),
            "STOP_SERVICES_ON_EXIT": "true",
            "CATCH_UP_S": "5",
        } | more
        return kept | {"BUMPLESS_EXECUTOR_" + k: v for k, v in env.items()}

    def start(self, **more: str) -> None:
        self.run(("-m", "bumpless.executor.app"), self.environment(**more))

    def run(self, python: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int] = ()) -> int:
        """Start an executor in some other way, with these arguments of Python; its pid."""
        with open(self.home / "executor.log", "ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, *python), env=env, stderr=log, start_new_session=True, pass_fds=pass_fds
            )
        return self._process.pid

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            await asyncio.to_thread(process.wait, PATIENCE_S)

    # artifacts and commands

    async def publish(self, version: str, *previous: str, mode: str = "") -> Target:
        tree = self.home / "trees" / version
        tree.mkdir(parents=True)
        (tree / "main.py").write_bytes(PROBE.read_bytes())
        # Enough that a delta is worth it, alike in all versions.
        (tree / "data").write_bytes(b"".join(b"%d %s\n" % (i * i, b"x" * (i % 50)) for i in range(4000)))
        (tree / "version").write_text(version)
        run = Run(
            command=("python3", "main.py"),
            listen={"http": f"tcp://{{node.address}}:{self.port}"},
            env={"PROBE_MODE": mode, "WHERE": "{node.name}"},
            timing=TIMING,
            metrics_interval_s=0.5,
        )
        return await self.pack(tree, COMPONENT, version, run, *previous)

    async def pack(self, tree: Path, name: str, version: str, run: Run, *previous: str) -> Target:
        """What stands for this tree in a command, its packages stored."""
        built = await asyncio.to_thread(
            build_artifact,
            tree,
            name=name,
            version=version,
            previous=[PreviousTree(v, self.home / "trees" / v) for v in previous],
            out=self.home / "built" / version,
            key=self.release,
        )
        store = JetStreamBlobs(self.connection.js, ARTIFACT_BUCKET)
        for blob in built.blobs.iterdir():
            await store.put(blob)
        ref = await store.put(built.envelope)
        return Target.model_validate(
            {
                "component": name,
                "version": version,
                "root": built.artifact.root,
                "artifact": ref.digest,
                "artifact_size": ref.size,
                "run": run,
                "keep_metrics": ("http_requests",),
            }
        )

    def command(
        self, number: tuple[int, int], after: Target | None, before: Target | None = None, **more: object
    ) -> ApplyComponent:
        now = clock.now()
        given = {
            "id": derive_id("it", *map(str, number)),
            "at": now,
            "rollout": RolloutId("r1"),
            "batch": BatchId("b1"),
            "plan_hash": PlanHash("sha256:plan"),
            "direction": Direction.FORWARD,
            "generation": number[0],
            "sequence": number[1],
            "node": NODE,
            "component": COMPONENT,
            "target": after,
            "before": before,
            "expires_at": now + timedelta(minutes=5),
        }
        return ApplyComponent.model_validate(given | more)

    async def send(
        self, command: ApplyComponent | StageComponent, key: SigningKey | None = None, **more: str
    ) -> None:
        envelope = (key or self.deploy).sign(COMMAND_TYPE, wire.encode(command))
        await self.put(more.get("subject", subject_of(command)), envelope.to_bytes())

    async def put(self, subject: str, body: bytes) -> None:
        await self.connection.js.publish(subject, body, stream=Stream.CMD.value)

    async def apply(
        self, number: tuple[int, int], after: Target | None, before: Target | None = None, **more: object
    ) -> StepFinished:
        command = self.command(number, after, before, **more)
        await self.send(command)
        return await self.answer(command)

    # what is heard

    async def hear(self, received: Received) -> None:
        self.heard.append(wire.decode(received.data))
        self._news.set()

    async def wait(
        self, kind: type[M], fits: Callable[[M], bool] = lambda _: True, limit_s: float = PATIENCE_S
    ) -> M:
        """The first message of that kind that fits, heard already or still to come."""
        async with asyncio.timeout(limit_s):
            while True:
                for message in self.heard:
                    if isinstance(message, kind) and fits(message):
                        return message
                self._news.clear()
                await self._news.wait()

    async def answer(self, command: ApplyComponent, limit_s: float = PATIENCE_S) -> StepFinished:
        return await self.wait(StepFinished, lambda m: m.cause == command.id, limit_s)


@pytest_asyncio.fixture
async def site(nats_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    connection = await Connection.connect(nats_url, name="test")
    await ensure_topology(connection)
    found = Site(nats_url, tmp_path, connection)
    for kind in (StepFinished, StepStaged, NodeObserved, MessageParked, MetricsSampled):
        await connection.subscribe(subject_for(kind), found.hear)
    await connection.subscribe(progress_subjects(), found.hear)
    try:
        yield found
    except BaseException:
        print((tmp_path / "executor.log").read_text()[-9000:])
        raise
    finally:
        await found.stop()
        await connection.close()


async def test_install_stage_upgrade_and_revert_without_one_failed_request(site: Site) -> None:
    v1 = await site.publish("v1")
    v2 = await site.publish("v2", "v1")
    site.start()
    first = await site.apply((1, 1), v1)
    assert (first.outcome, first.root, first.version) == (StepOutcome.DONE, v1.root, "v1")
    async with Load(site.port) as load:
        await load.until("v1")
        fields = site.command((2, 1), v2).model_dump(exclude={"type"}) | {"batch": None}
        await site.send(StageComponent.model_validate(fields))
        staged = await site.wait(StepStaged)
        assert (staged.ok, staged.used) == (True, "delta")
        assert 0 < staged.bytes_fetched < staged.full_bytes
        assert load.versions[-1] == "v1"

        second = await site.apply((2, 2), v2, v1)
        assert (second.outcome, second.root, second.cut) == (StepOutcome.DONE, v2.root, ())
        assert second.switched_at is not None
        await load.until("v2")
        start = len(load.versions)
        await load.until("v2")
        assert "v1" not in load.versions[start:]

        sample = await site.wait(MetricsSampled, lambda m: m.version == "v2" and m.up)
        back = site.command((2, 3), v1, v2, direction=Direction.REVERT)
        sent = clock.now()
        await site.send(back)
        third = await site.answer(back)
        assert (third.outcome, third.root) == (StepOutcome.DONE, v1.root)
        assert third.switched_at is not None
        assert third.switched_at - sent < timedelta(seconds=1), "the warm instance was not used"
        await load.until("v1")
    assert load.failures == []
    assert len(load.versions) > 300
    assert len(list((site.component / "log").glob("*.log"))) == 2
    assert os.readlink(site.component / "current").endswith(v1.root.removeprefix("sha256:"))
    assert os.readlink(site.component / "previous").endswith(v2.root.removeprefix("sha256:"))
    observed = await site.wait(NodeObserved, lambda m: _state(m) == (2, 3, "serving"))
    assert observed.node.components[COMPONENT].root == v1.root
    assert any(s.startswith("release_info{") for s in sample.samples)
    assert {s.partition("{")[0] for s in sample.samples} <= {"release_info", "http_requests_total"}


async def test_what_is_not_signed_for_this_node_now_is_refused_and_the_old_version_serves(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1")
    site.start()
    assert (await site.apply((5, 1), v1)).outcome is StepOutcome.DONE
    command = site.command((6, 1), v2, v1)
    subject = subject_of(command)
    signed = site.deploy.sign(COMMAND_TYPE, wire.encode(command))
    tampered = signed.model_copy(update={"payload": wire.encode(site.command((7, 1), v2, v1))})
    async with Load(site.port) as load:
        await site.put(subject, wire.encode(command))
        await site.wait(MessageParked, lambda m: "signed envelope" in m.reason)
        await site.put(subject, signed.model_copy(update={"signatures": ()}).to_bytes())
        await site.wait(MessageParked, lambda m: "no signature" in m.reason)
        await site.put(subject, tampered.to_bytes())
        await site.wait(MessageParked, lambda m: "a valid signature" in m.reason)
        await site.send(command, site.release)
        await site.wait(MessageParked, lambda m: "of role release" in m.reason)
        await site.send(site.command((6, 2), v2, v1, node="node-b"), subject=subject)
        await site.wait(MessageParked, lambda m: "one for node-b" in m.reason)
        answered = [m for m in site.heard if isinstance(m, StepFinished)]
        assert len(answered) == 1, "an unsigned message was answered"

        expired = site.command((6, 3), v2, v1, expires_at=clock.now() - timedelta(seconds=1))
        await site.send(expired)
        refused = await site.answer(expired)
        assert (refused.outcome, refused.root) == (StepOutcome.REFUSED, v1.root)
        assert "expired" in (refused.reason or "")
        wrong = await site.apply((6, 4), v2, v2.model_copy(update={"root": "sha256:" + "0" * 64}))
        assert wrong.outcome is StepOutcome.REFUSED

        await site.send(site.command((5, 9), v2, v1))
        await site.connection.publish(RequestReport(id=clock.fresh_id(), at=clock.now()), source="test")
        already = await site.apply((6, 5), v1, v2)
        assert already.outcome is StepOutcome.ALREADY
        await load.until("v1")
    assert load.failures == []
    assert set(load.versions) == {"v1"}
    assert not any(isinstance(m, StepFinished) and m.generation == 5 and m.sequence == 9 for m in site.heard)


async def test_an_artifact_that_the_release_key_did_not_describe_so_is_not_run(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2")
    site.start()
    await site.apply((1, 1), v1)
    mixed = v2.model_copy(update={"artifact": v1.artifact, "artifact_size": v1.artifact_size})
    failed = await site.apply((2, 1), mixed, v1)
    assert (failed.outcome, failed.root) == (StepOutcome.FAILED, v1.root)
    assert "to describe probe" in (failed.reason or "")


async def test_a_base_that_is_not_what_it_was_falls_back_to_the_full_package(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1")
    site.start()
    await site.apply((1, 1), v1)
    site.damage(v1)
    fields = site.command((2, 1), v2).model_dump(exclude={"type"}) | {"batch": None}
    await site.send(StageComponent.model_validate(fields))
    staged = await site.wait(StepStaged)
    assert (staged.ok, staged.used) == (True, "full")
    assert "WrongBase" in (staged.reason or "")
    assert (await site.apply((2, 2), v2, v1)).outcome is StepOutcome.DONE


async def test_a_version_that_does_not_start_leaves_the_old_one_serving(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", mode="dies-early")
    site.start()
    await site.apply((1, 1), v1)
    async with Load(site.port) as load:
        failed = await site.apply((2, 1), v2, v1)
        await load.until("v1")
    assert (failed.outcome, failed.root) == (StepOutcome.FAILED, v1.root)
    assert "no database, no service" in (failed.reason or "")
    assert load.failures == []


@pytest.mark.parametrize("state", ["staging", "starting", "switching", "draining"])
async def test_sigkill_in_the_middle_is_resumed_and_nothing_is_done_twice(site: Site, state: str) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1")
    site.start()
    await site.apply((1, 1), v1)
    async with Load(site.port) as load:
        command = site.command((2, 1), v2, v1)
        await site.send(command)
        await site.wait(StepProgressed, lambda m: m.cause == command.id and m.state == state)
        await site.stop(signal.SIGKILL)
        await load.until(load.versions[-1])
        site.start()
        done = await site.answer(command)
        await load.until("v2")
    assert (done.outcome, done.root) == (StepOutcome.DONE, v2.root)
    assert load.failures == []
    assert {m.id for m in site.heard if isinstance(m, StepFinished) and m.cause == command.id} == {done.id}
    if state in ("switching", "draining"):
        logs = len(list((site.component / "log").glob("*.log")))
        assert logs == 2, "the new version was started twice"
    assert alive(site) == 2, "one serves, one is warm"


async def test_a_way_back_from_the_soak_is_answered_once_the_new_version_has_ended(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1", mode="will-not-drain")
    soaks = v2.run.model_copy(update={"timing": TIMING.model_copy(update={"soak_s": 120})})
    v2 = v2.model_copy(update={"run": soaks})
    site.start()
    await site.apply((1, 1), v1)
    async with Load(site.port) as load:
        forward, back = site.command((2, 1), v2, v1), site.command((2, 2), v1, v2, direction=Direction.REVERT)
        await site.send(forward)
        await load.until("v2")
        await site.send(back)
        assert (await site.answer(forward)).outcome is StepOutcome.FAILED
        await site.stop(signal.SIGKILL)
        site.start()
        assert (await site.answer(back, 60)).outcome is StepOutcome.ALREADY
        assert alive(site) == 1, "v2 is at work after all"
        await load.until("v1")
    assert load.failures == []


async def test_the_executor_may_be_stopped_and_started_while_its_services_serve(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1")
    site.start(STOP_SERVICES_ON_EXIT="false")
    await site.apply((1, 1), v1)
    async with Load(site.port) as load:
        await load.until("v1")
        await site.stop()
        await load.until("v1")
        site.start()
        assert (await site.apply((2, 1), v2, v1)).outcome is StepOutcome.DONE
        await load.until("v2")
    assert load.failures == []
    await site.stop()
    assert alive(site) == 0, "stop_services_on_exit was set at the second start"


async def test_a_command_sent_before_the_start_is_read_as_the_standing_one(site: Site) -> None:
    v1 = await site.publish("v1")
    command = site.command((1, 1), v1)
    await site.send(command)
    site.start()
    assert (await site.answer(command)).outcome is StepOutcome.DONE, "the standing command was not read"


async def test_a_drill_strikes_once_and_the_old_version_serves(site: Site) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1")
    site.start(DRILLS="true")
    await site.apply((1, 1), v1)
    fault = InjectFault(
        id=clock.fresh_id(), at=clock.now(), node=NODE, component=COMPONENT, fault="fail-switch", by="test"
    )
    await site.connection.publish(fault, source="test")
    async with Load(site.port) as load:
        failed = await site.apply((2, 1), v2, v1)
        await load.until("v1")
        assert (failed.outcome, failed.root) == (StepOutcome.FAILED, v1.root)
        assert (await site.apply((2, 2), v2, v1)).outcome is StepOutcome.DONE


def _state(observed: NodeObserved) -> tuple[int, int, str] | None:
    found = observed.node.components.get(COMPONENT)
    return (found.generation, found.sequence, found.state.value) if found else None


def alive(site: Site) -> int:
    """Processes of this node's component."""
    prefix = f"BUMPLESS_STATE_DIR={site.component}".encode()
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found += prefix in (process / "environ").read_bytes()
    return found


async def test_without_a_broker_what_ran_before_is_brought_up_and_the_broker_is_joined_later(
    site: Site, nats_server: NatsServer
) -> None:
    v1, v2 = await site.publish("v1"), await site.publish("v2", "v1")
    site.start()
    await site.apply((1, 1), v1)
    await site.stop()  # and its services with it
    await asyncio.to_thread(nats_server.stop)
    site.start()
    async with Load(site.port) as load:
        await load.until("v1")
    await asyncio.to_thread(nats_server.start)
    await comes_true(lambda: site.connection.nc.is_connected, "the test itself to be connected")
    second = await site.apply((2, 1), v2, v1)
    assert (second.outcome, second.root) == (StepOutcome.DONE, v2.root)


async def test_a_second_executor_for_the_node_is_refused_with_the_first_one_named(site: Site) -> None:
    site.start(HEARTBEAT_S="1")
    observed = await site.wait(NodeObserved)
    assert observed.node.executor.startswith(f"pid {site.pid} on ")
    same_place = await site.second("node")
    assert f"expected no other executor in {site.home / 'node'}" in same_place
    assert f"found the one of node {NODE}: pid {site.pid} on " in same_place
    elsewhere = await site.second("other")
    assert f"expected no other executor for node {NODE}, found pid {site.pid} on " in elsewhere
    assert str(site.home / "node") in elsewhere
    # The first one goes on, and is no rival of itself.
    await site.stop()
    seen = len(site.heard)
    site.start(HEARTBEAT_S="1")
    await site.wait(NodeObserved, lambda m: m in site.heard[seen:])
