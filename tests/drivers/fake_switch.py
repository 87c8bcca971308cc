"""`ports.ProcessSwitch` over memory. It passes the conformance suite, so tests may use it for the real one.

`World` is the machine: it outlives a switch, as processes and sockets outlive an executor. Instances behave as
PROBE_MODE in their run spec says, like the probe that the real driver runs. The state of one that runs alone is the
list of versions that have worked with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bumpless.common.contract.base import Digest
from bumpless.common.model.release import Run
from bumpless.executor.ports import Exit, Launch, NotReady, Unanswered
from bumpless.executor.record import Instance, Listener
from bumpless.service.handover import Handover, HandoverError, read_handover, write_handover


@dataclass
class FakeProcess:
    pid: int
    instance: Instance
    mode: str
    handover: Path | None = None
    state: list[str] = field(default_factory=list)
    paused: bool = False
    standby: bool = False
    stopping: bool = False
    ended: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def active(self) -> bool:
        """Whether it is alive and was ever told to work."""
        return not self.ended.done() and not self.standby

    def end(self, how: str) -> None:
        if not self.ended.done():
            self.ended.set_result(how)


class World:
    """What survives the executor: processes by instance id, listeners by address."""

    def __init__(self) -> None:
        self.processes: dict[str, FakeProcess] = {}
        self.inodes: dict[str, int] = {}
        self.log: list[tuple[str, str]] = []
        self.together: list[tuple[str, str]] = []
        """Pairs of instances that worked at once, of which one must not."""

    def works(self, process: FakeProcess) -> None:
        process.standby = process.paused = False
        mine = process.instance.target
        for other in self.processes.values():
            theirs = other.instance.target
            alone = theirs.component == mine.component and not (theirs.run.overlap and mine.run.overlap)
            if other is not process and other.active and alone:
                self.together.append((other.instance.id, process.instance.id))

    def serving(self) -> list[FakeProcess]:
        """Who takes new work."""
        return [p for p in self.processes.values() if p.active and not p.paused]


class FakeSwitch:
    def __init__(self, world: World) -> None:
        self.world = world
        self._known: set[str] = set()

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        inodes = self.world.inodes
        for address in run.listen.values():
            inodes.setdefault(address, 1000 + len(inodes))
        return tuple(Listener(name=n, address=a, inode=inodes[a]) for n, a in run.listen.items())

    async def start(self, launch: Launch) -> Instance:
        pid = 100 + len(self.world.processes)
        started = launch.instance.model_copy(update={"pid": pid, "started_ticks": pid})
        mode = started.target.run.env.get("PROBE_MODE", "")
        process = FakeProcess(
            pid, started, mode, launch.handover, [started.target.version], standby=started.standby
        )
        self.world.processes[started.id] = process
        if not process.standby:
            self.world.works(process)
        self.world.log.append(("start", started.target.version))
        self._known.add(started.id)
        return started

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        process = self._alive(instance)
        if process is None:
            raise NotReady("it is not running")
        if process.mode == "never-ready":
            await asyncio.sleep(timeout_s)
            raise NotReady(f"expected READY=1 within {timeout_s:g} s, found neither")
        if process.mode == "dies-early":
            process.end("exited with status 9")
            raise NotReady(
                "it exited with status 9 before it was ready; its last words: no database, no service"
            )
        if process.mode == "dies-after-ready" and not process.standby:
            asyncio.get_running_loop().call_later(0.01, process.end, "exited with status 3")

    async def check(self, instance: Instance) -> None:
        self._answering(instance)

    async def take_over(self, run: Run, root: Digest | None) -> None:
        return

    async def pause(self, instance: Instance) -> None:
        process = self._answering(instance)
        if process.stopping:
            raise Unanswered("expected 200 from POST /pause, found 409")
        process.paused = True
        self.world.log.append(("pause", instance.target.version))

    async def resume(self, instance: Instance) -> None:
        process = self._answering(instance)
        if process.stopping:
            raise Unanswered("expected 200 from POST /resume, found 409")
        self.world.works(process)
        self.world.log.append(("resume", instance.target.version))

    async def activate(self, instance: Instance, timeout_s: float) -> str:
        process = self._answering(instance)
        if process.stopping or process.mode == "refuses-state":
            raise Unanswered("expected 200 from POST /resume, found 500: no such state")
        said = "nothing was left"
        if process.standby and process.handover is not None:
            try:
                left = read_handover(process.handover, instance.target.component)
            except HandoverError as error:
                said = f"not read: {error}"
            else:
                if left is not None:
                    process.state = [*left.state.decode().split(), instance.target.version]
                    said = f"taken from {left.instance}"
        if process.mode == "dies-after-ready":
            asyncio.get_running_loop().call_later(0.01, process.end, "exited with status 3")
        self.world.works(process)
        self.world.log.append(("activate", instance.target.version))
        return said

    async def drained(self, instance: Instance, lame_duck_s: float, timeout_s: float) -> tuple[str, ...]:
        process = self._alive(instance)
        if process is None or process.mode != "will-not-drain":
            return ()
        await asyncio.wait((process.ended,), timeout=timeout_s)
        return () if process.ended.done() else ("1 messages unacknowledged",)

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        process = self._alive(instance)
        if process is None:
            return
        process.stopping = True
        if process.mode == "slow-to-stop":
            # The signal is sent: it ends whether or not anybody waits.
            asyncio.get_running_loop().call_later(0.02, self._exits, process)
            await asyncio.shield(process.ended)
        else:
            self._exits(process)

    def _exits(self, process: FakeProcess) -> None:
        target = process.instance.target
        if process.active and process.handover is not None:
            left = Handover(" ".join(process.state).encode(), target.version, process.instance.id)
            write_handover(process.handover, target.component, left)
        process.end("exited with status 0")
        self.world.log.append(("stop", target.version))

    async def kill(self, instance: Instance, because: str = "") -> None:
        if process := self._alive(instance):
            process.end(f"was ended: {because}" if because else "was killed by SIGKILL")
            self.world.log.append(("kill", instance.target.version))

    async def adopt(self, instance: Instance) -> Instance | None:
        process = self.world.processes.get(instance.id)
        if process is None or process.ended.done() or instance.started_ticks not in (0, process.pid):
            return None
        self._known.add(instance.id)
        return instance.model_copy(update={"pid": process.pid, "started_ticks": process.pid})

    async def exited(self, instance: Instance) -> Exit:
        process = self.world.processes.get(instance.id)
        if process is None:
            return Exit("is not running", 0.0)
        return Exit(await asyncio.shield(process.ended), 0.0)

    async def scrape(self, instance: Instance) -> str:
        if self._answering(instance).mode == "no-metrics":
            raise Unanswered("expected 200 from GET /metrics, found 500")
        return f'release_info{{version="{instance.target.version}"}} 1\n'

    async def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        return

    async def reap(self, known: Iterable[str]) -> tuple[str, ...]:
        kept = set(known)
        lost = [n for n, p in self.world.processes.items() if n not in kept and not p.ended.done()]
        for name in lost:
            self.world.processes[name].end("was killed by SIGKILL")
        return tuple(lost)

    async def tidy(self) -> None:
        return

    def close(self) -> None:
        self._known.clear()

    def _alive(self, instance: Instance) -> FakeProcess | None:
        process = self.world.processes.get(instance.id)
        known = instance.id in self._known
        return process if known and process is not None and not process.ended.done() else None

    def _answering(self, instance: Instance) -> FakeProcess:
        process = self._alive(instance)
        if process is None:
            raise Unanswered(f"expected an answer of {instance.id}, found no process")
        return process
