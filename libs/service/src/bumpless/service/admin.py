"""The admin endpoints of a managed process: health, readiness, metrics, progress, pause and resume."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from bumpless.service.messages import Request, Response
from bumpless.service.metrics import CONTENT_TYPE, Metrics

_log = logging.getLogger("bumpless.service")

_PATHS = {
    "/healthz": "GET",
    "/readyz": "GET",
    "/metrics": "GET",
    "/drain": "GET",
    "/pause": "POST",
    "/resume": "POST",
}


class Administered(Protocol):
    """What these endpoints show and move."""

    state: str
    metrics: Metrics

    @property
    def handover(self) -> str: ...

    @property
    def inflight(self) -> int: ...

    @property
    def streams(self) -> int: ...

    @property
    def connections(self) -> int: ...

    @property
    def unacknowledged(self) -> int: ...

    @property
    def paused(self) -> bool: ...

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...


class Admin:
    """`checks` are those of /healthz: one that raises makes the process unhealthy."""

    def __init__(self, process: Administered, checks: list[Callable[[], Awaitable[None]]]) -> None:
        self._process, self._checks = process, checks

    async def answer(self, request: Request) -> Response:
        process = self._process
        expected = _PATHS.get(request.path)
        if expected is None:
            return Response(404, b"not found\n")
        if request.method != expected:
            return Response(405, b"method not allowed\n")
        match request.path:
            case "/healthz":
                return _verdict(await self._unhealthy())
            case "/readyz":
                return _verdict(process.state if process.state != "serving" else await self._unhealthy())
            case "/metrics":
                return Response(200, process.metrics.expose(), CONTENT_TYPE)
            case "/pause" | "/resume":
                return await self._move(pause=request.path == "/pause")
        return Response.json(self._progress())

    async def _move(self, *, pause: bool) -> Response:
        process = self._process
        if process.state not in ("starting", "draining"):
            try:
                await (process.pause() if pause else process.resume())
            except Exception as error:
                _log.exception("the state that was left is refused")
                return Response(500, f"expected to take the state over, found {error!r}\n".encode())
        return Response.json(self._progress(), 409 if process.state in ("starting", "draining") else 200)

    async def _unhealthy(self) -> str:
        for check in self._checks:
            try:
                await check()
            except Exception as error:
                return f"{type(error).__name__}: {error}"
        return ""

    def _progress(self) -> dict[str, object]:
        process = self._process
        return {
            "inflight": process.inflight,
            "streams": process.streams,
            "connections": process.connections,
            "unacknowledged": process.unacknowledged,
            "paused": process.paused,
            "state": process.state,
            "handover": process.handover,
        }


def _verdict(reason: str) -> Response:
    return Response(503 if reason else 200, f"{reason or 'ok'}\n".encode())
