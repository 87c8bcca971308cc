"""What the executor says to instances that keep the service contract, over their admin sockets.

Every driver whose instances have an admin socket uses it; how a process lives and dies is the driver's own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol

from bumpless.executor.drivers.admin import AdminSockets
from bumpless.executor.ports import Unanswered

POLL_S = 0.1
"""Between two looks at what a draining instance still does, and the longest between two at one that starts."""
FIRST_POLL_S = 0.01
"""What starts fast is noticed fast."""
SETTLED_LOOKS = 2
"""An instance counts as idle when it was idle this many looks in a row: a request may be between accept and count."""


class Life(Protocol):
    """A process that can be waited for."""

    @property
    def alive(self) -> bool: ...

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Until it is gone; False: it is still there after `timeout_s`."""
        ...


class Traffic:
    """For the instances of one driver, known by their ids. Remembers since when each is paused."""

    def __init__(self, admin: AdminSockets) -> None:
        self._admin = admin
        self._paused_at: dict[str, float] = {}

    async def check(self, instance: str) -> None:
        """One health check. Raises: Unanswered."""
        await self._admin.ask(instance, "GET", "/healthz")

    async def pause(self, instance: str) -> None:
        """Raises: Unanswered."""
        await self._admin.ask(instance, "POST", "/pause")
        self._paused_at[instance] = asyncio.get_running_loop().time()

    async def resume(self, instance: str) -> None:
        """Raises: Unanswered."""
        await self._admin.ask(instance, "POST", "/resume")
        self._paused_at.pop(instance, None)

    async def scrape(self, instance: str) -> str:
        """Its metrics. Raises: Unanswered."""
        return await self._admin.ask(instance, "GET", "/metrics")

    async def activate(self, instance: str, timeout_s: float) -> str:
        """As `ports.ProcessSwitch.activate`. Raises: Unanswered."""
        said = await self._admin.activate(instance, timeout_s)
        self._paused_at.pop(instance, None)
        return said

    async def until_answers(self, instance: str, path: str, life: Life, method: str = "GET") -> None:
        """Until `path` is answered with 200. The caller sets the deadline. Raises: Unanswered, once it is gone."""
        pause_s = FIRST_POLL_S
        while True:
            try:
                await self._admin.ask(instance, method, path)
                return
            except Unanswered:
                if await life.wait(pause_s):
                    raise
            pause_s = min(POLL_S, pause_s * 1.5)

    async def drained(
        self, instance: str, life: Life, lame_duck_s: float, timeout_s: float
    ) -> tuple[str, ...]:
        """As `ports.ProcessSwitch.drained`. Without a pause the lame duck counts from now."""
        clock = asyncio.get_running_loop().time
        lame_until = self._paused_at.get(instance, clock()) + lame_duck_s
        deadline = lame_until + timeout_s
        idle, poll_s = 0, FIRST_POLL_S
        left: tuple[str, ...] = ("it did not say what it still does",)
        while life.alive:
            with contextlib.suppress(Unanswered):
                progress = await self._admin.progress(instance)
                left = _left(progress)
                quiet = clock() >= lame_until or progress["connections"] == 0
                idle = idle + 1 if quiet and not left else 0
            if idle >= SETTLED_LOOKS:
                return ()
            if clock() >= deadline:
                return left
            await life.wait(poll_s)
            poll_s = min(POLL_S, 2 * poll_s)
        return ()

    def forget(self, instance: str) -> None:
        """It is gone."""
        self._paused_at.pop(instance, None)


def _left(progress: Mapping[str, int]) -> tuple[str, ...]:
    words = {"inflight": "requests in flight", "unacknowledged": "messages unacknowledged"}
    return tuple(f"{progress[name]} {what}" for name, what in words.items() if progress[name] > 0)
