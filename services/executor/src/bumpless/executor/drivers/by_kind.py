"""One switch over all drivers: every call goes to the driver that the run spec of its component names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.common.model.release import Driver, Run
from bumpless.executor.ports import Exit, Launch, ProcessSwitch
from bumpless.executor.record import Instance, Listener


class SwitchByKind:
    """Implements `ports.ProcessSwitch`. `drivers` are those this node can run."""

    def __init__(self, drivers: Mapping[Driver, ProcessSwitch]) -> None:
        self._drivers = drivers

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        return await self._of(run).listen(component, run)

    async def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        wanted = tuple(runs)
        for kind, driver in self._drivers.items():
            await driver.keep_only(component, [run for run in wanted if run.driver is kind])

    async def start(self, launch: Launch) -> Instance:
        return await self._of(launch.instance.target.run).start(launch)

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        await self._of(instance.target.run).wait_ready(instance, timeout_s)

    async def check(self, instance: Instance) -> None:
        await self._of(instance.target.run).check(instance)

    async def take_over(self, run: Run, root: Digest | None) -> None:
        await self._of(run).take_over(run, root)

    async def pause(self, instance: Instance) -> None:
        await self._of(instance.target.run).pause(instance)

    async def resume(self, instance: Instance) -> None:
        await self._of(instance.target.run).resume(instance)

    async def activate(self, instance: Instance, timeout_s: float) -> str:
        return await self._of(instance.target.run).activate(instance, timeout_s)

    async def drained(self, instance: Instance, lame_duck_s: float, timeout_s: float) -> tuple[str, ...]:
        return await self._of(instance.target.run).drained(instance, lame_duck_s, timeout_s)

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        await self._of(instance.target.run).stop(instance, timeout_s)

    async def kill(self, instance: Instance, because: str = "") -> None:
        await self._of(instance.target.run).kill(instance, because)

    async def adopt(self, instance: Instance) -> Instance | None:
        """None also where the node has lost the driver: starting it again then says what is missing."""
        driver = self._drivers.get(instance.target.run.driver)
        return None if driver is None else await driver.adopt(instance)

    async def exited(self, instance: Instance) -> Exit:
        return await self._of(instance.target.run).exited(instance)

    async def scrape(self, instance: Instance) -> str:
        return await self._of(instance.target.run).scrape(instance)

    async def reap(self, known: Iterable[str]) -> tuple[str, ...]:
        kept = tuple(known)
        return tuple([name for driver in self._drivers.values() for name in await driver.reap(kept)])

    async def tidy(self) -> None:
        for driver in self._drivers.values():
            await driver.tidy()

    def close(self) -> None:
        for driver in self._drivers.values():
            driver.close()

    def _of(self, run: Run) -> ProcessSwitch:
        """Raises: Refused, where this node cannot run that driver."""
        if run.driver not in self._drivers:
            raise Refused(
                f"run.driver among {', '.join(self._drivers)} on this node",
                run.driver,
                "choose another driver, or place the component on nodes that have it",
            )
        return self._drivers[run.driver]
