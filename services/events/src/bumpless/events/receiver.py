"""Webhooks in: a signed request becomes a trigger in the stream, once per delivery.

Who knows the secret may say that a release is there; whether it runs is for the planner, which asks for the release key.
Three senders are understood: CloudEvents with a CDEvent (signed as in Standard Webhooks), and the release events of GitHub
and GitLab, signed in their own ways.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from bumpless.common.contract import cloudevents
from bumpless.common.contract.cdevents import PUBLISHED, CdEvent, Context, Published, Subject, published, purl
from bumpless.common.contract.envelope import MAX_ENVELOPE_BYTES
from bumpless.common.errors import Retryable
from bumpless.common.model.eventing import EventsFile
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.common.webhooks.door import Door
from bumpless.common.webhooks.signing import Proven, Stranger, prove, read_secret

log = get_logger(__name__)

PATH = "/api/v1/events"
MAX_BYTES = 2 * MAX_ENVELOPE_BYTES
"""A release in a JSON string, with what is around it."""
LINE = re.compile(r"^bumpless-release:\s*(sha256:[0-9a-f]{64})\s*$", re.MULTILINE)
"""In the notes of a release: the digest that `bumpless release build` printed."""

Keep = Callable[[Published, CdEvent | dict[str, Any], Proven], Awaitable[bool]]
"""Puts a trigger into the stream; whether it was not there before."""


class Nothing(Exception):
    """The request is in order, and means nothing here; says why."""


class Receiver:
    def __init__(self, secret: Path, file: Callable[[], EventsFile], keep: Keep, clock: Clock) -> None:
        self._secret, self._file, self._keep, self._clock = secret, file, keep, clock
        self._door = Door()

    async def start(self, host: str, port: int, sockets: Sequence[socket.socket] = ()) -> None:
        """Raises: OSError, if the address is taken or there is no secret; ValueError, if it is too short."""
        read_secret(self._secret)
        await self._door.open(host, port, [web.post(PATH, self._post)], MAX_BYTES, sockets)

    async def stop(self) -> None:
        await self._door.close()

    async def _post(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _answer(413, f"expected at most {MAX_BYTES} bytes, found more")
        now = self._clock()
        try:
            proven = prove(request.headers, body, read_secret(self._secret), now)
        except Stranger as error:
            log.warning("webhook refused", reason=str(error), remote=request.remote)
            return _answer(401, str(error))
        except (OSError, ValueError) as error:
            log.error("no secret to check webhooks with", reason=str(error))
            return _answer(503, "expected a secret to check with, found none")
        try:
            event = understood(proven.form, dict(request.headers), body, self._file(), now)
            found = published(event if isinstance(event, dict) else event.model_dump(mode="json"))
        except Nothing as error:
            return web.json_response({"ignored": str(error)})
        except ValueError as error:
            return _answer(400, str(error))
        try:
            new = await self._keep(found, event, proven)
        except Retryable as error:
            return _answer(503, f"nothing is lost if you send it again: {error}")
        return web.json_response({"accepted": found.product, "seen_before": not new}, status=202)


def understood(
    form: str, headers: dict[str, str], body: bytes, file: EventsFile, now: datetime
) -> CdEvent | dict[str, Any]:
    """The trigger in a request whose signature has the `form`. Pure.

    Raises:
        ValueError: it is none; says what was expected.
        Nothing: it is of another event.
    """
    data = cloudevents.read(headers, body).data
    if form == "standard":
        if not isinstance(data, dict):
            raise ValueError(f"expected a CDEvent, found {type(data).__name__}")
        return data
    if not isinstance(data, dict):
        raise ValueError(f"expected an object, found {type(data).__name__}")
    given = {name.lower(): value for name, value in headers.items()}
    return _github(given, data, file, now) if form == "github" else _gitlab(given, data, file, now)


def _github(headers: dict[str, str], data: dict[str, Any], file: EventsFile, now: datetime) -> CdEvent:
    kind, action = headers.get("x-github-event", ""), data.get("action")
    if (kind, action) != ("release", "published"):
        raise Nothing(f"expected release published, found {kind} {action}")
    release = _part(data, "release")
    repository = str(_part(data, "repository").get("full_name", ""))
    return _trigger(repository, str(release.get("tag_name", "")), str(release.get("body") or ""), file, now)


def _gitlab(headers: dict[str, str], data: dict[str, Any], file: EventsFile, now: datetime) -> CdEvent:
    kind, action = data.get("object_kind"), data.get("action")
    if (kind, action) != ("release", "create"):
        raise Nothing(f"expected release create, found {kind} {action}")
    repository = str(_part(data, "project").get("path_with_namespace", ""))
    return _trigger(repository, str(data.get("tag", "")), str(data.get("description") or ""), file, now)


def _part(data: dict[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"expected {name} as an object, found {type(found).__name__}")
    return found


def _trigger(repository: str, tag: str, notes: str, file: EventsFile, now: datetime) -> CdEvent:
    product = file.repositories.get(repository)
    if product is None:
        raise Nothing(f"expected a repository of the events file, found {repository!r}")
    line = LINE.search(notes.replace("\r", ""))
    if line is None:
        raise Nothing("expected a line `bumpless-release: sha256:…` in the notes of the release, found none")
    return CdEvent(
        context=Context(
            id=f"{repository}/{tag}", source=f"/{repository}", type=f"{PUBLISHED}0.2.0", timestamp=now
        ),
        subject=Subject(id=purl(product, tag or "none", line[1]), type="artifact"),
    )


def encoded(event: CdEvent | dict[str, Any]) -> bytes:
    return event.model_dump_json().encode() if isinstance(event, CdEvent) else json.dumps(event).encode()


def _answer(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
