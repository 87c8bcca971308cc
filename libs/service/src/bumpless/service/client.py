"""A small pooled HTTP/1.1 client that survives upgrades of the services it talks to.

An idle connection that was closed by the other side is dropped before use, and a request that met a
closing connection before the first byte of an answer is sent once more on a fresh one. `Upstream` adds
trying the next instance. No TLS, no redirects, no cookies.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bumpless.service.contract import split_address
from bumpless.service.wire import Closed, Malformed, Stream, parse_fields, read_body, wants_close

_IDEMPOTENT = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}
_MAX_BODY = 64 * 1024 * 1024


class RequestFailed(Exception):
    """No answer came. `reason` is one of connect, timeout, closed, malformed."""

    def __init__(self, address: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{address}: {reason}{f' ({detail})' if detail else ''}")
        self.address = address
        self.reason = reason


@dataclass(frozen=True)
class Reply:
    """A complete answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Keep-alive connections by address (`host:port` or `unix:/path`).

    `check_idle` looks at a pooled connection before it is used; `retry_stale` allows the one repetition.
    Both are off only to imitate careless clients.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 5.0,
        connect_timeout_s: float = 2.0,
        idle_s: float = 30.0,
        max_idle: int = 64,
        check_idle: bool = True,
        retry_stale: bool = True,
    ) -> None:
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._idle_s = idle_s
        self._max_idle = max_idle
        self._check_idle = check_idle
        self._retry_stale = retry_stale
        self._idle: dict[str, list[tuple[Stream, float]]] = {}

    async def request(
        self,
        method: str,
        address: str,
        target: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        idempotent: bool | None = None,
        keep_alive: bool = True,
    ) -> Reply:
        """One exchange. `idempotent` says that repeating is harmless; by default the method decides.

        Raises RequestFailed when there was no complete answer; any status is an answer.
        """
        repeatable = self._retry_stale and (method in _IDEMPOTENT if idempotent is None else idempotent)
        head = self._head(method, address, target, body, headers or {}, keep_alive)
        try:
            async with asyncio.timeout(self._timeout_s if timeout_s is None else timeout_s):
                pooled = self._take(address)
                if pooled is not None:
                    try:
                        return await self._exchange(pooled, address, method, head + body, keep_alive)
                    except _Stale as error:
                        if not repeatable:
                            raise RequestFailed(address, "closed", str(error)) from error
                fresh = await self._connect(address)
                try:
                    return await self._exchange(fresh, address, method, head + body, keep_alive)
                except _Stale as error:
                    raise RequestFailed(address, "closed", str(error)) from error
        except TimeoutError as error:
            raise RequestFailed(address, "timeout") from error
        except (Closed, OSError) as error:
            raise RequestFailed(address, "closed", str(error)) from error
        except Malformed as error:
            raise RequestFailed(address, "malformed", str(error)) from error

    async def get(self, address: str, target: str, **options: Any) -> Reply:
        return await self.request("GET", address, target, **options)

    async def post(self, address: str, target: str, value: Any, **options: Any) -> Reply:
        """Sends `value` as JSON."""
        body = json.dumps(value, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json"}
        return await self.request("POST", address, target, body=body, headers=headers, **options)

    def close(self) -> None:
        """Closes the pooled connections."""
        for pool in self._idle.values():
            for stream, _ in pool:
                stream.close()
        self._idle.clear()

    @staticmethod
    def _head(
        method: str, address: str, target: str, body: bytes, headers: Mapping[str, str], keep_alive: bool
    ) -> bytes:
        host = "localhost" if address.startswith("unix:") else address
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        if not keep_alive:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _take(self, address: str) -> Stream | None:
        pool, now = self._idle.get(address, []), time.monotonic()
        while pool:
            stream, since = pool.pop()
            if self._check_idle and (now - since > self._idle_s or stream.touched()):
                stream.close()
                continue
            return stream
        return None

    async def _connect(self, address: str) -> Stream:
        loop, stream = asyncio.get_running_loop(), Stream()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                if address.startswith("unix:"):
                    await loop.create_unix_connection(lambda: stream, address.removeprefix("unix:"))
                else:
                    transport, _ = await loop.create_connection(lambda: stream, *split_address(address))
                    raw = transport.get_extra_info("socket")
                    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError as error:
            raise RequestFailed(address, "connect", "timeout") from error
        except OSError as error:
            raise RequestFailed(address, "connect", error.strerror or str(error)) from error
        return stream

    async def _exchange(
        self, stream: Stream, address: str, method: str, message: bytes, keep_alive: bool
    ) -> Reply:
        reusable = False
        try:
            stream.write(message)
            if not stream.buffer and not await stream.more():
                raise _Stale("closed before an answer")
            while True:
                version, status, fields = _parse_head(await stream.head())
                if status >= 200:
                    break
            if method == "HEAD" or status in (204, 304):
                body, reusable = b"", True
            else:
                reusable = "content-length" in fields or "transfer-encoding" in fields
                body = await read_body(stream, fields, _MAX_BODY, until_close=True)
            reusable = reusable and keep_alive and not wants_close(version, fields)
            return Reply(status, fields, body)
        except BaseException:
            reusable = False
            raise
        finally:
            pool = self._idle.setdefault(address, [])
            if reusable and len(pool) < self._max_idle:
                pool.append((stream, time.monotonic()))
            else:
                stream.close()


class _Stale(Exception):
    """The connection ended before the first byte of the answer."""


def _parse_head(head: bytes) -> tuple[str, int, dict[str, str]]:
    start, *lines = head.decode("latin-1").split("\r\n")
    parts = start.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise Malformed(f"expected a status line, found {start[:80]!r}")
    return parts[0], int(parts[1]), parse_fields(lines)


class Upstream:
    """Several instances of one service, tried one after the other until one answers below 500.

    Starts with the instances on `prefer_host`, then goes round the others. Only for requests that may be
    repeated: an instance that failed to answer may still have done the work. `on_failure(address, reason)`
    hears of every attempt that failed, the reason being that of RequestFailed or `status`.
    """

    def __init__(
        self,
        client: Client,
        addresses: Sequence[str],
        *,
        prefer_host: str = "",
        on_failure: Callable[[str, str], None] | None = None,
    ) -> None:
        self._client = client
        self._on_failure = on_failure or (lambda address, reason: None)
        self._near = [address for address in addresses if _host(address) == prefer_host]
        self._far = [address for address in addresses if address not in self._near]
        self._turn = 0

    @classmethod
    def parse(
        cls,
        client: Client,
        text: str,
        *,
        prefer_host: str = "",
        on_failure: Callable[[str, str], None] | None = None,
    ) -> Upstream:
        """From `host:port[,host:port]`."""
        addresses = [part.strip() for part in text.split(",") if part.strip()]
        if not addresses:
            raise ValueError("expected host:port[,host:port], found nothing")
        return cls(client, addresses, prefer_host=prefer_host, on_failure=on_failure)

    def order(self) -> list[str]:
        """In which order the next request tries the instances."""
        self._turn += 1
        at = self._turn % len(self._far) if self._far else 0
        return self._near + self._far[at:] + self._far[:at]

    async def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """The first answer below 500, else the last answer. Raises RequestFailed when nobody answered."""
        answer: Reply | RequestFailed | None = None
        for address in self.order():
            try:
                reply = await self._client.request(
                    method, address, target, body=body, headers=headers, timeout_s=timeout_s, idempotent=True
                )
            except RequestFailed as error:
                self._on_failure(address, error.reason)
                answer = answer or error
                continue
            if reply.status < 500:
                return reply
            self._on_failure(address, "status")
            answer = reply
        if isinstance(answer, Reply):
            return answer
        assert answer is not None
        raise answer

    async def get(self, target: str, **options: Any) -> Reply:
        return await self.request("GET", target, **options)

    async def post(self, target: str, value: Any, **options: Any) -> Reply:
        """Sends `value` as JSON."""
        body = json.dumps(value, separators=(",", ":")).encode()
        return await self.request(
            "POST", target, body=body, headers={"Content-Type": "application/json"}, **options
        )


def _host(address: str) -> str:
    return "" if address.startswith("unix:") else split_address(address)[0]
