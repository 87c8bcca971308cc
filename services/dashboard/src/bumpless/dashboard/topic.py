"""What browsers see, as values under keys, and every change of them with a number. Pure.

A browser takes a snapshot and then the changes after its number, so a connection that breaks leaves no gap: it asks for
what came after the last number it has, and takes a new snapshot where that is no longer kept.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

KEPT_FRAMES = 512
KEPT_BYTES = 4 << 20
"""Of the changes of one topic: whichever is reached first."""


class Topic:
    """Values (JSON types) under keys. `frame` closes what was set since the last one into one numbered change.

    `number` is that of the last change; a topic that stands for an earlier one goes on above its numbers.
    """

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self._values: dict[str, Any] = {}
        self._changed: set[str] = set()
        self._frames: deque[tuple[int, bytes]] = deque()
        self._bytes = 0

    def get(self, key: str) -> Any:
        return self._values.get(key)

    def under(self, prefix: str) -> list[str]:
        """The keys that begin so, the oldest first."""
        return [key for key in self._values if key.startswith(prefix)]

    def set(self, key: str, value: Any) -> None:
        """None takes the key away."""
        if self._values.get(key) == value:
            return
        if value is None:
            del self._values[key]
        else:
            self._values[key] = value
        self._changed.add(key)

    def frame(self) -> bool:
        """Number what changed; whether anything did."""
        if not self._changed:
            return False
        self.number += 1
        change = {key: self._values.get(key) for key in self._changed}
        self._changed.clear()
        data = _json({"number": self.number, "values": change})
        self._frames.append((self.number, data))
        self._bytes += len(data)
        while len(self._frames) > KEPT_FRAMES or (self._bytes > KEPT_BYTES and len(self._frames) > 1):
            self._bytes -= len(self._frames.popleft()[1])
        return True

    def after(self, number: int) -> list[tuple[int, bytes]] | None:
        """The changes that follow `number`; None where not all of them are kept, or there never was such a number."""
        if number == self.number:
            return []
        if number > self.number or not self._frames or number < self._frames[0][0] - 1:
            return None
        return [frame for frame in self._frames if frame[0] > number]

    def snapshot(self) -> bytes:
        """Everything, under the number after which changes go on. Call it right after `frame`."""
        return _json({"number": self.number, "values": self._values})


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
