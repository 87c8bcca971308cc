"""A process: every effect it has passes through `act`, and it may be killed, frozen or cut off before and after."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TypeVar

from bumpless.common.errors import Retryable
from simulation.world import SKEW, World

T = TypeVar("T")


class Life:
    """One incarnation of a process, from its start to its kill. What is dead never goes on: its calls do not return.

    `killed` is called once, when a fault kills it.
    """

    def __init__(
        self, world: World, name: str, crash: str, skew: Callable[[], float], killed: Callable[[], None]
    ) -> None:
        self.world, self.name = world, name
        self.crash_kind = crash
        self.token = world.fresh_id()
        self.born = world.clock
        self.dead = False
        self.recovering = False
        self._killed = killed
        self._thawed: asyncio.Event | None = None
        self.context = contextvars.copy_context()
        self.context.run(SKEW.set, skew)

    def task(self, coroutine: object) -> asyncio.Task[None]:
        return self.world.loop.create_task(coroutine, context=self.context)  # type: ignore[arg-type]

    def kill(self) -> None:
        if not self.dead:
            self.dead = True
            self._killed()

    def freeze(self, seconds: float) -> None:
        if self._thawed is None:
            self._thawed = asyncio.Event()
            self.world.loop.call_later(seconds, self._thaw)

    def _thaw(self) -> None:
        if self._thawed is not None:
            self._thawed.set()
            self._thawed = None

    async def reach(self, what: str, lag: bool = True) -> None:
        """Return when this process may have its next effect; never, when it is dead."""
        world = self.world
        if lag:
            await world.loop.nap(world.lag())
        while self._thawed is not None:
            await self._thawed.wait()
        if not self.dead and (
            world.strikes(self.crash_kind, f"{self.name} at {what}")
            or (self.recovering and world.strikes("crash-in-recovery", f"{self.name} at {what}"))
        ):
            self.kill()
        if not self.dead and self.crash_kind == "crash" and world.strikes("pause-leader", self.name):
            self.freeze(world.stream("pause").choice((3.0, 30.0, 200.0)))
            await self.reach(what)
        if self.dead:
            await asyncio.get_running_loop().create_future()

    async def act(self, what: str, effect: Callable[[], T]) -> T:
        """Have one effect on the world, or none, or one that is not heard of."""
        await self.reach(what)
        return await self._effect(what, effect)

    async def read(self, what: str, effect: Callable[[], T]) -> T:
        """As `act`, of what changes nothing: that its answer is old when it comes is all that time can do to it."""
        await self.reach(what, lag=False)
        return await self._effect(what, effect)

    async def at_once(self, what: str, effect: Callable[[], T]) -> T:
        """As `act`, of what is done so often that time would be spent on little else."""
        await self.reach(what, lag=False)
        return await self._effect(what, effect, lag=False)

    async def _effect(self, what: str, effect: Callable[[], T], lag: bool = True) -> T:
        if self.world.strikes("away", f"{self.name} at {what}"):
            raise Retryable("it is away")
        result = effect()
        await self.reach(what + ", done", lag)
        if self.world.strikes("lost-answer", f"{self.name} at {what}"):
            raise Retryable("no answer")
        return result
