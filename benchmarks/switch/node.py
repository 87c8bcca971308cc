"""One node with the real executor in this process: signed commands in, the native driver, results out.

Only where trees come from is not the product's: they are copied from a folder, so that no broker takes part.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.contract import wire
from bumpless.common.contract.base import BatchId, Digest, Message, PlanHash, RolloutId, derive_id
from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.contract.envelope import COMMAND_TYPE
from bumpless.common.contract.events import StepFinished, StepOutcome
from bumpless.common.contract.stage_check import StageCheck
from bumpless.common.contract.subjects import subject_of
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release import Driver, Run, Timing
from bumpless.common.shell.broker import Received
from bumpless.executor.drivers.drill import DrilledSwitch, Drills
from bumpless.executor.drivers.native import NativeSwitch
from bumpless.executor.drivers.systemd.switch import SystemdSwitch
from bumpless.executor.executor import Executor, NodeConfig
from bumpless.executor.layout import Layout
from bumpless.executor.ports import Launch, ProcessSwitch, StagedTree
from bumpless.executor.record import Instance
from switch.figures import Span

NODE, COMPONENT = "bench", "service"
STEP_S = 120.0


class FolderSource:
    """`ports.ArtifactSource`: every version is a copy of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def stage(self, target: Target, layout: Layout, in_use: frozenset[Digest]) -> StagedTree:
        place = layout.version(target.root)
        if place.exists():
            return StagedTree(used="present", bytes_fetched=0, full_bytes=0)
        await asyncio.to_thread(shutil.copytree, self._folder, place, symlinks=True)
        return StagedTree(used="full", bytes_fetched=0, full_bytes=0)

    async def changed(self, root: Digest, layout: Layout) -> tuple[str, ...]:
        return ()  # nobody else is here

    async def check(self, wanted: StageCheck, layout: Layout | None, in_use: frozenset[Digest]) -> StagedTree:
        raise NotImplementedError("expected nobody to ask in a benchmark")


class Results:
    """`ports.Reports`: keeps how steps ended."""

    def __init__(self) -> None:
        self._finished: dict[str, StepFinished] = {}
        self._news = asyncio.Event()

    async def publish(self, message: Message) -> None:
        if isinstance(message, StepFinished) and message.cause is not None:
            self._finished[message.cause] = message
            self._news.set()

    async def of(self, command: str) -> StepFinished:
        async with asyncio.timeout(STEP_S):
            while command not in self._finished:
                self._news.clear()
                await self._news.wait()
        return self._finished[command]


class Watched(DrilledSwitch):
    """A driver, with a note of when each instance was started and was ready. No drill is armed."""

    def __init__(self, switch: ProcessSwitch) -> None:
        super().__init__(switch, Drills())
        self.started: dict[str, float] = {}
        self.startup_s: dict[str, float] = {}
        self.lives: list[Instance] = []

    async def start(self, launch: Launch) -> Instance:
        self.started[launch.instance.id] = time.time()
        instance = await super().start(launch)
        self.lives.append(instance)
        return instance

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        await super().wait_ready(instance, timeout_s)
        self.startup_s[instance.id] = time.time() - self.started[instance.id]


def _watched(driver: Driver, home: Path) -> Watched:
    if driver is Driver.SYSTEMD:
        return Watched(SystemdSwitch(NODE, home / "components"))
    return Watched(NativeSwitch(NODE, home / "run", home / "components"))


@dataclass(frozen=True)
class Step:
    """One command that was carried out."""

    version: str
    span: Span
    instance: Instance
    startup_s: float


class BenchNode:
    """`apply(version)` is one switch, back or forth. Use as `async with`."""

    def __init__(
        self, home: Path, folder: Path, command: tuple[str, ...], timing: Timing, driver: Driver
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._command, self._timing, self._driver = command, timing, driver
        self._deploy = SigningKey.generate()
        trust = TrustStore.of(release=SigningKey.generate().public, deploy=self._deploy.public)
        config = NodeConfig(node=NODE, address="127.0.0.1", data_dir=home)
        self._switch, self._results = _watched(driver, home), Results()
        self._executor = Executor(config, trust, self._switch, FolderSource(folder), self._results)
        self._current: Target | None = None
        self._number = 0

    async def __aenter__(self) -> BenchNode:
        await self._executor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._executor.close(stop_services=True)
        for instance in self._switch.lives:
            await self._switch.kill(instance)
        self._switch.close()

    async def apply(self, version: str, *, warm_s: float | None = None) -> Step:
        """Until the step is done and, unless it stays warm, the old instance is gone. Raises: RuntimeError."""
        before = self._serving()
        began = time.time()
        command = self._signed(self._target(version, warm_s))
        await self._executor.take(command[1])
        result = await self._results.of(command[0])
        if result.outcome is not StepOutcome.DONE:
            raise RuntimeError(
                f"expected {version} to be switched to, found {result.outcome}: {result.reason}"
            )
        stays = self._executor.record(COMPONENT)
        warm = stays.warm if stays is not None else None
        if before is not None and (warm is None or warm.id != before.id):
            async with asyncio.timeout(STEP_S):
                await self._switch.exited(before)
        now = self._serving()
        assert now is not None
        return Step(version, Span(began, time.time()), now, self._switch.startup_s.get(now.id, 0.0))

    def _serving(self) -> Instance | None:
        record = self._executor.record(COMPONENT)
        return record.serving if record is not None else None

    def _target(self, version: str, warm_s: float | None) -> Target:
        timing = self._timing if warm_s is None else self._timing.model_copy(update={"warm_s": warm_s})
        digest = Digest("sha256:" + version.encode().hex().ljust(64, "0"))
        listen = {"http": f"tcp://127.0.0.1:{self.port}"}
        run = Run(driver=self._driver, command=self._command, listen=listen, timing=timing)
        return Target(
            component=COMPONENT, version=version, root=digest, artifact=digest, artifact_size=1, run=run
        )

    def _signed(self, target: Target) -> tuple[str, Received]:
        self._number += 1
        now = datetime.now(UTC)
        command = ApplyComponent(
            id=derive_id("bench-switch", str(self._number)),
            at=now,
            rollout=RolloutId("bench"),
            batch=BatchId("b"),
            plan_hash=PlanHash("sha256:" + "0" * 64),
            direction=Direction.FORWARD,
            generation=1,
            sequence=self._number,
            node=NODE,
            component=COMPONENT,
            target=target,
            before=self._current,
            expires_at=now + timedelta(hours=1),
        )
        self._current = target
        body = self._deploy.sign(COMMAND_TYPE, wire.encode(command)).to_bytes()
        return command.id, Received(subject=subject_of(command), data=body)
