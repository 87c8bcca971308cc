"""Lets the serving instance of a drained node come to an end of its work, beside whatever else is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bumpless.common.errors import ReleaseError
from bumpless.common.shell.log import get_logger
from bumpless.executor import inputs as heard
from bumpless.executor.ports import ProcessSwitch, Unanswered
from bumpless.executor.record import Instance

log = get_logger(__name__)

PAUSE_AGAIN_S = 0.5


class Leaving:
    """For one component; at most one instance leaves at a time."""

    def __init__(self, switch: ProcessSwitch, tell: Callable[[heard.Input], None]) -> None:
        self._switch, self._tell = switch, tell
        self._task: asyncio.Task[None] | None = None

    async def stand_down(self, instance: Instance) -> None:
        """Begin. Answers StoodDown, whatever happens."""
        await self.close()
        self._task = asyncio.create_task(self._leave(instance))

    async def stay_up(self, instance: Instance) -> None:
        """It works on after all. Raises nothing: one that died is missed by its watcher."""
        await self.close()
        try:
            await self._switch.resume(instance)
        except Unanswered as error:
            log.warning("could not resume", instance=instance.id, error=str(error))

    async def close(self) -> None:
        """Wait for it no more; it stays as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    async def _leave(self, instance: Instance) -> None:
        timing = instance.target.run.timing
        cut = await self._pause(instance, timing.drain_timeout_s)
        try:
            cut += await self._switch.drained(instance, timing.lame_duck_s, timing.drain_timeout_s)
        except (ReleaseError, OSError) as error:
            cut += (str(error) or repr(error),)
        self._tell(heard.StoodDown(instance, cut))

    async def _pause(self, instance: Instance, timeout_s: float) -> tuple[str, ...]:
        """Tried again until its time is over: whoever sends it work, a proxy for one, may be away for a moment."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        await self._switch.pause(instance)
                    except (ReleaseError, OSError) as error:
                        log.warning("could not pause", instance=instance.id, error=str(error))
                        await asyncio.sleep(PAUSE_AGAIN_S)
                    else:
                        return ()
        except TimeoutError:
            return (f"it could not be paused within {timeout_s:g} s",)
