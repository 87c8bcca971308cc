"""An executor in a process of its own, without a broker: commands on its standard input, results on its output.

Run as a program it is the process; `LoneExecutor` is whoever started it. When the input ends it stops its services.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.artifacts.tree import scan, verify_root
from bumpless.common.contract import wire
from bumpless.common.contract.base import Digest, Message
from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.contract.envelope import COMMAND_TYPE
from bumpless.common.contract.events import StepFinished
from bumpless.common.contract.stage_check import StageCheck
from bumpless.common.contract.subjects import subject_of
from bumpless.common.model.plan import Target
from bumpless.common.shell.broker import Received
from bumpless.common.shell.log import configure_logging
from bumpless.executor.drivers.native import NativeSwitch
from bumpless.executor.executor import Executor, NodeConfig
from bumpless.executor.layout import Layout
from bumpless.executor.ports import StagedTree

NODE = "node-a"
PATIENCE_S = 60.0


class Trees:
    """`ports.ArtifactSource` over folders named like versions."""

    def __init__(self, home: Path) -> None:
        self._home = home

    async def stage(self, target: Target, layout: Layout, in_use: frozenset[Digest]) -> StagedTree:
        place = layout.version(target.root)
        if not place.is_dir():
            half = layout.staging / target.version
            shutil.copytree(self._home / target.version, half)
            verify_root(half, target.root)
            os.rename(half, place)
        return StagedTree("full", 1, 1)

    async def changed(self, root: Digest, layout: Layout) -> tuple[str, ...]:
        found = scan(layout.version(root)).root
        return () if found == root else (f"expected {root}, found {found}",)

    async def check(self, wanted: StageCheck, layout: Layout | None, in_use: frozenset[Digest]) -> StagedTree:
        raise NotImplementedError


class Printed:
    """`ports.Reports` to standard output."""

    async def publish(self, message: Message) -> None:
        sys.stdout.write(wire.encode(message).decode() + "\n")
        sys.stdout.flush()


async def _run(home: Path) -> None:
    config = NodeConfig(node=NODE, address="127.0.0.1", data_dir=home / "node")
    switch = NativeSwitch(NODE, config.run_dir, config.components_dir)
    trust = TrustStore.load(home / "trust.json")
    executor = Executor(config, trust, switch, Trees(home / "trees"), Printed())
    await executor.start()
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        subject, body = line.split()
        await executor.take(Received(subject=subject.decode(), data=base64.b64decode(body)))
    await executor.close(stop_services=True)
    switch.close()


class LoneExecutor:
    """Starts, kills and starts again the executor of one node in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._key = SigningKey.generate()
        TrustStore.of(deploy=self._key.public).save(home / "trust.json")
        self._process: Process | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._finished: dict[str, StepFinished] = {}
        self._news = asyncio.Event()

    def tree(self, version: str, program: bytes) -> Digest:
        """The root of a new tree that holds `program` as main.py."""
        folder = self.home / "trees" / version
        folder.mkdir(parents=True)
        (folder / "main.py").write_bytes(program)
        (folder / "version").write_text(version)
        return Digest(scan(folder).root)

    async def start(self) -> None:
        with await asyncio.to_thread(open, self.home / "executor.log", "ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, __file__, str(self.home), stdin=PIPE, stdout=PIPE, stderr=log, limit=1 << 20,
                start_new_session=True,
            )  # fmt: skip
        self._hearing = asyncio.create_task(self._hear(self._process))

    async def send(self, command: ApplyComponent) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        body = self._key.sign(COMMAND_TYPE, wire.encode(command)).to_bytes()
        self._process.stdin.write(f"{subject_of(command)} ".encode() + base64.b64encode(body) + b"\n")
        await self._process.stdin.drain()

    async def answer(self, command: ApplyComponent) -> StepFinished:
        async with asyncio.timeout(PATIENCE_S):
            while command.id not in self._finished:
                if self._process is not None and self._process.returncode is not None:
                    raise AssertionError(
                        f"expected an answer, found that the executor ended: {self.log()[-2000:]}"
                    )
                self._news.clear()
                await self._news.wait()
        return self._finished[command.id]

    def freeze(self) -> None:
        """From now on it does nothing, and what it waits for comes about without it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._over()

    async def stop(self) -> None:
        """End it and its services. What does not end is killed."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), PATIENCE_S)
        except TimeoutError:
            self._process.kill()
        await self._over()

    def log(self) -> str:
        path = self.home / "executor.log"
        return path.read_text() if path.exists() else ""

    async def _over(self) -> None:
        process, self._process = self._process, None
        assert process is not None
        await process.wait()
        if self._hearing is not None:
            await self._hearing

    async def _hear(self, process: Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            # A process that is killed may leave half a line.
            message = wire.decode(line) if line.endswith(b"\n") else None
            if isinstance(message, StepFinished):
                self._finished[message.cause or ""] = message
                self._news.set()
        await process.wait()
        self._news.set()


if __name__ == "__main__":
    configure_logging("executor")
    asyncio.run(_run(Path(sys.argv[1])))
