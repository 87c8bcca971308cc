"""How changes of a topic come to everybody who follows it: put into words once, then written to one after the other.

Whoever does not take at once what is written is left to its own task, so that a reader that is slow holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from bumpless.dashboard.signals import Signals

REST_EACH_S, LONGEST_REST_S = 0.005, 1.0
"""How long the next change waits, for each browser that the last one went to, so that all of them together cost little
more than forty: 20 get ten a second, 200 get one."""
AT_ONCE = 16 << 10
"""Bytes that a connection without a backlog takes without waiting."""

After = Callable[[int], tuple[int, bytes] | None]
"""Of a topic: the events after a number, and the last one's; none where they are not kept."""


class Follower:
    """A browser. `sent`: the number of its last change; `told`: whether it believes the broker to be there.

    `alone` is set where its own task is to look what it lacks.
    """

    def __init__(self, request: web.Request, answer: web.StreamResponse, sent: int) -> None:
        self._request, self.answer, self.sent = request, answer, sent
        self.told = True
        self.alone = asyncio.Event()
        self.alone.set()

    @property
    def backlog(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.get_write_buffer_size() > 0


class Crowd:
    """Everybody who follows the topic `name`."""

    def __init__(self, name: str, signals: Signals, after: After) -> None:
        self._name, self._signals, self._after = name, signals, after
        self._followers: set[Follower] = set()
        self._telling: asyncio.Task[None] | None = None

    def join(self, follower: Follower) -> None:
        self._followers.add(follower)
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell())

    def leave(self, follower: Follower) -> bool:
        """Whether nobody is left."""
        self._followers.discard(follower)
        if self._followers:
            return False
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        return True

    async def _tell(self) -> None:
        while True:
            changed = self._signals.changed(self._name)
            await self._round()
            await asyncio.sleep(min(len(self._followers) * REST_EACH_S, LONGEST_REST_S))
            await changed

    async def _round(self) -> None:
        words: dict[int, tuple[int, bytes] | None] = {}
        for follower in list(self._followers):
            if follower.alone.is_set():
                continue
            if follower.sent not in words:
                words[follower.sent] = self._after(follower.sent)
            found = words[follower.sent]
            if (
                found is None
                or len(found[1]) > AT_ONCE
                or follower.backlog
                or follower.told is not self._signals.following
                or self._signals.ending
            ):
                follower.alone.set()
            elif found[1]:
                follower.sent = found[0]
                try:
                    await follower.answer.write(found[1])
                except ConnectionError:
                    follower.alone.set()  # its task finds the same, and ends
