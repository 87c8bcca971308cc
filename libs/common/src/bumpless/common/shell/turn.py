"""When a process of the control plane works: from its start until it is told to end, but for the pauses between.

As a component of a release it keeps the service contract (docs/service-contract.md): the executor pauses it on its admin
socket, and another process takes the work over. Without an executor nobody pauses it. This says whose turn it is and answers
the executor; what beginning and ending mean is for the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bumpless.common.shell.service_manager import ServiceManager
from bumpless.common.telemetry import INFLIGHT, RELEASE
from bumpless.service.admin import Admin
from bumpless.service.contract import Contract, read_contract
from bumpless.service.http import HttpServer
from bumpless.service.messages import Request, Response
from bumpless.service.metrics import Metrics

ADMIN = "admin"
PAUSE_S = 4.0
"""A pause is answered after so long also while work is still coming to its end: the executor waits 5 s for the answer, and
asks what is left afterwards."""


async def _nothing() -> None:
    pass


@functools.cache
def contract() -> Contract:
    """What the executor told this process; reading it takes the sockets over, which can be done once."""
    return read_contract(os.environ, os.getpid())


class Turn:
    """`over` is set while it is not this process's turn; for good once `stop` is.

    `measure` sets what is only known when it is looked at; `count` is the number of open connections.
    """

    def __init__(self, told: Contract, manager: ServiceManager) -> None:
        self._told, self._manager = told, manager
        self.stop, self.over = asyncio.Event(), asyncio.Event()
        self._mine, self._idle = asyncio.Event(), asyncio.Event()
        self._mine.set()
        self._idle.set()
        self.measure: Callable[[], Awaitable[None]] = _nothing
        self.count: Callable[[], int] = lambda: 0
        self.state = "starting"
        self.inflight = self.streams = 0
        self.metrics, self.handover = Metrics(), ""

    @classmethod
    @contextlib.asynccontextmanager
    async def of_this_process(cls) -> AsyncIterator[Self]:
        """Ends with SIGTERM or SIGINT; the executor is answered until the block is left."""
        turn = cls(contract(), ServiceManager.of_this_process())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, turn.end)
        admin = turn._answering()
        try:
            yield turn
        finally:
            turn.end()
            if admin is not None:
                admin.close_listeners(sweep=False)
                await admin.abort()

    # for the service

    async def mine(self) -> bool:
        """Wait until it is our turn; False: it never is again."""
        await self._mine.wait()
        return not self.stop.is_set()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Meanwhile there is something that a pause has to wait for."""
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()

    def ready(self, status: str) -> None:
        """It works, or would as soon as it may."""
        if self.state == "starting":
            self.state = "serving"
        self._manager.ready(status)

    def status(self, text: str) -> None:
        self._manager.status(text)

    def end(self) -> None:
        if not self.stop.is_set():
            self.state = "draining"
            self._manager.stopping()
        self.stop.set()
        self.over.set()
        self._mine.set()

    # for the executor: what `Admin` shows and moves

    @property
    def connections(self) -> int:
        return self.count()

    @property
    def unacknowledged(self) -> int:
        return 0 if self._idle.is_set() else 1

    @property
    def paused(self) -> bool:
        return self.over.is_set()

    async def pause(self) -> None:
        """The work comes to its end; whether it has, `unacknowledged` says."""
        self.state = "paused"
        self._mine.clear()
        self.over.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), PAUSE_S)

    async def resume(self) -> None:
        self.state = "serving"
        self.over.clear()
        self._mine.set()

    def _answering(self) -> HttpServer | None:
        """None: nobody asks."""
        sockets = self._told.sockets.get(ADMIN, ())
        if not sockets:
            return None
        RELEASE.labels(self._told.version, self._told.digest).set(1)
        admin = Admin(self, [])

        async def answer(request: Request) -> Response:
            if request.path != "/metrics":
                return await admin.answer(request)
            await self.measure()
            INFLIGHT.set(self.inflight)
            return Response(200, generate_latest(), CONTENT_TYPE_LATEST)

        server = HttpServer(sockets, answer)
        server.accept()
        return server
