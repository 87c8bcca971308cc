"""Accepts on shared listening sockets, and can stop and go on without losing a connection.

Accepted and handed on in one step, unlike in asyncio's own server, which can drop what it accepted when it is closed
before the connection was attached (cpython issue 109564).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

from bumpless.service.contract import BACKLOG

_log = logging.getLogger("bumpless.service")

_BATCH = 64
_AGAIN_S = 0.1


class Acceptor:
    """`attach(connection)` owns every accepted socket from the moment it is called."""

    def __init__(self, sockets: Sequence[socket.socket], attach: Callable[[socket.socket], None]) -> None:
        self.accepting = False
        self._sockets = list(sockets)
        self._attach = attach
        self._retry: asyncio.TimerHandle | None = None

    @property
    def addresses(self) -> list[Any]:
        """What the listening sockets are bound to, as getsockname gives it."""
        return [listener.getsockname() for listener in self._sockets]

    def accept(self) -> None:
        """Starts, or after `pause` resumes, taking connections."""
        self.accepting = True
        loop = asyncio.get_running_loop()
        for listener in self._sockets:
            loop.add_reader(listener.fileno(), self._ready, listener)

    def pause(self) -> None:
        """Takes no further connection; the other process that shares the socket gets them."""
        self.accepting = False
        self._stop_polling()

    def close(self, *, sweep: bool) -> None:
        """Closes our descriptors. `sweep` first takes what waits in a backlog that dies with us."""
        self.pause()
        for listener in self._sockets:
            if sweep:
                self._ready(listener, BACKLOG)
            listener.close()
        self._sockets.clear()

    def _stop_polling(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        loop = asyncio.get_running_loop()
        for listener in self._sockets:
            loop.remove_reader(listener.fileno())

    def _ready(self, listener: socket.socket, batch: int = _BATCH) -> None:
        for _ in range(batch):
            try:
                accepted, _peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # Out of descriptors or memory, mostly: the connection stays queued until there is room.
                _log.error("expected to accept a connection, found %s", error.strerror)
                self._stop_polling()
                if self.accepting:
                    self._retry = asyncio.get_running_loop().call_later(_AGAIN_S, self.accept)
                return
            accepted.setblocking(False)
            if accepted.family in (socket.AF_INET, socket.AF_INET6):
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._attach(accepted)
