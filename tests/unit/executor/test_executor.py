"""The whole executor over fakes of its three ports: what the world does to it, and what it says."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from bumpless.common.artifacts.errors import BlobMissing
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.contract import wire
from bumpless.common.contract.base import Digest, Message
from bumpless.common.contract.commands import NodeCommand
from bumpless.common.contract.envelope import COMMAND_TYPE
from bumpless.common.contract.events import (
    MetricsSampled,
    NodeObserved,
    StepFinished,
    StepOutcome,
    StepStaged,
)
from bumpless.common.contract.stage_check import StageCheck
from bumpless.common.contract.subjects import subject_of
from bumpless.common.errors import Refused, Retryable
from bumpless.common.model.fleet import ComponentState
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release import Keep
from bumpless.common.shell.broker import Received
from bumpless.executor.executor import Executor, NodeConfig
from bumpless.executor.layout import Layout
from bumpless.executor.ports import StagedTree
from drivers.fake_switch import FakeSwitch, World
from support.waiting import comes_true
from unit.executor.making import T0, apply, stage, target

M = TypeVar("M", bound=Message)
PATIENCE_S = 60.0
KEY = SigningKey.generate()


class FakeReports:
    """`ports.Reports` over a list. `away`: nobody acknowledges."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.away = False
        self._news = asyncio.Event()

    async def publish(self, message: Message) -> None:
        if self.away:
            raise Retryable("broker is away", after_s=0.01)
        self.heard.append(message)
        self._news.set()

    async def wait(self, kind: type[M], fits: Callable[[M], bool] = lambda _: True) -> M:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for message in self.heard:
                    if isinstance(message, kind) and fits(message):
                        return message
                self._news.clear()
                await self._news.wait()


class FakeSource:
    """`ports.ArtifactSource` that makes empty trees. `errors` are raised first; `gate` holds every staging."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.differs: dict[Digest, tuple[str, ...]] = {}
        self.checked: list[tuple[str, Layout | None, frozenset[Digest]]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def stage(self, target: Target, layout: Layout, in_use: frozenset[Digest]) -> StagedTree:
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        layout.version(target.root).mkdir(exist_ok=True)
        return StagedTree("full", 10, 10)

    async def changed(self, root: Digest, layout: Layout) -> tuple[str, ...]:
        return self.differs.pop(root, ())

    async def check(self, wanted: StageCheck, layout: Layout | None, in_use: frozenset[Digest]) -> StagedTree:
        if self.errors:
            raise self.errors.pop(0)
        self.checked.append((wanted.component, layout, in_use))
        return StagedTree("delta", 3, 10, "a note")


class Rig:
    """A node with its executor, which can be killed and started again over the same world and disk."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.world, self.reports, self.source = World(), FakeReports(), FakeSource()
        self.executor = self._new()

    def _new(self) -> Executor:
        config = NodeConfig(node="node-a", address="10.0.0.1", data_dir=self.home, heartbeat_s=5)
        trust = TrustStore.of(deploy=KEY.public)
        return Executor(config, trust, FakeSwitch(self.world), self.source, self.reports, lambda: T0)

    async def restart(self) -> None:
        await self.executor.close()
        self.executor = self._new()
        await self.executor.start()

    async def send(self, command: NodeCommand) -> None:
        body = KEY.sign(COMMAND_TYPE, wire.encode(command)).to_bytes()
        await self.executor.take(Received(subject=subject_of(command), data=body))

    async def apply(self, command: NodeCommand) -> StepFinished:
        await self.send(command)
        return await self.reports.wait(StepFinished, lambda m: m.cause == command.id)

    async def until(self, state: ComponentState) -> None:
        await self.reports.wait(NodeObserved, lambda m: _states(m) == {state})

    def serving(self) -> set[str]:
        return {p.instance.target.version for p in self.world.serving()}


def _states(message: NodeObserved) -> set[ComponentState]:
    return {c.state for c in message.node.components.values()}


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    found = Rig(tmp_path)
    await found.executor.start()
    yield found
    await found.executor.close(stop_services=True)


V1, V2 = target("v1"), target("v2")


async def test_a_full_disk_fails_the_step_and_the_old_version_serves(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    rig.source.errors = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]
    failed = await rig.apply(apply((2, 1), V2, V1))
    assert (failed.outcome, failed.root) == (StepOutcome.FAILED, V1.root)
    assert "No space left" in (failed.reason or "")
    assert rig.serving() == {"v1"}
    assert (await rig.apply(apply((2, 2), V2, V1))).outcome is StepOutcome.DONE


