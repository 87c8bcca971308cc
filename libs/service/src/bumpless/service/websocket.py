"""WebSockets for the HTTP server (RFC 6455), without extensions: enough for a service that pushes and listens.

When the process drains, the peer is told to reconnect (close code 1012) and the session sees the end of messages.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import struct
from collections.abc import Awaitable, Callable

from bumpless.service.messages import HttpError, Request, Response
from bumpless.service.wire import Closed, Stream

RESTART = 1012
"""Close code "service restart": reconnect, after a random delay."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_PROTOCOL_ERROR, _TOO_BIG = 1002, 1009
_FAREWELL_S = 2.0
"""How long a peer has to answer our close."""

Session = Callable[["WebSocket"], Awaitable[None]]


def websocket(request: Request, session: Session, *, largest: int = 1 << 20) -> Response:
    """The answer that turns this request into a WebSocket and runs `session` on it. Raises: HttpError 400, 426."""
    if request.headers.get("upgrade", "").lower() != "websocket":
        raise HttpError(426, "expected a WebSocket handshake")
    key = request.headers.get("sec-websocket-key", "")
    if request.headers.get("sec-websocket-version") != "13" or not key:
        raise HttpError(400, "expected Sec-WebSocket-Version 13 and a key")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()

    async def run(stream: Stream, leave: asyncio.Event) -> None:
        await WebSocket(stream, largest).run(session, leave)

    return Response(
        101,
        headers={"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept},
        upgrade=run,
    )


class WebSocket:
    """One open connection. `receive` returns None when there will be no further message."""

    def __init__(self, stream: Stream, largest: int) -> None:
        self._stream, self._largest = stream, largest
        self._closed = False

    async def receive(self) -> str | bytes | None:
        parts, kind = bytearray(), 0
        while True:
            try:
                final, opcode, data = await self._frame()
            except (Closed, OSError):
                return None
            if opcode == _PING:
                self._send(_PONG, data)
            elif opcode == _CLOSE or opcode < 0:
                await self.close(data if opcode < 0 else data[:2])
                return None
            elif opcode in (_TEXT, _BINARY, 0):
                kind = opcode or kind
                parts += data
                if len(parts) > self._largest:
                    await self.close(struct.pack("!H", _TOO_BIG))
                    return None
                if final:
                    return parts.decode(errors="replace") if kind == _TEXT else bytes(parts)

    async def send(self, message: str | bytes) -> None:
        """Raises: Closed."""
        if self._closed or self._stream.lost:
            raise Closed("the WebSocket is closed")
        text = isinstance(message, str)
        self._send(_TEXT if text else _BINARY, message.encode() if isinstance(message, str) else message)
        await self._stream.flush()

    async def close(self, code: int | bytes = 1000) -> None:
        """Says goodbye once; `receive` goes on until the peer has answered."""
        if not self._closed:
            self._send(_CLOSE, struct.pack("!H", code) if isinstance(code, int) else code)
            self._closed = True
            await self._stream.flush()

    async def run(self, session: Session, leave: asyncio.Event) -> None:
        """`session`, until it ends, or until some time after `leave` was set."""
        serving = asyncio.ensure_future(session(self))
        leaving = asyncio.ensure_future(leave.wait())
        try:
            await asyncio.wait((serving, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await self.close(RESTART)
                await asyncio.wait((serving,), timeout=_FAREWELL_S)
            if serving.done():
                with contextlib.suppress(Closed, OSError):  # the peer left
                    serving.result()
        finally:
            leaving.cancel()
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await serving
            await self.close()

    def _send(self, opcode: int, data: bytes) -> None:
        if self._closed:
            return
        size = len(data)
        if size < 126:
            head = bytes((0x80 | opcode, size))
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
        self._stream.write(head + data)

    async def _frame(self) -> tuple[bool, int, bytes]:
        """(final, opcode, payload); opcode -1 and a close code where the peer broke the protocol."""
        first, second = await self._stream.exactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self._stream.exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._stream.exactly(8))
        if first & 0x70 or not second & 0x80:
            return True, -1, struct.pack("!H", _PROTOCOL_ERROR)
        if size > self._largest:
            return True, -1, struct.pack("!H", _TOO_BIG)
        mask = await self._stream.exactly(4)
        data = await self._stream.exactly(size)
        repeated = mask * (size // 4 + 1)
        plain = int.from_bytes(data) ^ int.from_bytes(repeated[:size])
        return bool(first & 0x80), first & 0x0F, plain.to_bytes(size)
