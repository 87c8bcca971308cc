"""A small HTTP/1.1 server whose listening sockets can be paused without losing a connection.

Invariants: whatever was accepted is served; a paused server keeps serving open connections and marks
every answer `Connection: close` at the moment it is written; nothing is ever done to a listening socket
but `accept` and closing our own descriptor. TLS, HTTP/2 and routing are not here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

from bumpless.service.contract import BACKLOG
from bumpless.service.wire import (
    MAX_HEAD,
    TOKEN,
    Closed,
    Malformed,
    Stream,
    parse_fields,
    read_body,
    wants_close,
)

_log = logging.getLogger("bumpless.service")

_TARGET = re.compile(r"[^\x00-\x20\x7f]+")
_ACCEPT_BATCH = 64
_LINGER_S = 1.0


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
    """An answer. An async iterator as body is sent chunk by chunk."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

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
Observer = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Limits:
    """What one connection may cost. Times in seconds, sizes in bytes."""

    head: int = MAX_HEAD
    body: int = 8 * 1024 * 1024
    idle_s: float = 75.0
    receive_s: float = 30.0


class HttpServer:
    """Serves `handler` on already listening sockets.

    `observe(method, status, seconds)` is called once for every answered request.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        handler: Handler,
        *,
        limits: Limits | None = None,
        observe: Observer | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.inflight = 0
        self.accepting = False
        self._sockets = list(sockets)
        self._handler = handler
        self._observe = observe
        self._connections: set[_Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._retry: asyncio.TimerHandle | None = None
        self._failure_logged = float("-inf")

    @property
    def connections(self) -> int:
        """Open connections, idle ones included."""
        return len(self._connections)

    @property
    def addresses(self) -> list[Any]:
        """What the listening sockets are bound to, as getsockname gives it."""
        return [listener.getsockname() for listener in self._sockets]

    def accept(self) -> None:
        """Starts, or after `pause` resumes, taking connections."""
        self.accepting = True
        loop = asyncio.get_running_loop()
        for listener in self._sockets:
            loop.add_reader(listener.fileno(), self._ready, listener)

    def pause(self) -> None:
        """Takes no further connection; the other process that shares the socket gets them."""
        self.accepting = False
        self._stop_polling()

    def close_listeners(self, *, sweep: bool) -> None:
        """Closes our descriptors. `sweep` first takes what waits in a backlog that dies with us."""
        self.pause()
        for listener in self._sockets:
            if sweep:
                self._ready(listener, BACKLOG)
            listener.close()
        self._sockets.clear()

    def close_idle(self) -> None:
        """Closes connections that wait for a request; one that has bytes waiting is served first."""
        for connection in list(self._connections):
            connection.close_if_idle()

    async def wait_closed(self) -> None:
        """Until no connection is open."""
        await self._empty.wait()

    async def abort(self) -> int:
        """Cuts what is left and returns how many connections that were."""
        left = list(self._connections)
        for connection in left:
            connection.cut()
        await self._empty.wait()
        return len(left)

    def _stop_polling(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        loop = asyncio.get_running_loop()
        for listener in self._sockets:
            loop.remove_reader(listener.fileno())

    def _ready(self, listener: socket.socket, batch: int = _ACCEPT_BATCH) -> None:
        # Accepted here and tracked in the same step, unlike in asyncio's own server, which can drop what
        # it accepted when it is closed before the connection was attached (cpython issue 109564).
        for _ in range(batch):
            try:
                accepted, _peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # Out of descriptors or memory, mostly: the connection stays queued until there is room.
                _log.error("expected to accept a connection, found %s", error.strerror)
                self._stop_polling()
                if self.accepting:
                    self._retry = asyncio.get_running_loop().call_later(0.1, self.accept)
                return
            accepted.setblocking(False)
            if accepted.family in (socket.AF_INET, socket.AF_INET6):
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.add(_Connection(self, accepted))
            self._empty.clear()

    def gone(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def respond(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except HttpError as error:
            return Response(error.status, f"{error}\n".encode())
        except Exception:
            now = time.monotonic()  # a broken release fails many times a second: one trace a second is enough
            if now - self._failure_logged >= 1.0:
                self._failure_logged = now
                _log.exception("handler failed: %s %s", request.method, request.path)
            return Response(500, b"internal error\n")

    def answered(self, method: str, status: int, seconds: float) -> None:
        if self._observe is not None:
            self._observe(method, status, seconds)


class _Connection:
    """One accepted connection and the task that serves it."""

    def __init__(self, server: HttpServer, accepted: socket.socket) -> None:
        self._server = server
        self._stream = Stream()
        self._idle = True
        self._task = asyncio.get_running_loop().create_task(self._run(accepted))
        # A callback and not the end of `_run`: a task cancelled before its first step never runs.
        self._task.add_done_callback(lambda _: server.gone(self))

    def close_if_idle(self) -> None:
        if self._idle and not self._stream.touched():
            self._stream.close()

    def cut(self) -> None:
        self._task.cancel()
        self._stream.abort()

    async def _run(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self._stream, accepted)
            while await self._next():
                pass
        except OSError:
            pass  # the peer left or stalled: nobody is there to be told
        except Exception:
            _log.exception("connection failed")
        finally:
            self._stream.close()

    async def _next(self) -> bool:
        """Serves one request; False when the connection ends with it."""
        stream, limits = self._stream, self._server.limits
        while stream.buffer.startswith(b"\r\n"):
            del stream.buffer[:2]
        self._idle = True
        if not stream.buffer:
            async with asyncio.timeout(limits.idle_s):
                if not await stream.more():
                    return False
        self._idle = False
        try:
            async with asyncio.timeout(limits.receive_s):
                head = await stream.head(limits.head)
            method, target, version, fields = _parse_head(head)
        except Malformed as error:
            await self._refuse(error.status, str(error))
            return False
        except TimeoutError:
            await self._refuse(408, "the request did not arrive in time")
            return False
        started = time.monotonic()
        self._server.inflight += 1
        try:
            try:
                if fields.get("expect", "").lower() == "100-continue" and not stream.buffer:
                    stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                async with asyncio.timeout(limits.receive_s):
                    body = await read_body(stream, fields, limits.body)
                path, query = _split_target(target)
            except Malformed as error:
                await self._refuse(error.status, str(error))
                self._server.answered(method, error.status, time.monotonic() - started)
                return False
            request = Request(method, path, query, fields, body, target)
            response = await self._server.respond(request)
            ends = wants_close(version, fields)
            ends = await self._send(request, response, ends=ends, chunks=version == "HTTP/1.1")
            self._server.answered(method, response.status, time.monotonic() - started)
        finally:
            self._server.inflight -= 1
        if ends:
            await stream.linger(_LINGER_S)
        return not ends

    async def _send(self, request: Request, response: Response, *, ends: bool, chunks: bool) -> bool:
        # Whether to keep the connection is decided now and not when the request came: a pause in between
        # would leave the client with a connection that is about to be closed.
        stream = self._stream
        ends = ends or not self._server.accepting
        bodiless = request.method == "HEAD" or response.status in (204, 304)
        lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}"]
        if response.status != 204:
            lines.append(f"Content-Type: {response.content_type}")
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        if isinstance(response.body, bytes):
            if response.status != 204:
                lines.append(f"Content-Length: {len(response.body)}")
        elif chunks:
            lines.append("Transfer-Encoding: chunked")
        else:
            ends = True
        if ends:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if isinstance(response.body, bytes):
            stream.write(head if bodiless else head + response.body)
        else:
            stream.write(head)
            if not bodiless:
                async for part in response.body:
                    if stream.lost:
                        raise Closed("the peer left a stream")
                    if part:
                        stream.write(b"%x\r\n%b\r\n" % (len(part), part) if chunks else part)
                        await stream.flush()
                if chunks:
                    stream.write(b"0\r\n\r\n")
        await stream.flush()
        return ends

    async def _refuse(self, status: int, reason: str) -> None:
        text = f"{reason}\n".encode()
        head = f"HTTP/1.1 {status} {_phrase(status)}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        self._stream.write(f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text)
        await self._stream.linger(_LINGER_S)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    start, *lines = head.decode("latin-1").split("\r\n")
    parts = start.split(" ")
    if len(parts) != 3 or not TOKEN.fullmatch(parts[0]) or not _TARGET.fullmatch(parts[1]):
        raise Malformed(f"expected a request line, found {start[:80]!r}")
    method, target, version = parts
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise Malformed(f"expected HTTP/1.1, found {version[:20]!r}", 505)
    fields = parse_fields(lines)
    if version == "HTTP/1.1" and "host" not in fields:
        raise Malformed("expected a Host header field")
    return method, target, version, fields


def _split_target(target: str) -> tuple[str, dict[str, str]]:
    if target.startswith(("http://", "https://")):  # absolute form, as a proxy sends it
        target = "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
    path, _, query = target.partition("?")
    try:
        return unquote(path, errors="strict"), dict(parse_qsl(query, keep_blank_values=True))
    except ValueError as error:
        raise Malformed(f"expected an UTF-8 target, found {target[:80]!r}") from error
