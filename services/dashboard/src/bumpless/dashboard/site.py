"""The HTTP side put together: pages, doors, views and orders. What is not listed here is refused."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from pydantic import ValidationError

from bumpless.common import asyncapi
from bumpless.common.contract import commands as c
from bumpless.common.contract.events import CommandAnswered
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Direction
from bumpless.common.shell.clock import Clock, fresh_id
from bumpless.common.shell.log import get_logger
from bumpless.dashboard.doors import Doors
from bumpless.dashboard.guarding import Guard
from bumpless.dashboard.orders import KINDS, Wish, needed, order
from bumpless.dashboard.picture import Picture
from bumpless.dashboard.views import Views

log = get_logger(__name__)
STATIC = Path(__file__).with_name("static")
MOST_BYTES = 64 << 10
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
PAGES = ("/", "/fleet", "/rollouts", "/rollouts/{rollout}")
"""All one document; its script shows what the address says."""

Give = Callable[[c.OperatorCommand], Awaitable[CommandAnswered]]


class Site:
    def __init__(
        self, guard: Guard, doors: Doors, views: Views, picture: Picture, give: Give, clock: Clock
    ) -> None:
        self._picture, self._give, self._clock, self._doors = picture, give, clock, doors
        self._files = {
            f"/static/{path.relative_to(STATIC).as_posix()}": (path.read_bytes(), TYPES[path.suffix])
            for path in STATIC.rglob("*")
            if path.suffix in TYPES
        }
        self.app = web.Application(client_max_size=MOST_BYTES, middlewares=[guard.middleware])
        self.app.on_response_prepare.append(guard.on_prepare)
        self.app.add_routes(
            [
                *(web.get(page, self._page) for page in PAGES),
                *(web.get(name, self._file) for name in self._files),
                web.get("/asyncapi", self._events_page),
                web.get("/asyncapi.json", self._events),
                web.get("/api/session", doors.who),
                web.post("/api/login", doors.log_in),
                web.post("/api/logout", doors.log_out),
                web.get("/api/topics/{topic}", views.snapshot),
                web.get("/api/topics/{topic}/changes", views.stream),
                web.post("/api/rollouts/{rollout}/{command}", self._order),
            ]
        )

    async def _page(self, _: web.Request) -> web.Response:
        body, kind = self._files["/static/index.html"]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _events_page(self, _: web.Request) -> web.Response:
        """What any tool may read, for people; no login, as it says nothing of this fleet."""
        return web.Response(text=asyncapi.page("/static/style.css"), content_type="text/html")

    async def _events(self, _: web.Request) -> web.Response:
        return web.json_response(asyncapi.document())

    async def _file(self, request: web.Request) -> web.Response:
        body, kind = self._files[request.path]
        return web.Response(
            body=body, content_type=kind, charset="utf-8", headers={"Cache-Control": "no-cache"}
        )

    async def _order(self, request: web.Request) -> web.Response:
        command, rollout = request.match_info["command"], request.match_info["rollout"]
        if command not in KINDS:
            raise web.HTTPNotFound(reason=f"expected one of {', '.join(KINDS)}")
        session = self._doors.required(request, needed(command))
        progress = self._picture.progress(rollout)
        if progress is None:
            raise web.HTTPNotFound(reason="expected a rollout that is known here, found none")
        try:
            message = order(
                command,
                rollout,
                Wish.model_validate_json(await request.read()),
                by=session.name,
                revert=progress.direction is Direction.REVERT,
                id=fresh_id(),
                now=self._clock(),
            )
        except (ValidationError, ValueError) as error:
            raise web.HTTPBadRequest(reason=_first(error)) from error
        log.info("order", command=command, rollout=rollout, by=session.name, reason=message.reason)
        try:
            answer = await self._give(message)
        except Retryable as error:
            return web.json_response({"error": str(error)}, status=503)
        return web.json_response(json.loads(answer.model_dump_json(include={"accepted", "text"})))


def _first(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