async def test_links_that_cannot_be_moved_fail_the_step_and_the_old_version_serves(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    in_the_way = rig.home / "components/api/previous"
    in_the_way.mkdir()
    failed = await rig.apply(apply((2, 1), V2, V1))
    assert (failed.outcome, failed.root) == (StepOutcome.FAILED, V1.root)
    assert "the links could not be moved" in (failed.reason or "")
    assert rig.serving() == {"v1"}
    in_the_way.rmdir()
    assert (await rig.apply(apply((2, 2), V2, V1))).outcome is StepOutcome.DONE
    assert (rig.home / "components/api/current").readlink().name == V2.root.removeprefix("sha256:")


async def test_too_little_room_is_a_staged_answer_of_no(rig: Rig) -> None:
    rig.source.errors = [Refused("5 bytes free", "3", "make room")]
    command = stage((1, 1), V1)
    await rig.send(command)
    staged = await rig.reports.wait(StepStaged)
    assert (staged.ok, staged.reason) == (False, "expected 5 bytes free, found 3; make room")


def check_of(target: Target) -> StageCheck:
    return StageCheck(
        component=target.component,
        root=target.root,
        artifact=target.artifact,
        artifact_size=target.artifact_size,
        timeout_s=60,
    )


async def test_a_check_answers_and_leaves_the_record_as_it_was(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    record, journal = rig.executor.record("api"), (rig.home / "components/api/journal.json").read_bytes()
    answer = await rig.executor.check(check_of(V2))
    assert (answer.ready, answer.used, answer.bytes_fetched, answer.full_bytes) == (True, "delta", 3, 10)
    assert (answer.reason, answer.free_bytes > 0) == ("a note", True)
    [(component, layout, in_use)] = rig.source.checked
    assert (component, in_use) == ("api", {V1.root})
    assert layout is not None
    assert layout.home == rig.home / "components/api"
    assert rig.executor.record("api") is record
    assert (rig.home / "components/api/journal.json").read_bytes() == journal


async def test_a_check_of_a_component_that_was_never_here_does_not_make_it_known(rig: Rig) -> None:
    assert (await rig.executor.check(check_of(V1))).ready
    assert rig.source.checked == [("api", None, frozenset())]
    assert rig.executor.observe().components == {}
    assert list((rig.home / "components").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refused("5 bytes free", "3", "make room"), "expected 5 bytes free, found 3; make room"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "[Errno 28] No space left on device"),
        (BlobMissing("sha256:0", "the store"), "expected blob sha256:0 in the store, found nothing"),
    ],
)
async def test_a_check_that_fails_says_why(rig: Rig, error: Exception, reason: str) -> None:
    rig.source.errors = [error]
    answer = await rig.executor.check(check_of(V1))
    assert (answer.ready, answer.used) == (False, None)
    assert (answer.reason or "").startswith(reason)


async def test_what_a_killed_check_left_is_gone_after_the_start(rig: Rig) -> None:
    left = rig.home / "checks" / "1" / "tree"
    left.mkdir(parents=True)
    (left / "file").write_text("half a tree")
    await rig.restart()
    assert not (rig.home / "checks").exists()


@pytest.mark.parametrize("mode", ["never-ready", "dies-early", "dies-after-ready"])
async def test_a_version_that_does_not_come_up_leaves_the_old_one_alone(rig: Rig, mode: str) -> None:
    await rig.apply(apply((1, 1), V1))
    failed = await rig.apply(apply((2, 1), target("v2", mode=mode), V1))
    assert (failed.outcome, failed.root) == (StepOutcome.FAILED, V1.root)
    assert rig.serving() == {"v1"}
    assert ("pause", "v1") not in rig.world.log


async def test_results_wait_for_the_broker_and_survive_a_restart(rig: Rig) -> None:
    rig.reports.away = True
    command = apply((1, 1), V1)
    await rig.send(command)
    await comes_true(lambda: rig.executor.unreported, "the result to wait for the broker")
    await rig.restart()
    rig.reports.away = False
    assert (await rig.reports.wait(StepFinished)).cause == command.id
    assert rig.world.log.count(("start", "v1")) == 1


