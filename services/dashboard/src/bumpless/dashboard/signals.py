"""Who waits for what to change, within this process."""

from __future__ import annotations

import asyncio


class Signals:
    """`following`: whether the broker is there, so that what is shown is what is. `ending`: nothing more is going to come.

    `watching`: how many streams of changes go out.
    """

    def __init__(self) -> None:
        self.following, self.ending, self.watching = True, False, 0
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def changed(self, topic: str) -> asyncio.Future[None]:
        """Done when the topic has another number, or `following` or `ending` another value; one waits for each topic."""
        found = self._waiting.get(topic)
        if found is None or found.done():
            found = self._waiting[topic] = asyncio.get_running_loop().create_future()
        return found

    def wake(self, topic: str) -> None:
        found = self._waiting.pop(topic, None)
        if found is not None and not found.done():
            found.set_result(None)

    def follow(self, following: bool) -> None:
        if following is not self.following:
            self.following = following
            self._wake_all()

    def end(self) -> None:
        self.ending = True
        self._wake_all()

    def _wake_all(self) -> None:
        for topic in list(self._waiting):
            self.wake(topic)
