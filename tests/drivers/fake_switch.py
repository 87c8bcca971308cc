"""`ports.ProcessSwitch` over memory. It passes the conformance suite, so tests may use it for the real one.

`World` is the machine: it outlives a switch, as processes and sockets outlive an executor. Instances behave as
PROBE_MODE in their run spec says, like the probe that the real driver runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from bumpless.common.model.release import Run
from bumpless.executor.ports import Exit, Launch, NotReady, Unanswered
from bumpless.executor.record import Instance, Listener


@dataclass
class FakeProcess:
    pid: int
    instance: Instance
    mode: str
    paused: bool = False
    ended: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def end(self, how: str) -> None:
        if not self.ended.done():
            self.ended.set_result(how)


class World:
    """What survives the executor: processes by instance id, listeners by address."""

    def __init__(self) -> None:
        self.processes: dict[str, FakeProcess] = {}
        self.inodes: dict[str, int] = {}
        self.log: list[tuple[str, str]] = []

    def serving(self) -> list[FakeProcess]:
        """Who takes new work."""
        return [p for p in self.processes.values() if not p.ended.done() and not p.paused]


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
        process = FakeProcess(pid, started, mode)
        self.world.processes[started.id] = process
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
        if process.mode == "dies-after-ready":
            asyncio.get_running_loop().call_later(0.01, process.end, "exited with status 3")

    async def check(self, instance: Instance) -> None:
        self._answering(instance)

    async def pause(self, instance: Instance) -> None:
        self._answering(instance).paused = True
        self.world.log.append(("pause", instance.target.version))

    async def resume(self, instance: Instance) -> None:
        self._answering(instance).paused = False
        self.world.log.append(("resume", instance.target.version))

    async def drained(self, instance: Instance, lame_duck_s: float, timeout_s: float) -> tuple[str, ...]:
        process = self._alive(instance)
        if process is None or process.mode != "will-not-drain":
            return ()
        await asyncio.wait((process.ended,), timeout=timeout_s)
        return () if process.ended.done() else ("1 messages unacknowledged",)

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        if process := self._alive(instance):
            process.end("exited with status 0")
            self.world.log.append(("stop", instance.target.version))

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
