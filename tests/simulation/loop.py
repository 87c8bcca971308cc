"""An event loop whose time is simulated: it never waits, it jumps to the next timer. Same program, same order.

Only what coroutines, timers and futures need: no selector, no threads, no signals, and therefore little per step.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from bumpless.common.errors import Retryable

T = TypeVar("T")


class Stalled(Exception):
    """Nothing is left that could ever happen."""


class _Call:
    """What is to be called, unless it is cancelled before."""

    __slots__ = ("args", "callback", "context")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context or contextvars.copy_context()

    def cancel(self) -> None:
        self.callback = None
        self.args = ()


class Signal:
    """An event that is waited for at most some time, at less cost than `asyncio.wait_for`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._on = False
        self._waiting: list[asyncio.Future[None]] = []

    def set(self) -> None:
        self._on = True
        for waiting in self._waiting:
            _release(waiting)

    def clear(self) -> None:
        self._on = False

    async def wait(self, seconds: float) -> None:
        """Return when it is set, or after `seconds`."""
        if self._on:
            return
        released = self._loop.create_future()
        timer = self._loop.call_later(seconds, _release, released)
        self._waiting.append(released)
        try:
            await released
        finally:
            timer.cancel()
            self._waiting.remove(released)


def _release(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class VirtualLoop(asyncio.AbstractEventLoop):
    """`time()` is in simulated seconds since the start. Time goes on when nothing is left to do at its moment."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._ready: deque[_Call] = deque()
        self._timers: list[tuple[float, int, _Call]] = []
        self._number = 0
        self.failures: list[str] = []

    def time(self) -> float:
        return self._clock

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined] # those of the killed never end
        return task

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Any:
        call = _Call(callback, args, context)
        self._ready.append(call)
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        return self.call_at(self._clock + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        call = _Call(callback, args, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, call))
        return call

    async def nap(self, seconds: float) -> None:
        """As `asyncio.sleep`, at less cost."""
        over = self.create_future()
        self.call_later(seconds, _release, over)
        await over

    def run_until_complete(self, future: Awaitable[T]) -> T:
        """Run until `future` is done; raise Stalled when it never will be."""
        asyncio._set_running_loop(self)
        try:
            whole = asyncio.ensure_future(future, loop=self)
            ready, over = self._ready, whole.done
            while not over():
                call = ready.popleft() if ready else self._next()
                if call.callback is not None:
                    try:
                        call.context.run(call.callback, *call.args)
                    except Exception as error:  # noqa: BLE001 - what a process did not handle is a finding
                        self.call_exception_handler({"exception": error})
            return whole.result()
        finally:
            asyncio._set_running_loop(None)

    def _next(self) -> _Call:
        """What comes next in time."""
        while self._timers:
            when, _, call = heapq.heappop(self._timers)
            if call.callback is not None:
                self._clock = max(self._clock, when)
                return call
        raise Stalled

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, Retryable):  # what a killed process waited for
            self.failures.append(repr(error))

    def close(self) -> None:
        """Nothing goes on. What killed processes schedule while they are collected is never called."""
        self._ready.clear()
        self._timers.clear()
