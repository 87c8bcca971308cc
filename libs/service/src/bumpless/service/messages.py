"""What a handler is given and what it answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bumpless.service.endpoint import reconnect_delay_ms
from bumpless.service.wire import Stream

EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Request:
    """One request, body included. Header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    target: str

    def json(self) -> Any:
        """The decoded body. Raises HttpError 400."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise HttpError(400, "expected a JSON body") from error


@dataclass(frozen=True)
class Response:
    """An answer. An async iterator as body is sent chunk by chunk.

    One of type text/event-stream is a stream: it is not waited for, and ended with a word to reconnect when the
    process drains. `upgrade(stream, leave)` takes the connection over after the head; it ends when `leave` is set.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    upgrade: Callable[[Stream, asyncio.Event], Awaitable[None]] | None = None

    @property
    def lasts(self) -> bool:
        """Whether it goes on until one side ends it."""
        return self.upgrade is not None or self.content_type.startswith(EVENT_STREAM)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        body = json.dumps(value, separators=(",", ":")).encode()
        return cls(status, body, "application/json", headers or {})


class HttpError(Exception):
    """Raised in a handler to answer with `status` and a short text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


Handler = Callable[[Request], Awaitable[Response]]


async def until_told(leave: asyncio.Event, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The events until `leave` is set, then one that sends the client to another process."""
    leaving = asyncio.ensure_future(leave.wait())
    following: asyncio.Future[bytes] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(events))
            await asyncio.wait((following, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                yield f"retry: {reconnect_delay_ms()}\nevent: reconnect\ndata:\n\n".encode()
                return
            try:
                yield following.result()
            except StopAsyncIteration:
                return
    finally:
        leaving.cancel()
        if following is not None:
            following.cancel()
