"""Performs the effects of components of which two instances must never work at once: one is gone before another works.

That is made sure here by waiting for the processes, and not only by the order of decisions. Whoever gives up a piece
of work cancels it; an instance that was being activated then may work, and the record says so.
"""

from __future__ import annotations

import asyncio

from bumpless.common.errors import Refused
from bumpless.common.shell.log import get_logger
from bumpless.executor import effects as do
from bumpless.executor import handover
from bumpless.executor.layout import Layout
from bumpless.executor.ports import ProcessSwitch, Unanswered
from bumpless.executor.record import Instance
from bumpless.executor.starter import Starter

log = get_logger(__name__)

LEAVE_S = 10.0
"""For writing its state, beyond the drain deadline of an instance."""
GONE_S = 20.0
"""Beyond both: the kill, and the kernel's time for it."""
CLEAN = "exited with status 0"


class Turnover:
    """For one component of one node."""

    def __init__(self, layout: Layout, switch: ProcessSwitch, starter: Starter) -> None:
        self._layout, self._switch, self._starter = layout, switch, starter

    async def vacate(self, effect: do.Vacate) -> tuple[str, ...]:
        """Returns what was cut. Raises: Refused, when the instance does not go."""
        instance = effect.instance
        if instance is None:
            return ()
        timing = instance.target.run.timing
        try:
            await self._switch.pause(instance)
        except Unanswered as error:
            log.warning("could not pause", instance=instance.id, error=str(error))
        cut = await self._switch.drained(instance, timing.lame_duck_s, timing.drain_timeout_s)
        how = await self._end(instance)
        # The status of a process that an earlier executor had started is not known.
        return cut if how.startswith((CLEAN, "exited (")) else (*cut, f"the old instance {how}")

    async def activate(self, effect: do.Activate) -> tuple[str, ...]:
        """Returns what could not be taken over. Raises: Refused, Unanswered, NotReady, OSError."""
        instance = effect.instance
        for other in effect.after:
            await self._gone(other)
        lost = []
        if effect.heirs_of is not None:
            stale = await asyncio.to_thread(handover.admit, self._layout.state, effect.heirs_of)
            lost += [stale] if stale else []
        said = await self._switch.activate(instance, instance.target.run.timing.ready_timeout_s)
        if said.startswith("not read") and effect.heirs_of is not None:
            lost.append(f"the state was not taken over: {said}")
        if effect.soak:
            await self._starter.soak(instance)
        return tuple(lost)

    async def restore(self, effect: do.Restore) -> Instance | None:
        """The instance that is to be activated; None: nothing ran before. Raises: Refused, NotReady, OSError."""
        target = effect.target
        await asyncio.to_thread(self._layout.point, target.root if target else None, effect.previous)
        serving = effect.serving
        if serving is not None:
            if await self._can_be_resumed(serving, untouched=effect.untouched):
                return serving
            await self._end(serving)
        if target is None:
            return None
        return await self._starter.start(Instance(id=effect.standby, target=target, standby=True))

    async def _can_be_resumed(self, instance: Instance, *, untouched: bool) -> bool:
        """One that was told to stop refuses a pause, although it may still answer that it is healthy."""
        try:
            await (self._switch.check(instance) if untouched else self._switch.pause(instance))
        except Unanswered as error:
            log.warning("instance is not resumed", instance=instance.id, error=str(error))
            return False
        return True

    async def _end(self, instance: Instance) -> str:
        await self._switch.stop(instance, instance.target.run.timing.drain_timeout_s + LEAVE_S)
        return await self._gone(instance)

    async def _gone(self, instance: Instance) -> str:
        """How it ended. It was told to. Raises: Refused, when it has not ended in its time."""
        timeout_s = instance.target.run.timing.drain_timeout_s + LEAVE_S + GONE_S
        try:
            return (await asyncio.wait_for(self._switch.exited(instance), timeout_s)).reason
        except TimeoutError:
            raise Refused(
                f"instance {instance.id} (pid {instance.pid}) of {instance.target.version} to be gone",
                "a process that does not end, beside which no other may work",
                "look at why it does not end even when it is killed",
            ) from None
