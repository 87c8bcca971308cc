"""Blobs from a web server: `URL/<sha256 hex>`, with ranges. To read only: how files get there is the server's affair.

Redirects are not followed, because a store is named by whoever runs the node, not by whoever answers. A server that
ignores ranges is read from its start and the known bytes are dropped. A cut transfer goes on where it was cut.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import aiohttp

from bumpless.common.access.untrusted import untrusted

from ..errors import BlobMissing, StoreUnavailable
from ..limits import PIECE
from .blobs import hex_name
from .store import BlobReader

CONNECT_S = 10.0
SILENCE_S = 30.0
"""Between two pieces; a whole transfer may take as long as it moves."""
RETRY_S = (0.2, 1.0, 3.0)
"""Waits before the next attempts; a transfer that got further starts over with them."""
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
Failed = (aiohttp.ClientError, TimeoutError, OSError)
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed (RFC 9110)."""


class _Passing(Exception):
    """The server cannot answer just now."""


class HttpBlobs(BlobReader):
    """`ca_file` (PEM) replaces the system's certificate authorities. Close it after use."""

    def __init__(
        self, url: str, *, ca_file: Path | None = None, retry_s: tuple[float, ...] = RETRY_S
    ) -> None:
        self._url = url.rstrip("/")
        self._waits = (*retry_s, None)
        self._ssl = ssl.create_default_context(cafile=ca_file)
        self._opened: aiohttp.ClientSession | None = None

    async def has(self, digest: str) -> bool:
        address = self._address(digest)
        for wait_s in self._waits:
            try:
                async with self._session().head(address, allow_redirects=False, ssl=self._ssl) as answer:
                    return self._found(answer)
            except (*Failed, _Passing) as error:
                await self._wait(wait_s, error)
        raise AssertionError("expected the last attempt to answer or raise")

    async def read(self, digest: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        address = self._address(digest)
        done, waits = start, iter(self._waits)
        while True:
            try:
                async with aclosing(self._attempt(digest, address, done)) as pieces:
                    async for piece in pieces:
                        done, waits = done + len(piece), iter(self._waits)
                        yield piece
                return
            except (*Failed, _Passing) as error:
                await self._wait(next(waits), error)

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _attempt(self, digest: str, address: str, start: int) -> AsyncGenerator[bytes, None]:
        # An encoding of the server's choice would shift the ranges.
        headers = {"Range": f"bytes={start}-", "Accept-Encoding": "identity"} if start else {}
        async with self._session().get(
            address, headers=headers, allow_redirects=False, ssl=self._ssl
        ) as answer:
            if answer.status == 416:  # nothing lies behind `start`
                return
            if not self._found(answer):
                raise BlobMissing(digest, self._url)
            at = _first_byte(answer)
            if at > start:
                raise StoreUnavailable(self._url, f"bytes from {at} on, asked for those from {start} on")
            async for piece in answer.content.iter_chunked(PIECE):
                known = min(len(piece), max(0, start - at))
                at += len(piece)
                if piece[known:]:
                    yield piece[known:]

    def _found(self, answer: aiohttp.ClientResponse) -> bool:
        """Whether the blob is there. Raises: _Passing, StoreUnavailable."""
        if answer.status in (404, 410):
            return False
        if answer.status in PASSING:
            raise _Passing(f"{answer.status} {answer.reason}")
        if 300 <= answer.status < 400:
            to = answer.headers.get("Location", "nowhere")
            raise StoreUnavailable(
                self._url, f"a redirect to {to}, which is not followed: name that as the store"
            )
        if answer.status not in (200, 206):
            raise StoreUnavailable(self._url, f"{answer.status} {answer.reason}")
        return True

    async def _wait(self, seconds: float | None, cause: Exception) -> None:
        if shown := untrusted(cause):
            raise StoreUnavailable(self._url, "; ".join(shown)) from cause
        if seconds is None:
            # What a server sends instead of HTTP would be quoted in full.
            raise StoreUnavailable(self._url, str(cause)[:200] or type(cause).__name__) from cause
        await asyncio.sleep(seconds)

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            # `trust_env` off: no proxy, and no password from a .netrc, without being told.
            self._opened = aiohttp.ClientSession(
                timeout=TIMEOUT, auto_decompress=False, headers={"User-Agent": "bumpless"}
            )
        return self._opened

    def _address(self, digest: str) -> str:
        return f"{self._url}/{hex_name(digest)}"


def _first_byte(answer: aiohttp.ClientResponse) -> int:
    """Where the body begins within the blob: 0 without a range (RFC 9110, section 14.4)."""
    if answer.status != 206:
        return 0
    unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdecimal():
        raise StoreUnavailable(str(answer.url), f"a Content-Range of {unit} {span}".rstrip())
    return int(first)