async def test_what_a_result_says_is_in_the_inventory_already(rig: Rig) -> None:
    """Who plans the next release as soon as a rollout has ended plans from what runs now."""
    for command, version in ((apply((1, 1), V1), V1), (apply((2, 1), V2, V1), V2)):
        done = await rig.apply(command)
        before = rig.reports.heard[: rig.reports.heard.index(done)]
        observed = [message for message in before if isinstance(message, NodeObserved)][-1]
        assert observed.node.components[command.component].root == version.root


async def test_a_revert_during_staging_does_not_wait_for_the_download(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    rig.source.gate.clear()
    forward = apply((2, 1), V2, V1)
    await rig.send(forward)
    await rig.until(ComponentState.STAGING)
    back = await rig.apply(apply((2, 2), V1, V2, direction=Direction.REVERT))
    assert back.outcome is StepOutcome.ALREADY
    given_up = await rig.reports.wait(StepFinished, lambda m: m.cause == forward.id)
    assert (given_up.outcome, "superseded" in (given_up.reason or "")) == (StepOutcome.FAILED, True)


async def test_what_does_not_drain_is_reported_as_cut(rig: Rig) -> None:
    stubborn = target("v1", mode="will-not-drain")
    await rig.apply(apply((1, 1), stubborn))
    done = await rig.apply(apply((2, 1), V2, stubborn))
    assert (done.outcome, done.cut) == (StepOutcome.DONE, ("1 messages unacknowledged",))


async def test_components_do_not_wait_for_each_other(rig: Rig) -> None:
    rig.source.gate.clear()
    await rig.send(apply((1, 1), V1))
    web = apply((1, 1), None, component="web")
    assert (await rig.apply(web)).outcome is StepOutcome.ALREADY
    rig.source.gate.set()
    await rig.reports.wait(StepFinished, lambda m: m.component == "api")


async def test_a_crashed_service_is_started_again_and_said_so(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    (process,) = rig.world.serving()
    process.end("was killed by SIGSEGV")
    seen = await rig.reports.wait(
        NodeObserved, lambda m: any(c.restarts == 1 and c.instances == 1 for c in m.node.components.values())
    )
    assert "SIGSEGV" in (seen.node.components["api"].reason or "")
    assert rig.serving() == {"v1"}


async def test_after_a_reboot_what_should_run_runs(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    await rig.executor.close()
    for process in rig.world.processes.values():
        process.end("power cut")
    rig.reports.heard.clear()
    rig.executor = rig._new()
    await rig.executor.start()
    await rig.reports.wait(NodeObserved, lambda m: any(c.instances for c in m.node.components.values()))
    assert rig.serving() == {"v1"}


async def test_processes_no_journal_knows_are_ended_at_the_start(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    await rig.executor.close()
    (rig.home / "components" / "api" / "journal.json").unlink()
    rig.executor = rig._new()
    await rig.executor.start()
    assert rig.serving() == set()


async def test_an_instance_that_does_not_answer_is_sampled_as_down(rig: Rig) -> None:
    silent = target("v1", mode="no-metrics", metrics_interval_s=0.02)
    await rig.apply(apply((1, 1), silent))
    first = await rig.reports.wait(MetricsSampled, lambda m: m.sequence == 2)
    assert (first.up, first.samples) == (False, {})
    await rig.apply(apply((2, 1), target("v2", metrics_interval_s=0.02), silent))
    second = await rig.reports.wait(MetricsSampled, lambda m: m.version == "v2")
    assert (second.up, second.sequence, len(second.samples)) == (True, 1, 1)


async def test_one_data_directory_has_one_executor(rig: Rig) -> None:
    other = rig._new()
    with pytest.raises(Refused, match="the one of node node-a: pid"):
        await other.start()


async def test_removal_leaves_nothing_running_and_can_be_taken_back(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    gone = await rig.apply(apply((2, 1), None, V1))
    assert (gone.outcome, gone.root, rig.serving()) == (StepOutcome.DONE, None, set())
    back = await rig.apply(apply((2, 2), V1, None, direction=Direction.REVERT))
    assert (back.outcome, back.root, rig.serving()) == (StepOutcome.DONE, V1.root, {"v1"})


async def test_as_many_earlier_versions_stay_as_the_release_says(rig: Rig) -> None:
    versions = [target(f"v{number}", keep=Keep(versions=1)) for number in range(5)]
    before = None
    for number, version in enumerate(versions):
        await rig.apply(apply((number + 1, 1), version, before))
        before = version
    await rig.restart()
    layout = Layout(rig.home / "components", "api")
    # The current one, the one before, and one more.
    assert layout.present().keys() == {version.root for version in versions[-3:]}
