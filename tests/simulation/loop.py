"""An asyncio loop whose time is simulated: it never waits, it jumps to the next timer. Same program, same order."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

from bumpless.common.errors import Retryable


class Stalled(Exception):
    """Nothing is left that could ever happen."""


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: what the loop would sleep is added to its clock."""

    clock = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stalled
        self.clock += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is in simulated seconds since the start."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self.set_exception_handler(self._failed)
        self.failures: list[str] = []

    def time(self) -> float:
        return self._jumping.clock

    def _check_closed(self) -> None:
        """Processes that were killed are collected after the end; what they do then is of no interest."""

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, Retryable):  # what a killed process waited for
            self.failures.append(repr(error))
