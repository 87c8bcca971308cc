"""The door for requests from outside: an HTTP server that is open until it is closed. It knows no secret and no body."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web


class Door:
    def __init__(self) -> None:
        self._runner: web.AppRunner | None = None

    async def open(
        self, host: str, port: int, routes: Iterable[web.AbstractRouteDef], max_bytes: int
    ) -> None:
        """A body of more than `max_bytes` is refused where it is read. Raises: OSError, if the address is taken."""
        app = web.Application(client_max_size=max_bytes)
        app.add_routes(routes)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, reuse_address=True).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
