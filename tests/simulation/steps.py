"""What an executor does about the effects of its machine, on simulated hardware: the order and answers of the real one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from bumpless.common.contract.base import derive_id
from bumpless.common.shell import clock
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.record import ComponentRecord, Instance
from bumpless.executor.retention import named
from bumpless.executor.steps import restart_delay
from simulation.life import Life
from simulation.machine import Machine, Process
from simulation.world import World


class Failure(Exception):
    """Something on the node did not work."""


class SimSteps:
    """For one component of one node, in one life of its executor."""

    def __init__(
        self,
        world: World,
        machine: Machine,
        life: Life,
        component: str,
        record: Callable[[], ComponentRecord],
        tell: Callable[[heard.Input], None],
        bad: Callable[[str, str], str],
    ) -> None:
        self._world, self._machine, self._life = world, machine, life
        self._component, self._record, self._tell, self._bad = component, record, tell, bad
        self.work: asyncio.Task[None] | None = None
        self._revival: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    def perform(self, effect: do.Effect) -> None:
        match effect:
            case do.Stage():
                self._begin(self._stage(effect), lambda why: heard.StageFailed(effect.command.id, why))
            case do.Start():
                self._begin(self._start(effect), lambda why: heard.StartFailed(effect.command.id, why))
            case do.CommitSwitch() | do.Install():
                self._begin(self._commit(effect), lambda why: heard.SwitchFailed(effect.command.id, why))
            case do.DrainOld():
                self._begin(self._drain(effect), lambda why: heard.SwitchFailed(effect.command.id, why))
            case do.Retire():
                self._begin(self._retire(effect), lambda why: heard.SwitchFailed(effect.command.id, why))
            case do.Restore():
                self._begin(self._restore(effect), lambda why: heard.RestoreFailed(effect.command.id, why))
            case do.Vacate():
                self._begin(self._vacate(effect), lambda why: heard.ActivateFailed(effect.fresh, why))
            case do.Activate():
                self._activation(effect)
            case do.Abort():
                self.work = self._cancel(self.work)
                if effect.end is not None:
                    self._life.task(self._stop(effect.end.id))
            case do.PauseOld():
                self._machine.mode(effect.instance.id, "paused")
            case do.ResumeOld():
                self._machine.mode(effect.instance.id, "working")
            case do.KeepWarm():
                self._life.task(self._keep_warm(effect))
            case do.StopOld():
                self._life.task(self._stop(effect.instance.id))
            case do.Revive():
                self._revival = self._cancel(self._revival)
                self._revival = self._task(self._revive(effect), heard.ReviveFailed)
            case do.StopReviving():
                self._revival = self._cancel(self._revival)
            case do.StandDown():
                self._leaving = self._cancel(self._leaving)
                self._leaving = self._life.task(self._stand_down(effect.instance))
            case do.StayUp():
                self._leaving = self._cancel(self._leaving)
                self._machine.mode(effect.instance.id, "working")
            case do.Collect():
                self._collect()

    # long work ----------------------------------------------------------------------------------------

    async def _some(self, least: float, most: float) -> None:
        await asyncio.sleep(least + (most - least) * self._world.stream("work").random())
        await self._life.reach("work on " + self._component, lag=False)

    async def _stage(self, effect: do.Stage) -> None:
        for target in effect.targets:
            await self._some(0.2, 2.0)
            if self._world.strikes("stage-fails", self._where()):
                raise Failure("no room on the disk")
            self._machine.staged(self._component, target.root)
        self._tell(heard.Staged(effect.command.id, "full", 10, 10))

    async def _start(self, effect: do.Start) -> None:
        instance, cause = effect.instance, effect.command.id
        if effect.reuse:
            await self._some(0.05, 0.2)
            if self._machine.mode(instance.id, "working"):
                self._tell(heard.Proven(cause, instance))
                return
            cold = Instance(id=derive_id(instance.id, "cold", cause), target=instance.target)
            self._tell(heard.Started(cause, cold))
            self._machine.end(instance.id, "was killed")
            instance = cold
        if instance.pid and not effect.reuse:
            started = instance
            if not started.standby:
                self._machine.mode(started.id, "working")
            await self._ready(started)
        else:
            started = await self._spawn(instance, lambda born: self._tell(heard.Started(cause, born)))
        if not started.standby:
            await self._soak(started)
        self._tell(heard.Proven(cause, started))

    async def _commit(self, effect: do.CommitSwitch | do.Install) -> None:
        await self._some(0.0, 0.05)
        if self._world.strikes("switch-fails", self._where()):
            raise Failure("the links could not be moved")
        self._machine.link(self._component, effect.current, effect.previous)
        await self._some(0.0, 0.1)
        self._tell(heard.Switched(effect.command.id, self._now()))

    async def _drain(self, effect: do.DrainOld) -> None:
        if effect.instance is not None:
            self._machine.mode(effect.instance.id, "paused")
            await self._some(0.5, self._world.scenario.drain_s)
        if self._world.strikes("switch-fails", self._where()):
            raise Failure("a hook failed")
        self._tell(heard.Drained(effect.command.id))

    async def _retire(self, effect: do.Retire) -> None:
        if effect.instance is not None:
            self._machine.mode(effect.instance.id, "paused")
            await self._some(0.5, self._world.scenario.drain_s)
            if not effect.hold:
                self._machine.end(effect.instance.id, "exited with status 0")
        self._machine.link(self._component, None, effect.previous)
        self._tell(heard.Drained(effect.command.id, (), self._now()))

    async def _restore(self, effect: do.Restore) -> None:
        await self._some(0.05, 0.3)
        target, serving = effect.target, effect.serving
        fails = self._world.strikes("restore-fails", self._where())
        exclusive = effect.exclusive and not effect.idle
        if fails and exclusive:
            raise Failure("the links could not be moved back")
        there = target is None or target.root in self._machine.disk.trees.get(self._component, frozenset())
        if there and not fails:  # else they are put right once the component rests
            self._machine.link(self._component, target.root if target else None, effect.previous)
        if exclusive:
            self._tell(heard.Restored(effect.command.id, await self._follower(effect)))
            return
        if serving is not None and not self._machine.mode(serving.id, "working"):
            serving = None
        if serving is None and target is not None and not effect.idle:
            if fails:
                raise Failure("the earlier version does not come back")
            serving = await self._spawn(Instance(id=effect.standby, target=target))
        self._tell(heard.Restored(effect.command.id, serving))

    async def _follower(self, effect: do.Restore) -> Instance | None:
        serving = effect.serving
        if serving is not None:
            process = self._machine.processes.get(serving.id)
            if process is not None and process.alive:
                if not effect.untouched:
                    self._machine.mode(serving.id, "paused")
                return serving
        if effect.target is None:
            return None
        return await self._spawn(Instance(id=effect.standby, target=effect.target, standby=True))

    async def _vacate(self, effect: do.Vacate) -> None:
        if effect.instance is not None:
            self._machine.mode(effect.instance.id, "paused")
            await self._some(0.5, self._world.scenario.drain_s)
            await self._stop(effect.instance.id)
        self._tell(heard.Drained(effect.command.id))

    def _activation(self, effect: do.Activate) -> None:
        def failed(why: str) -> heard.Input:
            return heard.ActivateFailed(effect.instance, why, beside=effect.command is None)

        if effect.command is not None:
            self._begin(self._activate(effect), failed)
        else:
            self._revival = self._cancel(self._revival)
            self._revival = self._task(self._activate(effect), failed)

    async def _activate(self, effect: do.Activate) -> None:
        for other in effect.after:
            process = self._machine.processes.get(other.id)
            if process is not None and process.alive:
                async with asyncio.timeout(20):
                    await process.gone.wait()
        await self._some(0.1, 0.5)
        if not self._machine.mode(effect.instance.id, "working"):
            raise Failure("it is gone")
        if effect.soak:
            await self._soak(effect.instance)
        self._tell(heard.Activated(effect.instance, beside=effect.command is None))

    async def _revive(self, effect: do.Revive) -> None:
        await asyncio.sleep(restart_delay(effect.attempt))
        standby = Instance(id=effect.standby, target=effect.target, standby=effect.exclusive)
        self._tell(heard.Revived(await self._spawn(standby)))

    async def _keep_warm(self, effect: do.KeepWarm) -> None:
        await asyncio.sleep(max(0.0, (effect.until - self._now()).total_seconds()))
        self._tell(heard.Cooled(effect.instance))

    async def _stand_down(self, instance: Instance) -> None:
        self._machine.mode(instance.id, "paused")
        await self._some(0.5, self._world.scenario.drain_s)
        self._tell(heard.StoodDown(instance))

    async def _stop(self, instance: str) -> None:
        await self._some(1.0, 2.0)  # its lame duck, in which it still serves, is longer than a way back takes
        self._machine.end(instance, "exited with status 0")

    # processes ----------------------------------------------------------------------------------------

    async def _spawn(self, instance: Instance, born: Callable[[Instance], None] | None = None) -> Instance:
        if instance.target.root not in self._machine.disk.trees.get(self._component, frozenset()):
            raise Failure(f"there is no tree of {instance.target.version}")
        await self._some(0.05, 0.3)
        process = self._machine.spawn(self._component, instance)
        started = instance.model_copy(update={"pid": process.pid})
        if born is not None:
            born(started)
        await self._ready(started)
        return started

    async def _ready(self, instance: Instance) -> None:
        try:
            await self._some(0.3, 1.5)
            process = self._machine.processes.get(instance.id)
            if process is None or not process.alive:
                raise Failure("it died before it was ready")
            bad = self._bad(self._component, instance.target.version) == "start"
            if bad or self._world.strikes("start-fails", self._where()):
                raise Failure("it was not ready in time")
            if process.mode == "coming":
                self._machine.mode(instance.id, "standby" if instance.standby else "working")
            loops = self._bad(self._component, instance.target.version) == "loop"
            if loops or self._world.strikes("process-dies", self._where()):
                self._doom(process)
        except (Failure, asyncio.CancelledError):
            if not self._life.dead:
                self._machine.end(instance.id, "was killed: not ready")
            raise

    def _doom(self, process: Process) -> None:
        lives = 2.0 + 3.0 * self._world.stream("doom").random()
        self._world.loop.call_later(lives, self._machine.end, process.instance, "crashed")

    async def _soak(self, instance: Instance) -> None:
        await self._some(1.0, 1.0)
        process = self._machine.processes.get(instance.id)
        if process is None or not process.alive:
            raise Failure("it crashed soon after it was ready")

    def _collect(self) -> None:
        record = self._record()
        still = record.state.value in ("absent", "serving", "stuck", "staging", "starting")
        if still and record.failing is None:
            trees = self._machine.disk.trees.get(self._component, frozenset())
            wanted = tuple(None if t is None else t.root for t in (record.current, record.previous))
            if wanted != self._machine.disk.links.get(self._component) and wanted[0] in (None, *trees):
                self._machine.link(self._component, wanted[0], wanted[1])
        links = self._machine.disk.links.get(self._component, (None, None))
        kept = {*named(record), *(root for root in links if root is not None)}
        self._machine.keep_only(self._component, frozenset(kept))

    # tasks --------------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None], failed: Callable[[str], heard.Input]) -> None:
        self.work = self._task(work, failed)

    def _task(
        self, work: Coroutine[Any, Any, None], failed: Callable[[str], heard.Input]
    ) -> asyncio.Task[None]:
        async def whole() -> None:
            try:
                await work
            except (Failure, TimeoutError) as error:
                if not self._life.dead:
                    self._tell(failed(str(error) or repr(error)))

        task = self._life.task(whole())
        task.add_done_callback(lambda _: work.close())  # one that is given up before it begins
        return task

    @staticmethod
    def _cancel(task: asyncio.Task[None] | None) -> None:
        if task is not None:
            with contextlib.suppress(Exception):
                task.cancel()

    def _where(self) -> str:
        return f"{self._machine.name}/{self._component}"

    def _now(self) -> Any:
        return clock.now()
