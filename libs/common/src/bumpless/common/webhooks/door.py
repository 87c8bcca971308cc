"""The door for requests from outside: an HTTP server that is open until it is closed. It knows no secret and no body."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence

from aiohttp import web

from bumpless.common.shell.shared_site import SharedSite


class Door:
    def __init__(self) -> None:
        self._runner: web.AppRunner | None = None
        self._shared: SharedSite | None = None

    async def open(
        self,
        host: str,
        port: int,
        routes: Iterable[web.AbstractRouteDef],
        max_bytes: int,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        """On `sockets`, where an executor gave us some. A body of more than `max_bytes` is refused where it is read.

        Raises: OSError, if the address is taken.
        """
        app = web.Application(client_max_size=max_bytes)
        app.add_routes(routes)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        if sockets:
            self._shared = SharedSite(self._runner, sockets)
            self._shared.accept()
        else:
            await web.TCPSite(self._runner, host, port, reuse_address=True).start()

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()
            self._shared = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
