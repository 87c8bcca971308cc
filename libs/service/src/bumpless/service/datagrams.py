"""Answers datagrams on bound sockets. Both instances of a switch read from the same one, so none is lost between them."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from bumpless.service.endpoint import Observer

_log = logging.getLogger("bumpless.service")

DatagramHandler = Callable[[bytes, Any], Awaitable[bytes | None]]
"""(datagram, sender's address) to the answer, or None."""

_BATCH = 64
_LARGEST = 65_535


class DatagramServer:
    """Implements `Endpoint`. A datagram that was read is answered, also after a pause."""

    def __init__(
        self, sockets: Sequence[socket.socket], handler: DatagramHandler, observe: Observer | None = None
    ) -> None:
        self._sockets, self._handler, self._observe = list(sockets), handler, observe
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self.streams = self.connections = 0

    @property
    def inflight(self) -> int:
        return len(self._tasks)

    @property
    def addresses(self) -> list[Any]:
        return [one.getsockname() for one in self._sockets]

    def accept(self) -> None:
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            loop.add_reader(one.fileno(), self._ready, one)

    def pause(self) -> None:
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            loop.remove_reader(one.fileno())

    def close_listeners(self, *, sweep: bool) -> None:
        self.pause()
        if sweep:
            for one in self._sockets:
                self._ready(one)
        self._closing = True
        self._close_if_done()

    def tell_streams(self, spread_s: float) -> None:
        return

    def close_idle(self) -> None:
        return

    async def wait_closed(self) -> None:
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def abort(self) -> int:
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return len(left)

    def _ready(self, one: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                data, sender = one.recvfrom(_LARGEST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # an ICMP answer to an earlier datagram of ours
                _log.debug("expected a datagram, found %s", error.strerror)
                continue
            task = asyncio.get_running_loop().create_task(self._answer(one, data, sender))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def _answer(self, one: socket.socket, data: bytes, sender: Any) -> None:
        started, status = time.monotonic(), 200
        try:
            answer = await self._handler(data, sender)
            if answer is not None:
                await asyncio.get_running_loop().sock_sendto(one, answer, sender)
        except OSError as error:
            _log.debug("expected to answer a datagram, found %s", error.strerror)
        except Exception:
            status = 500
            _log.exception("datagram handler failed")
        if self._observe is not None:
            self._observe("DATAGRAM", status, time.monotonic() - started)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._close_if_done()

    def _close_if_done(self) -> None:
        # Not before the last answer has gone out through it.
        if self._closing and not self._tasks:
            for one in self._sockets:
                one.close()
            self._sockets.clear()
