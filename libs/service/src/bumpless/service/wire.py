"""HTTP/1.1 framing shared by the server and the client: bytes in, heads and bodies out (RFC 9112).

`Stream` owns the receive buffer, so both sides can tell an idle connection from one with bytes waiting.
Knows nothing of routing, pooling or draining.
"""

from __future__ import annotations

import asyncio
import re
import select
from typing import cast

MAX_HEAD = 32 * 1024
MAX_LINE = 8 * 1024
HIGH_WATER = 256 * 1024

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Malformed(Exception):
    """The peer broke the framing; `status` is what a server answers."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


class Closed(ConnectionError):
    """The peer went away in the middle of a message, or before one."""


class Stream(asyncio.Protocol):
    """One connection as a byte buffer that can be awaited, with back-pressure in both directions."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.eof = False
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._reading_paused = False
        self._more: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) > HIGH_WATER and self._transport is not None and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.eof = True
        self._wake()
        return True  # the peer may have closed only its half and still wait for an answer

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof = self.lost = True
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        waiter, self._writable = self._writable, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def more(self) -> bool:
        """Waits for further bytes; False when none will come."""
        if self.eof:
            return False
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()
        before = len(self.buffer)
        self._more = asyncio.get_running_loop().create_future()
        try:
            await self._more
        finally:
            self._more = None
        return len(self.buffer) > before

    def touched(self) -> bool:
        """Whether bytes or an end of file wait, counting those the event loop has not read yet."""
        if self.buffer or self.eof or self._transport is None:
            return True
        poller = select.poll()
        poller.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poller.poll(0))

    async def line(self, limit: int = MAX_LINE) -> bytes:
        """The bytes up to the next CRLF, without it."""
        return await self._until(b"\r\n", limit, 400)

    async def head(self, limit: int = MAX_HEAD) -> bytes:
        """A start line and header fields, without the empty line that ends them."""
        return await self._until(b"\r\n\r\n", limit, 431)

    async def _until(self, mark: bytes, limit: int, status: int) -> bytes:
        seen = 0
        while (at := self.buffer.find(mark, seen)) < 0:
            if len(self.buffer) > limit:
                raise Malformed(f"expected at most {limit} bytes before {mark!r}", status)
            seen = max(0, len(self.buffer) - len(mark) + 1)
            if not await self.more():
                raise Closed("the peer closed the connection inside a message")
        if at > limit:
            raise Malformed(f"expected at most {limit} bytes before {mark!r}", status)
        found = bytes(self.buffer[:at])
        del self.buffer[: at + len(mark)]
        return found

    async def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            if not await self.more():
                raise Closed("the peer closed the connection inside a message")
        found = bytes(self.buffer[:count])
        del self.buffer[:count]
        return found

    async def rest(self, limit: int) -> bytes:
        """Everything up to the end of the connection."""
        while await self.more():
            if len(self.buffer) > limit:
                raise Malformed(f"expected at most {limit} bytes", 413)
        found = bytes(self.buffer)
        self.buffer.clear()
        return found

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self.lost:
            self._transport.write(data)

    async def flush(self) -> None:
        """Waits until the peer has room again. Does not raise when the peer is gone."""
        if self._writable is not None:
            await self._writable

    async def linger(self, seconds: float) -> None:
        """Ends our half and reads on for a while: closing over unread bytes resets the connection and
        can destroy the answer on its way to the peer."""
        if self._transport is None or self.lost:
            return
        await self.flush()
        if self._transport.can_write_eof() and not self.lost:
            self._transport.write_eof()
        try:
            async with asyncio.timeout(seconds):
                while await self.more():
                    self.buffer.clear()
        except TimeoutError:
            return

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def parse_fields(lines: list[str]) -> dict[str, str]:
    """Header fields by lower-case name; repeated ones joined with commas. Raises Malformed."""
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not TOKEN.fullmatch(name) or "\0" in value or "\r" in value or "\n" in value:
            raise Malformed(f"expected a header field, found {line[:80]!r}")
        name, value = name.lower(), value.strip(" \t")
        if name == "content-length" and fields.get(name, value) != value:
            raise Malformed("expected one Content-Length, found two that differ")
        if name == "host" and name in fields:
            raise Malformed("expected one Host, found two")
        fields[name] = f"{fields[name]}, {value}" if name in fields and name != "content-length" else value
    return fields


def wants_close(version: str, fields: dict[str, str]) -> bool:
    """Whether the sender of this head ends the connection after the message (RFC 9112, 9.3)."""
    options = {option.strip().lower() for option in fields.get("connection", "").split(",")}
    return "close" in options or (version == "HTTP/1.0" and "keep-alive" not in options)


async def read_body(
    stream: Stream, fields: dict[str, str], limit: int, *, until_close: bool = False
) -> bytes:
    """The body announced by `fields`; `until_close` is how an answer without a length ends."""
    coding, length = fields.get("transfer-encoding"), fields.get("content-length")
    if coding is not None:
        if length is not None:  # the classic request smuggling ambiguity
            raise Malformed("expected Transfer-Encoding or Content-Length, found both")
        if coding.lower() != "chunked":
            raise Malformed(f"expected the chunked coding, found {coding!r}", 501)
        return await _chunked(stream, limit)
    if length is None:
        return await stream.rest(limit) if until_close else b""
    if not (length.isascii() and length.isdigit()):
        raise Malformed(f"expected a number in Content-Length, found {length!r}")
    if int(length) > limit:
        raise Malformed(f"expected at most {limit} bytes of body, found {length}", 413)
    return await stream.exactly(int(length))


async def _chunked(stream: Stream, limit: int) -> bytes:
    body = bytearray()
    while True:
        text = (await stream.line()).partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", text):
            raise Malformed(f"expected a chunk size, found {text[:20]!r}")
        size = int(text, 16)
        if len(body) + size > limit:
            raise Malformed(f"expected at most {limit} bytes of body", 413)
        if size == 0:
            break
        body += await stream.exactly(size)
        if await stream.exactly(2) != b"\r\n":
            raise Malformed("expected the end of a chunk")
    room = MAX_HEAD
    while trailer := await stream.line():  # trailers are allowed and carry nothing we use
        room -= len(trailer)
        if room < 0:
            raise Malformed("expected shorter trailers", 431)
    return bytes(body)
