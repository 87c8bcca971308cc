"""The operator's port of every service: `/metrics` for Prometheus, `/healthz` for whoever restarts it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


async def _nothing() -> None:
    pass


async def serve_ops(
    port: int,
    healthy: Callable[[], bool],
    measure: Callable[[], Awaitable[None]] = _nothing,
    host: str = "127.0.0.1",
) -> web.AppRunner | None:
    """Serve until the returned runner is cleaned up; `port` 0 serves nothing and returns None.

    `measure` sets what is only known when it is looked at, before every answer; it raises nothing.
    """
    if port == 0:
        return None

    async def metrics(_: web.Request) -> web.Response:
        await measure()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        ok = healthy()
        return web.Response(status=200 if ok else 503, text="ok\n" if ok else "not ready\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
