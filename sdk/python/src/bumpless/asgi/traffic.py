"""What stands between uvicorn and the application: counts requests and streams, and tells clients to move.

Invariants: while the endpoint does not accept, every answer says `Connection: close`, decided when its head is
written; a stream that was told to leave gets a farewell, and its application sees a disconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from bumpless.service.endpoint import Observer, reconnect_delay_ms

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

RESTART = 1012
"""WebSocket close code "service restart"."""
GRACE_S = 2.0
"""How long an application may go on with a stream whose client was sent away."""


class Traffic:
    """An ASGI application around another. `accepting()` says whether new connections are taken."""

    def __init__(self, app: Application, accepting: Callable[[], bool], observe: Observer) -> None:
        self._app, self._accepting, self._observe = app, accepting, observe
        self._streams: set[_Exchange] = set()
        self._spread_s: float | None = None
        self.inflight = 0

    @property
    def streams(self) -> int:
        return len(self._streams)

    def tell_streams(self, spread_s: float) -> None:
        """Each stream leaves at a random moment within `spread_s`; so does one that begins later."""
        self._spread_s = spread_s
        for exchange in self._streams:
            exchange.leave_within(spread_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(self, scope, receive, send)
        self.inflight += 1
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except (asyncio.CancelledError, OSError):
            if not exchange.left:
                raise
            if (task := asyncio.current_task()) is not None and task.cancelling():
                task.uncancel()
        finally:
            exchange.end()

    def stop_accepting_on(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The headers, with the word that this connection ends, where it does."""
        if self._accepting():
            return headers
        return [*(pair for pair in headers if pair[0].lower() != b"connection"), (b"connection", b"close")]

    def answered(self, method: str, status: int, seconds: float) -> None:
        self._observe(method, status, seconds)

    def begun(self, exchange: _Exchange) -> None:
        self.inflight -= 1
        self._streams.add(exchange)
        if self._spread_s is not None:
            exchange.leave_within(self._spread_s)

    def ended(self, exchange: _Exchange) -> None:
        if exchange in self._streams:
            self._streams.discard(exchange)
        else:
            self.inflight -= 1


class _Exchange:
    """One request and its answer, or one WebSocket."""

    def __init__(self, traffic: Traffic, scope: Scope, receive: Receive, send: Send) -> None:
        self._traffic, self._receive, self._send = traffic, receive, send
        self._websocket = scope["type"] == "websocket"
        self._method = "GET" if self._websocket else str(scope["method"])
        self._started = time.monotonic()
        self._status = 0
        self._leave: asyncio.Event | None = None
        self._task = asyncio.current_task()
        self._timers: list[asyncio.TimerHandle] = []
        self._farewell: asyncio.Task[None] | None = None
        self._counted = self._over = False
        self.left = False

    def leave_within(self, spread_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(random.uniform(0, spread_s), self._part))

    async def receive(self) -> Message:
        if self._leave is None:
            return await self._receive()
        if not self.left:
            coming = asyncio.ensure_future(self._receive())
            leaving = asyncio.ensure_future(self._leave.wait())
            try:
                await asyncio.wait((coming, leaving), return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    return coming.result()
            finally:
                leaving.cancel()
                coming.cancel()
        return (
            {"type": "websocket.disconnect", "code": RESTART}
            if self._websocket
            else {"type": "http.disconnect"}
        )

    async def send(self, message: Message) -> None:
        if self.left:
            raise OSError("the client of this stream was told to reconnect")
        kind = message["type"]
        if kind == "http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            self._status = int(message["status"])
            message = {**message, "headers": self._traffic.stop_accepting_on(headers)}
            if any(n.lower() == b"content-type" and v.startswith(b"text/event-stream") for n, v in headers):
                await self._send(message)
                self._begin()
                return
        elif kind == "websocket.accept":
            self._status = 101
            await self._send(message)
            self._begin()
            return
        await self._send(message)
        if kind == "websocket.close" or (
            kind == "http.response.body" and not message.get("more_body", False)
        ):
            self._over = True
            self._answered()

    def end(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._over = True
        self._answered()
        self._traffic.ended(self)

    def _begin(self) -> None:
        self._answered()
        self._leave = asyncio.Event()
        self._traffic.begun(self)

    def _answered(self) -> None:
        if self._counted:
            return
        self._counted = True
        self._traffic.answered(self._method, self._status or 500, time.monotonic() - self._started)

    def _part(self) -> None:
        if self.left or self._over or self._leave is None:
            return
        self.left = True
        self._farewell = asyncio.ensure_future(self._say_goodbye())
        self._leave.set()
        if self._task is not None:
            self._timers.append(asyncio.get_running_loop().call_later(GRACE_S, self._task.cancel))

    async def _say_goodbye(self) -> None:
        last = f"retry: {reconnect_delay_ms()}\nevent: reconnect\ndata:\n\n".encode()
        with contextlib.suppress(OSError, RuntimeError):  # the client left first
            if self._websocket:
                await self._send({"type": "websocket.close", "code": RESTART, "reason": "reconnect"})
            else:
                await self._send({"type": "http.response.body", "body": last, "more_body": False})
