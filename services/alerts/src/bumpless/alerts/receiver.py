"""The door for alerts from outside, and for links by which people acknowledge: HTTP, one secret.

A request is answered with 200 only when everything in it is saved. What is wrong is said in the answer, and kept on the
dead-letter stream, since Alertmanager does not send again what was refused.
"""

from __future__ import annotations

import html
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from aiohttp import web

from bumpless.alerts import ack_link
from bumpless.alerts.ack_link import Link
from bumpless.alerts.incoming import understood
from bumpless.alerts.inputs import Observed
from bumpless.common.errors import Retryable
from bumpless.common.model.alerting import AlertsFile
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.common.webhooks.door import Door
from bumpless.common.webhooks.signing import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Stranger,
    fresh,
    read_secret,
    same,
    signed,
)

log = get_logger(__name__)

PATH = "/api/v1/alertmanager"

Take = Callable[[list[Observed]], Awaitable[int]]
"""Saves what was observed; returns how many there was no room for."""
Park = Callable[[bytes, str], Awaitable[None]]
Acknowledge = Callable[[Link], Awaitable[str]]
"""Does so; returns why not, empty: it was."""


class Receiver:
    def __init__(
        self,
        secret: Path,
        file: Callable[[], AlertsFile],
        take: Take,
        park: Park,
        acknowledge: Acknowledge,
        clock: Clock,
    ) -> None:
        self._acknowledge = acknowledge
        self._secret, self._file, self._take, self._park, self._clock = secret, file, take, park, clock
        self._door = Door()

    async def start(self, host: str, port: int, sockets: Sequence[socket.socket] = ()) -> None:
        """Raises: OSError, if the address is taken; Refused or ValueError, if there is no secret."""
        read_secret(self._secret)
        routes = [
            web.post(PATH, self._post),
            web.get(ack_link.PATH, self._ack_page),
            web.post(ack_link.PATH, self._ack),
        ]
        await self._door.open(host, port, routes, self._file().receiver.max_bytes, sockets)

    async def stop(self) -> None:
        await self._door.close()

    async def _post(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            limit = self._file().receiver.max_bytes
            return _answer(413, f"expected at most {limit} bytes, found more")
        now = self._clock()
        refusal = self._stranger(request, body, now)
        if refusal:
            log.warning("webhook refused", reason=refusal, remote=request.remote)
            return _answer(401, refusal)
        try:
            found = understood(body, self._file(), now)
        except ValueError as error:
            return await self._wrong(body, str(error))
        try:
            full = await self._take(found.observed)
        except Retryable as error:
            return _answer(503, f"nothing is lost if you send it again: {error}")
        if full:
            return _answer(429, f"{full} alerts are one too many: there are so many already")
        result = {
            "accepted": len(found.observed),
            "ours": found.ours,
            "refused": [asdict(fault) for fault in found.faults],
        }
        if found.faults:
            reasons = "; ".join(f"alerts.{fault.place}.{fault.reason}" for fault in found.faults[:10])
            return await self._wrong(body, reasons, **result)
        return web.json_response(result)

    async def _ack_page(self, request: web.Request) -> web.Response:
        found = self._link(request)
        if isinstance(found, str):
            return _page(403, found)
        return _page(200, f"Alert {found.alert}, sent to {found.channel}.", ack_link.BUTTON)

    async def _ack(self, request: web.Request) -> web.Response:
        found = self._link(request)
        if isinstance(found, str):
            return _page(403, found)
        try:
            refusal = await self._acknowledge(found)
        except Retryable as error:
            return _page(503, f"try it again: {error}")
        return _page(409, refusal) if refusal else _page(200, f"Alert {found.alert} is acknowledged.")

    def _link(self, request: web.Request) -> Link | str:
        """What the link says, or why it says nothing."""
        try:
            return ack_link.read(read_secret(self._secret), request.query, self._clock())
        except (OSError, ValueError) as error:
            return str(error)

    async def _wrong(self, body: bytes, reason: str, **more: object) -> web.Response:
        try:
            await self._park(body, reason)
        except Retryable as error:
            return _answer(503, f"{reason}; and it cannot be kept: {error}", **more)
        return _answer(400, reason, **more)

    def _stranger(self, request: web.Request, body: bytes, now: datetime) -> str:
        """Why the request is not from one who knows the secret; empty: it is."""
        try:
            secret = read_secret(self._secret)
        except (OSError, ValueError) as error:
            log.error("no secret to check webhooks with", reason=str(error))
            return "expected to be called by one who knows the secret; there is none"
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return "" if same(token.strip().encode(), secret) else "expected the right token, found another"
        signature, stamp = request.headers.get(SIGNATURE_HEADER), request.headers.get(TIMESTAMP_HEADER, "")
        if signature is None:
            return f"expected Authorization: Bearer, or {SIGNATURE_HEADER} with {TIMESTAMP_HEADER}; found neither"
        try:
            fresh(stamp, now, TIMESTAMP_HEADER)
        except Stranger as error:
            return str(error)
        right = same(signature.encode(), signed(secret, stamp, body).encode())
        return "" if right else "expected the right signature, found another"


def _page(status: int, text: str, button: str = "") -> web.Response:
    page = ack_link.PAGE.format(text=html.escape(text), button=button)
    return web.Response(status=status, text=page, content_type="text/html", headers=ack_link.HEADERS)


def _answer(status: int, reason: str, **more: object) -> web.Response:
    return web.json_response({"error": reason, **more}, status=status)
