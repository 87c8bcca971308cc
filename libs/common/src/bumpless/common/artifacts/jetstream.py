"""Blobs in a bucket of the JetStream object store.

The object's name is the digest in hex. Writing goes through nats-py. Reading does not: `ObjectStore.get` waits without
a deadline, so a chunk that is gone, or a connection that breaks, would hang the caller. Here every chunk is one
request with the client's timeout, answered by any replica, and a broken transfer goes on at the chunk it lost.
The bucket is created elsewhere, with direct access allowed.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import ObjectInfo, ObjectMeta, ObjectMetaOptions
from nats.js.object_store import ObjectStore

from .blobs import collect, describe, hex_name, receive
from .errors import BlobMissing, Corrupt, StoreUnavailable
from .manifest import BlobRef

T = TypeVar("T")

CHUNK = 256 * 1024
"""Bytes per message: well below the server's default limit of 1 MiB, few enough round trips on slow links."""

ATTEMPTS = 3
"""Requests per chunk. Each waits for the client's timeout, in which the client also reconnects."""


class JetStreamBlobs:
    """Several clients may put the same blob at once; the last description wins and names complete chunks."""

    def __init__(self, js: JetStreamContext, bucket: str) -> None:
        self._js, self._bucket = js, bucket
        self._stream = f"OBJ_{bucket}"
        self._objects = ObjectStore(bucket, self._stream, js)

    async def put(self, data: bytes | Path) -> BlobRef:
        ref = await asyncio.to_thread(describe, data)
        if await self.has(ref.digest):
            return ref
        meta = ObjectMeta(options=ObjectMetaOptions(max_chunk_size=CHUNK))
        with io.BytesIO(data) if isinstance(data, bytes) else open(data, "rb") as source:  # noqa: ASYNC230
            try:
                info = await self._objects.put(hex_name(ref.digest), source, meta)
            except nats.errors.Error as error:
                raise self._unavailable(error) from error
        if info.digest != _object_digest(ref.digest):
            await self._objects.delete(hex_name(ref.digest))
            raise Corrupt(ref.digest, f"{info.digest} (it changed while it was stored)", str(data))
        return ref

    async def has(self, digest: str) -> bool:
        try:
            await self._info(digest)
        except BlobMissing:
            return False
        return True

    async def get(self, digest: str, *, max_size: int) -> bytes:
        return await collect(digest, self._pieces(digest), max_size)

    async def fetch(self, digest: str, into: Path, *, size: int) -> None:
        await receive(digest, into, size, self._pieces(digest))

    async def _pieces(self, digest: str) -> AsyncGenerator[bytes, None]:
        info = await self._info(digest)
        subject = f"$O.{self._bucket}.C.{info.nuid}"
        done, sequence = 0, 1
        while done < (info.size or 0):
            ask = partial(
                self._js.get_msg, self._stream, seq=sequence, subject=subject, direct=True, next=True
            )
            try:
                message = await self._ask(ask)
            except nats.js.errors.NotFoundError:
                raise Corrupt(f"{info.size} bytes", f"{done}, no more chunks", f"blob {digest}") from None
            if not message.data or message.seq is None:
                raise Corrupt("a chunk of the blob", "an empty message", f"blob {digest}")
            done, sequence = done + len(message.data), message.seq + 1
            yield message.data

    async def _info(self, digest: str) -> ObjectInfo:
        try:
            return await self._ask(partial(self._objects.get_info, hex_name(digest)))
        except nats.js.errors.NotFoundError:
            raise BlobMissing(digest, f"bucket {self._bucket}") from None
        except nats.js.errors.BadObjectMetaError as error:
            raise Corrupt("the description of an object", "other bytes", f"blob {digest}") from error

    async def _ask(self, request: Callable[[], Awaitable[T]]) -> T:
        """The answer. "Not found" and "not an object" are answers; anything else is asked again."""
        cause: nats.errors.Error | None = None
        for _ in range(ATTEMPTS):
            try:
                return await request()
            except (nats.js.errors.NotFoundError, nats.js.errors.BadObjectMetaError):
                raise
            except nats.errors.Error as error:
                cause = error
        raise self._unavailable(cause) from cause

    def _unavailable(self, cause: nats.errors.Error | None) -> StoreUnavailable:
        return StoreUnavailable(f"bucket {self._bucket}", str(cause) or type(cause).__name__)


def _object_digest(digest: str) -> str:
    """As the object store writes it."""
    return f"SHA-256={base64.urlsafe_b64encode(bytes.fromhex(hex_name(digest))).decode()}"
