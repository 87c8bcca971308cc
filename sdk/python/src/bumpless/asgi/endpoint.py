"""uvicorn's protocols on inherited sockets, without uvicorn's server.

Its server cannot pause, takes a socket given by number for a Unix one (so that TCP_NODELAY is never set), and drops
connections that were accepted and not yet attached when it is closed (asyncio's `Server.close()`). So the accept loop
and the life cycle are those of `bumpless.service`, and uvicorn parses, writes and runs the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

from uvicorn import Config
from uvicorn.importer import import_from_string
from uvicorn.server import ServerState

from bumpless.asgi.traffic import Application, Traffic
from bumpless.service import Service
from bumpless.service.acceptor import Acceptor
from bumpless.service.endpoint import Observer

LOOK_S = 0.02
"""Between two looks whether the last connection is gone: uvicorn's protocols tell nobody."""
KEEP_ALIVE_S = 75
"""uvicorn's own 5 s end connections that slow clients still mean to use."""


def serve_asgi(
    service: Service,
    app: Application | str,
    name: str = "http",
    default: str = "127.0.0.1:8080",
    **options: Any,
) -> None:
    """Serves `app`, or the one that MODULE:NAME means, on the inherited sockets called `name`; by hand, on `default`.

    `options` are those of `uvicorn.Config`, such as `root_path`, `proxy_headers`, `ssl_certfile` or `http`. The
    lifespan starts before the functions of `service.on_ready` that are declared later.
    """
    loaded: Application = import_from_string(app) if isinstance(app, str) else app
    made: list[AsgiEndpoint] = []

    def factory(sockets: Sequence[socket.socket], observe: Observer) -> AsgiEndpoint:
        made.append(AsgiEndpoint(sockets, loaded, observe, **options))
        return made[-1]

    @service.on_ready
    async def startup() -> None:
        await made[0].startup()

    @service.on_stop
    async def shutdown() -> None:
        if made:
            await made[0].shutdown()

    service.serve(name, default, factory)


class AsgiEndpoint:
    """Implements `bumpless.service.Endpoint`."""

    def __init__(
        self, sockets: Sequence[socket.socket], app: Application, observe: Observer, **options: Any
    ) -> None:
        self._acceptor = Acceptor(sockets, self._attach)
        self._traffic = Traffic(app, lambda: self._acceptor.accepting, observe)
        chosen = {"timeout_keep_alive": KEEP_ALIVE_S, "log_config": None, "access_log": False, **options}
        self._config = Config(self._traffic, **chosen)
        self._config.load()
        self._state = ServerState()
        self._lifespan = self._config.lifespan_class(self._config)
        self._attaching: set[asyncio.Task[Any]] = set()
        self._clock: asyncio.TimerHandle | None = None

    async def startup(self) -> None:
        """Raises: RuntimeError, where the application says that it cannot start."""
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            raise RuntimeError("expected the application's lifespan to start, found that it failed")
        self._tick()

    async def shutdown(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            await self._lifespan.shutdown()

    @property
    def inflight(self) -> int:
        return self._traffic.inflight

    @property
    def streams(self) -> int:
        return self._traffic.streams

    @property
    def connections(self) -> int:
        return len(self._state.connections) + len(self._attaching)

    @property
    def addresses(self) -> list[Any]:
        return self._acceptor.addresses

    def accept(self) -> None:
        self._acceptor.accept()

    def pause(self) -> None:
        self._acceptor.pause()

    def close_listeners(self, *, sweep: bool) -> None:
        self._acceptor.close(sweep=sweep)

    def tell_streams(self, spread_s: float) -> None:
        self._traffic.tell_streams(spread_s)

    def close_idle(self) -> None:
        for connection in list(self._state.connections):
            if isinstance(connection, self._config.http_protocol_class) and not _touched(connection):
                connection.shutdown()

    async def wait_closed(self) -> None:
        while self.connections:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)

    async def abort(self) -> int:
        left: list[Any] = [*self._state.connections]
        for connection in left:
            connection.transport.abort()
        for task in (*self._state.tasks, *self._attaching):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self.wait_closed()
        return len(left)

    def _attach(self, accepted: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(accepted))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        config = self._config
        protocol: Any = config.http_protocol_class  # h11, httptools or another; all are made alike
        with contextlib.suppress(OSError, ssl.SSLError):  # the peer left, or its handshake failed
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol(config=config, server_state=self._state, app_state=self._lifespan.state),
                accepted,
                ssl=config.ssl if config.is_ssl else None,
            )

    def _tick(self) -> None:
        date = [(b"date", formatdate(usegmt=True).encode())] if self._config.date_header else []
        self._state.default_headers = date + self._config.encoded_headers
        self._clock = asyncio.get_running_loop().call_later(1.0, self._tick)


def _touched(connection: Any) -> bool:
    """Whether bytes wait that the loop has not read: their request is served first."""
    poller = select.poll()
    poller.register(connection.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poller.poll(0))
