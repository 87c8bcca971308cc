"""Obeys drills: wrappers around the real ports that misbehave once, where an armed fault says. For rehearsals only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from bumpless.common.contract.base import Digest
from bumpless.common.contract.commands import Fault
from bumpless.common.contract.stage_check import StageCheck
from bumpless.common.errors import Refused
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Run
from bumpless.executor.layout import Layout
from bumpless.executor.ports import (
    ArtifactSource,
    Exit,
    Launch,
    NotReady,
    ProcessSwitch,
    StagedTree,
)
from bumpless.executor.record import Instance, Listener

SLOW_S = 10.0


class Drills:
    """The faults that are armed; each strikes once."""

    def __init__(self) -> None:
        self._armed: set[tuple[str, Fault]] = set()

    def arm(self, component: str, fault: Fault) -> None:
        self._armed.add((component, fault))

    def strikes(self, component: str, fault: Fault) -> bool:
        if (component, fault) not in self._armed:
            return False
        self._armed.discard((component, fault))
        return True


class DrilledSource:
    """Implements `ports.ArtifactSource`."""

    def __init__(self, source: ArtifactSource, drills: Drills) -> None:
        self._source, self._drills = source, drills

    async def stage(self, target: Target, layout: Layout, in_use: frozenset[Digest]) -> StagedTree:
        if self._drills.strikes(target.component, "fail-stage"):
            raise Refused("no drill", "an injected fault: fail-stage")
        if self._drills.strikes(target.component, "slow-stage"):
            await asyncio.sleep(SLOW_S)
        return await self._source.stage(target, layout, in_use)

    async def changed(self, root: Digest, layout: Layout) -> tuple[str, ...]:
        return await self._source.changed(root, layout)

    async def check(self, wanted: StageCheck, layout: Layout | None, in_use: frozenset[Digest]) -> StagedTree:
        return await self._source.check(wanted, layout, in_use)


class DrilledSwitch:
    """Implements `ports.ProcessSwitch`. `fail-switch` kills the new instance when the old one is told to pause."""

    def __init__(self, switch: ProcessSwitch, drills: Drills) -> None:
        self._switch, self._drills = switch, drills
        self._newest: dict[str, Instance] = {}

    async def start(self, launch: Launch) -> Instance:
        started = await self._switch.start(launch)
        self._newest[launch.component] = started
        return started

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        component = instance.target.component
        if self._drills.strikes(component, "fail-start"):
            raise NotReady("an injected fault: fail-start")
        await self._switch.wait_ready(instance, timeout_s)
        if self._drills.strikes(component, "crash-after-ready"):
            await self._switch.kill(instance)

    async def pause(self, instance: Instance) -> None:
        newest = self._newest.get(instance.target.component)
        strikes = self._drills.strikes(instance.target.component, "fail-switch")
        if strikes and newest is not None and newest.id != instance.id:
            await self._switch.kill(newest)
        await self._switch.pause(instance)

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        return await self._switch.listen(component, run)

    async def check(self, instance: Instance) -> None:
        await self._switch.check(instance)

    async def take_over(self, run: Run, root: Digest | None) -> None:
        await self._switch.take_over(run, root)

    async def resume(self, instance: Instance) -> None:
        await self._switch.resume(instance)

    async def activate(self, instance: Instance, timeout_s: float) -> str:
        return await self._switch.activate(instance, timeout_s)

    async def drained(self, instance: Instance, lame_duck_s: float, timeout_s: float) -> tuple[str, ...]:
        return await self._switch.drained(instance, lame_duck_s, timeout_s)

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        await self._switch.stop(instance, timeout_s)

    async def kill(self, instance: Instance, because: str = "") -> None:
        await self._switch.kill(instance, because)

    async def adopt(self, instance: Instance) -> Instance | None:
        return await self._switch.adopt(instance)

    async def exited(self, instance: Instance) -> Exit:
        return await self._switch.exited(instance)

    async def scrape(self, instance: Instance) -> str:
        return await self._switch.scrape(instance)

    async def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        await self._switch.keep_only(component, runs)

    async def reap(self, known: Iterable[str]) -> tuple[str, ...]:
        return await self._switch.reap(known)

    async def tidy(self) -> None:
        await self._switch.tidy()

    def close(self) -> None:
        self._switch.close()
