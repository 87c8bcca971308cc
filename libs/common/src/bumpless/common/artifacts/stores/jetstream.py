"""Blobs in a bucket of the JetStream object store.

The object's name is the digest in hex. Writing goes through nats-py. Reading does not: `ObjectStore.get` waits without
a deadline, so a chunk that is gone, or a connection that breaks, would hang the caller, and it lets the server push
chunks ahead of the reader. Here every chunk is one request with the client's timeout, answered by any replica, and
one at a time, so that a node's commands wait for one chunk at most. The bucket is created elsewhere, with direct
access allowed. What is removed is purged: no marker stays behind.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.api import ObjectInfo, ObjectMeta, ObjectMetaOptions
from nats.js.object_store import ObjectStore

from ..errors import BlobMissing, Corrupt, StoreUnavailable
from ..manifest import BlobRef
from .blobs import describe, hex_name, is_hex_name
from .store import BlobStore, StoredBlob

T = TypeVar("T")

CHUNK = 256 * 1024
"""Bytes per message: well below the server's default limit of 1 MiB, few enough round trips on slow links."""

ATTEMPTS = 3
"""Requests per chunk. Each waits for the client's timeout, in which the client also reconnects."""

BEHIND_S = 5.0
"""How long what is not found is looked for in a cluster: any replica answers who reads, and one that was away until now
does not have yet what was written meanwhile."""

LEADERLESS_S, AGAIN_S = 10.0, 0.5
"""How long a stream is asked again, and how often, that is refused at once: its leader was killed, and there is no other
yet."""

STALE_SEQUENCE = 10071
"""The server's JSStreamWrongLastSequenceErrF: the subject was written to since it was read."""

STREAM_NOT_FOUND = 10059
LEADERLESS = (
    nats.errors.NoRespondersError,
    nats.js.errors.NoStreamResponseError,
    nats.js.errors.ServiceUnavailableError,
)


