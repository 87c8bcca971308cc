"""A node with real processes and real trees, without a broker: commands go in, messages come out."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.artifacts.tree import scan
from bumpless.common.contract import wire
from bumpless.common.contract.base import BatchId, Digest, Message, PlanHash, RolloutId, derive_id
from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.contract.envelope import COMMAND_TYPE
from bumpless.common.contract.events import StepFinished
from bumpless.common.contract.stage_check import StageCheck
from bumpless.common.contract.subjects import subject_of
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release import Run, Timing
from bumpless.common.model.release_hooks import Hooks
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Received
from bumpless.executor.drivers.native import NativeSwitch
from bumpless.executor.executor import Executor, NodeConfig
from bumpless.executor.layout import Layout
from bumpless.executor.ports import StagedTree
from bumpless.executor.sound import differences

M = TypeVar("M", bound=Message)
PROBE = Path(__file__).parents[1] / "drivers" / "probe.py"
PATIENCE_S = 60.0
"""For one thing to happen on a machine that is busy with others."""
QUICK = Timing(ready_timeout_s=30, soak_s=0.05, lame_duck_s=0.1, drain_timeout_s=2, warm_s=60)
KEY = SigningKey.generate()


class Heard:
    """`ports.Reports` over a list. `away`: nobody acknowledges."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.away = False
        self._news = asyncio.Event()

    async def publish(self, message: Message) -> None:
        if self.away:
            raise Retryable("the broker is away", after_s=0.05)
        self.messages.append(message)
        self._news.set()

    async def wait(self, kind: type[M], fits: Callable[[M], bool] = lambda _: True) -> M:
        """The first message of that kind that fits, heard already or still to come."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for message in self.messages:
                    if isinstance(message, kind) and fits(message):
                        return message
                self._news.clear()
                await self._news.wait()


class Trees:
    """`ports.ArtifactSource` over folders. `staged` counts; what is damaged is made again, as by the real one."""

    def __init__(self) -> None:
        self.folders: dict[Digest, Path] = {}
        self.staged = 0
        self.error: Exception | None = None

    async def stage(self, target: Target, layout: Layout, in_use: frozenset[Digest]) -> StagedTree:
        if self.error is not None:
            raise self.error
        out = layout.version(target.root)
        if out.exists() and not await self.changed(target.root, layout):
            return StagedTree("present", 0, 0)
        if out.exists():
            layout.discard(out)
        self.staged += 1
        shutil.copytree(self.folders[target.root], out)
        return StagedTree("full", 1, 1)

    async def changed(self, root: Digest, layout: Layout) -> tuple[str, ...]:
        tree = layout.version(root)
        return differences(tree, root, layout.home / "verified" / tree.name)

    async def check(self, wanted: StageCheck, layout: Layout | None, in_use: frozenset[Digest]) -> StagedTree:
        raise NotImplementedError("no test of this suite asks")


class RealNode:
    """One component, `probe`, on one node below `home`. Restart it, and it finds its processes again."""

    def __init__(self, home: Path, name: str = "node-a", component: str = "probe") -> None:
        self.home, self.name, self.component = home, name, component
        self.heard, self.trees = Heard(), Trees()
        self.data = home / name
        self._sequence = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.executor = self._new()

    @property
    def layout(self) -> Layout:
        return Layout(self.data / "components", self.component)

    def _new(self) -> Executor:
        config = NodeConfig(node=self.name, address="127.0.0.1", data_dir=self.data, heartbeat_s=5)
        self.switch = NativeSwitch(self.name, config.run_dir, config.components_dir)
        return Executor(config, TrustStore.of(deploy=KEY.public), self.switch, self.trees, self.heard)

    async def start(self) -> None:
        await self.executor.start()

    async def leave(self) -> None:
        """The executor goes, its processes stay."""
        await self.executor.close()
        self.switch.close()

    async def restart(self) -> None:
        await self.leave()
        await self.come_back()

    async def come_back(self) -> None:
        """Another executor, after `leave`."""
        self.executor = self._new()
        await self.executor.start()

    async def close(self) -> None:
        await self.executor.close()
        await self.switch.reap(())
        record = self.executor.record(self.component)
        if record is not None:
            await asyncio.gather(*(self.switch.kill(i) for i in record.instances))
        self.switch.close()

    # versions and commands

    def version(
        self,
        version: str,
        *,
        main: str | None = None,
        files: Mapping[str, str] | None = None,
        hooks: Mapping[str, Any] | None = None,
        **run: Any,
    ) -> Target:
        """A version whose program is `main`, by default the probe of the driver tests."""
        folder = self.home / "trees" / version
        folder.mkdir(parents=True)
        (folder / "main.py").write_text(PROBE.read_text() if main is None else main)
        (folder / "version").write_text(version)
        for path, text in (files or {}).items():
            (folder / path).write_text(text)
        root = Digest(scan(folder).root)
        self.trees.folders[root] = folder
        given = {
            "command": (sys.executable, "main.py"),
            "listen": {"http": f"tcp://{{node.address}}:{self.port}"},
            "timing": QUICK,
        } | run
        return Target(
            component=self.component,
            version=version,
            root=root,
            artifact=root,
            artifact_size=1,
            run=Run(**given),
            hooks=Hooks.model_validate(hooks or {}),
        )

    async def apply(
        self, after: Target | None, before: Target | None = None, direction: Direction = Direction.FORWARD
    ) -> StepFinished:
        """Send the next command and wait for its answer."""
        command = self.command(after, before, direction)
        await self.send(command)
        return await self.heard.wait(StepFinished, lambda m: m.cause == command.id)

    def command(
        self, after: Target | None, before: Target | None, direction: Direction = Direction.FORWARD
    ) -> ApplyComponent:
        self._sequence += 1
        now = clock.now()
        return ApplyComponent.model_validate(
            {
                "id": derive_id("real-node", self.name, str(self._sequence)),
                "at": now,
                "rollout": RolloutId("r1"),
                "batch": BatchId("b1"),
                "plan_hash": PlanHash("sha256:plan"),
                "direction": direction,
                "generation": 1,
                "sequence": self._sequence,
                "node": self.name,
                "component": self.component,
                "target": after,
                "before": before,
                "expires_at": now.replace(year=now.year + 1),
            }
        )

    async def send(self, command: ApplyComponent) -> None:
        body = KEY.sign(COMMAND_TYPE, wire.encode(command)).to_bytes()
        await self.executor.take(Received(subject=subject_of(command), data=body))

    # what is seen

    @property
    def pid(self) -> int:
        """Of the serving instance; 0: there is none."""
        record = self.executor.record(self.component)
        return record.serving.pid if record is not None and record.serving is not None else 0

    async def answers(self) -> str:
        """The version that answers a request now."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
            text = (await asyncio.wait_for(reader.read(), PATIENCE_S)).decode()
        finally:
            writer.close()
        return text.split('"version":')[1].split('"')[1]
