"""A small HTTP/1.1 server whose listening sockets can be paused without losing a connection.

Invariants: whatever was accepted is served; a paused server keeps serving open connections and marks
every answer `Connection: close` at the moment it is written; nothing is ever done to a listening socket
but `accept` and closing our own descriptor. TLS is that of `ssl`. HTTP/2 and routing are not here.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

from bumpless.service.acceptor import Acceptor
from bumpless.service.endpoint import Observer
from bumpless.service.messages import Handler, HttpError, Request, Response, until_told
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
_LINGER_S = 1.0


@dataclass(frozen=True)
class Limits:
    """What one connection may cost. Times in seconds, sizes in bytes."""

    head: int = MAX_HEAD
    body: int = 8 * 1024 * 1024
    idle_s: float = 75.0
    receive_s: float = 30.0


class HttpServer:
    """Serves `handler` on already listening sockets. Implements `Endpoint`."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        handler: Handler,
        *,
        limits: Limits | None = None,
        observe: Observer | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.tls = tls
        self.inflight = 0
        self.streams = 0
        self._acceptor = Acceptor(sockets, self._attach)
        self._handler = handler
        self._observe = observe
        self._connections: set[_Connection] = set()
        self._spread_s: float | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._failure_logged = float("-inf")

    @property
    def connections(self) -> int:
        """Open connections, idle ones included."""
        return len(self._connections)

    @property
    def accepting(self) -> bool:
        return self._acceptor.accepting

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
        """Each stream is told at a random moment, so that their clients do not all come back at once."""
        self._spread_s = spread_s
        for connection in self._connections:
            self.leave_later(connection)

    def leave_later(self, connection: _Connection) -> None:
        """Tells a stream to reconnect, if streams are being told."""
        if self._spread_s is not None and connection.lasts:
            loop = asyncio.get_running_loop()
            loop.call_later(random.uniform(0, self._spread_s), connection.leave.set)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """A request in flight has become a stream."""
        self.inflight -= 1
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1
            self.inflight += 1

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

    def _attach(self, accepted: socket.socket) -> None:
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
        self.lasts = False
        self.leave = asyncio.Event()
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
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._stream, accepted, ssl=self._server.tls
            )
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
            if response.lasts:
                self._server.answered(method, response.status, time.monotonic() - started)
                with self._server.streaming():
                    await self._last(request, response, chunks=version == "HTTP/1.1")
                return False
            ends = await self._send(request, response, ends=ends, chunks=version == "HTTP/1.1")
            self._server.answered(method, response.status, time.monotonic() - started)
        finally:
            self._server.inflight -= 1
        if ends:
            await stream.linger(_LINGER_S)
        return not ends

    async def _last(self, request: Request, response: Response, *, chunks: bool) -> None:
        """Serves a stream until it ends or is told to leave; the connection ends with it."""
        self.lasts = True
        self._server.leave_later(self)
        if response.upgrade is not None:
            lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}"]
            lines += [f"{name}: {value}" for name, value in response.headers.items()]
            self._stream.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            await response.upgrade(self._stream, self.leave)
        else:
            body = response.body
            events = body if isinstance(body, bytes) else until_told(self.leave, body)
            await self._send(request, replace(response, body=events), ends=True, chunks=chunks)
        await self._stream.linger(_LINGER_S)

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