class JetStreamBlobs(BlobStore):
    """Several clients may put the same blob at once: the last description wins and names complete chunks; those of
    the others belong to nobody until `sweep`."""

    def __init__(self, js: JetStreamContext, bucket: str) -> None:
        self._js, self._bucket = js, bucket
        self._stream = f"OBJ_{bucket}"
        self._objects = ObjectStore(bucket, self._stream, js)

    async def put(self, data: bytes | Path) -> BlobRef:
        ref = await asyncio.to_thread(describe, data)
        if await self.renew(ref.digest):
            return ref
        try:
            info = await _patiently(partial(self._write, ref, data))
        except nats.errors.Error as error:
            raise self._unavailable(error) from error
        if info.digest != _object_digest(ref.digest):
            await self._objects.delete(hex_name(ref.digest))
            raise Corrupt(ref.digest, f"{info.digest} (it changed while it was stored)", str(data))
        return ref

    async def _write(self, ref: BlobRef, data: bytes | Path) -> ObjectInfo:
        meta = ObjectMeta(options=ObjectMetaOptions(max_chunk_size=CHUNK))
        with io.BytesIO(data) if isinstance(data, bytes) else open(data, "rb") as source:  # noqa: ASYNC230
            return await self._objects.put(hex_name(ref.digest), source, meta)

    async def renew(self, digest: str) -> bool:
        # By writing the description once more, unless somebody removes it just now.
        subject = self._description(digest)
        try:
            _, last = await self._info(digest)
            headers = {
                api.Header.ROLLUP.value: "sub",
                api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(last.seq),
            }
            await _patiently(partial(self._js.publish, subject, last.data or b"", headers=headers))
        except BlobMissing:
            return False
        except nats.js.errors.APIError as error:
            if error.err_code != STALE_SEQUENCE:
                raise self._unavailable(error) from error
            return await self._described(digest)  # removed, or put again by somebody else
        except nats.errors.Error as error:
            raise self._unavailable(error) from error
        return True

    async def has(self, digest: str) -> bool:
        return await self._described(digest, direct=True)

    async def read(self, digest: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        info, _ = await self._sought(partial(self._info, digest, direct=True))
        subject = self._chunks(info)
        done, sequence = await self._before(info, start) if start else (0, 1)
        while done < (info.size or 0):
            try:
                data, found = await self._sought(partial(self._chunk, subject, sequence))
            except nats.js.errors.NotFoundError:
                raise Corrupt(f"{info.size} bytes", f"{done}, no more chunks", f"blob {digest}") from None
            skip = max(0, start - done)
            done, sequence = done + len(data), found + 1
            if skip < len(data):
                yield data[skip:]

    async def stored(self) -> AsyncIterator[StoredBlob]:
        last = api.ConsumerConfig(deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT)
        async for message in self._messages(f"$O.{self._bucket}.M.>", last):
            info = ObjectInfo.from_response(json.loads(message.data))
            if not info.deleted and is_hex_name(info.name):
                yield StoredBlob(f"sha256:{info.name}", info.size or 0, message.metadata.timestamp)

    async def delete(self, digest: str, *, before: datetime) -> bool:
        try:
            info, last = await self._info(digest)
        except BlobMissing:
            return False
        assert last.seq is not None
        if last.time is None or last.time >= before:
            return False
        # Up to what was seen: a description that was put again meanwhile stays, and its chunks with it.
        await self._purge(self._description(digest), seq=last.seq + 1)
        if await self._described(digest):
            return False
        await self._purge(self._chunks(info))
        return True

    async def sweep(self, before: datetime) -> int:
        found = await self._ask(
            partial(self._js.stream_info, self._stream, subjects_filter=f"$O.{self._bucket}.C.>")
        )
        # Read after the subjects, so that chunks whose description was written in between are known.
        last = api.ConsumerConfig(deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT)
        named = [
            self._chunks(ObjectInfo.from_response(json.loads(message.data)))
            async for message in self._messages(f"$O.{self._bucket}.M.>", last)
        ]
        freed = 0
        for subject in (found.state.subjects or {}).keys() - set(named):
            latest = await self._ask(partial(self._js.get_last_msg, self._stream, subject))
            if latest.time is not None and latest.time < before:
                everything = api.ConsumerConfig(headers_only=True)
                freed += sum([_size(message) async for message in self._messages(subject, everything)])
                await self._purge(subject)
        return freed

    async def _described(self, digest: str, *, direct: bool = False) -> bool:
        try:
            await self._info(digest, direct=direct)
        except BlobMissing:
            return False
        return True

    async def _before(self, info: ObjectInfo, start: int) -> tuple[int, int]:
        """The bytes in chunks that end at or before `start`, and a sequence after the last of them.

        Without a consumer, which nodes may not make: where nobody else wrote while the blob was stored, its chunks have
        one sequence after the other. Where somebody did, it is read from the beginning.
        """
        subject = self._chunks(info)
        try:
            first, sequence = await self._chunk(subject, 1)
            last = await self._ask(partial(self._js.get_msg, self._stream, subject=subject, direct=True))
        except nats.js.errors.NotFoundError:
            return 0, 1
        if last.seq is None or last.seq - sequence + 1 != info.chunks:
            return 0, 1
        whole = min(start // len(first), info.chunks - 1)
        return whole * len(first), sequence + whole

    async def _chunk(self, subject: str, sequence: int) -> tuple[bytes, int]:
        """The first chunk at or after a sequence, and its own."""
        ask = partial(self._js.get_msg, self._stream, seq=sequence, subject=subject, direct=True, next=True)
        message = await self._ask(ask)
        if not message.data or message.seq is None:
            raise Corrupt("a chunk of the blob", "an empty message", subject)
        return message.data, message.seq

    async def _messages(self, subject: str, config: api.ConsumerConfig) -> AsyncGenerator[Msg, None]:
        """What the stream holds on a subject now, in its order."""
        config.ack_policy, config.inactive_threshold = api.AckPolicy.NONE, 30
        config.mem_storage, config.num_replicas = True, 1
        try:
            listening = await self._js.pull_subscribe(subject, stream=self._stream, config=config)
            try:
                left = (await listening.consumer_info()).num_pending or 0
                while left:
                    for message in await listening.fetch(min(left, 256)):
                        left = message.metadata.num_pending
                        yield message
            finally:
                await listening.unsubscribe()
        except nats.errors.Error as error:
            raise self._unavailable(error) from error

    async def _info(self, digest: str, *, direct: bool = False) -> tuple[ObjectInfo, api.RawStreamMsg]:
        """The description of the object, and the message it is in; `direct` asks any replica, as who only reads may."""
        subject = self._description(digest)
        try:
            message = await self._ask(partial(self._js.get_msg, self._stream, subject=subject, direct=direct))
        except nats.js.errors.NotFoundError:
            raise BlobMissing(digest, f"bucket {self._bucket}") from None
        try:
            info = ObjectInfo.from_response(json.loads(message.data or b""))
        except (ValueError, TypeError, KeyError) as error:
            raise Corrupt("the description of an object", "other bytes", f"blob {digest}") from error
        if info.deleted:
            raise BlobMissing(digest, f"bucket {self._bucket}")
        return info, message

    async def _sought(self, look: Callable[[], Awaitable[T]]) -> T:
        """What `look` finds, in a cluster also later than at once."""
        clustered = bool(self._js._nc._server_info.get("cluster"))
        for _ in range(int(BEHIND_S / AGAIN_S) if clustered else 0):
            with contextlib.suppress(nats.js.errors.NotFoundError, BlobMissing):
                return await look()
            await asyncio.sleep(AGAIN_S)
        return await look()

    async def _purge(self, subject: str, seq: int | None = None) -> None:
        await self._ask(partial(self._js.purge_stream, self._stream, subject=subject, seq=seq))

    async def _ask(self, request: Callable[[], Awaitable[T]]) -> T:
        """The answer. "Not found" is one; anything else that goes wrong is asked again."""
        cause: nats.errors.Error | None = None
        for _ in range(ATTEMPTS):
            try:
                return await _patiently(request)
            except nats.js.errors.NotFoundError as error:
                if error.err_code == STREAM_NOT_FOUND:
                    raise self._unavailable(error) from error
                raise
            except LEADERLESS as error:
                raise self._unavailable(error) from error
            except nats.errors.Error as error:
                cause = error
        raise self._unavailable(cause) from cause

    def _description(self, digest: str) -> str:
        name = base64.urlsafe_b64encode(hex_name(digest).encode()).decode()
        return f"$O.{self._bucket}.M.{name}"

    def _chunks(self, info: ObjectInfo) -> str:
        return f"$O.{self._bucket}.C.{info.nuid}"

    def _unavailable(self, cause: nats.errors.Error | None) -> StoreUnavailable:
        return StoreUnavailable(f"bucket {self._bucket}", str(cause) or type(cause).__name__)


async def _patiently(request: Callable[[], Awaitable[T]]) -> T:
    """The answer, also where a stream that has replicas must elect a leader first."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + LEADERLESS_S
    while True:
        try:
            return await request()
        except LEADERLESS:
            if clock() > deadline:
                raise
            await asyncio.sleep(AGAIN_S)


def _size(message: Msg) -> int:
    """Of a message delivered without its body."""
    return int((message.headers or {})["Nats-Msg-Size"])


def _object_digest(digest: str) -> str:
    """As the object store writes it."""
    return f"SHA-256={base64.urlsafe_b64encode(bytes.fromhex(hex_name(digest))).decode()}"
