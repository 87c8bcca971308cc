"""What the drivers of the blob store share: naming bytes, and taking in a stream that must turn out to be them."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from .errors import Corrupt, TooLarge
from .extent import write_all
from .manifest import BlobRef


def hex_name(digest: str) -> str:
    """The name a blob is stored under. Raises: ValueError, if `digest` is not "sha256:" and 64 hex digits."""
    return BlobRef(digest=digest, size=0).digest.removeprefix("sha256:")


async def receive(digest: str, into: Path, size: int, pieces: AsyncGenerator[bytes, None]) -> None:
    """Write a blob next to its place, hashing it, and move it there once it is the right one.

    The part file belongs to this call: what a killed process left there is overwritten.

    Raises:
        Corrupt: the pieces are not the blob.
    """
    part = into.with_name(into.name + ".part")
    hasher = hashlib.sha256()
    done = 0
    try:
        with open(part, "wb", buffering=0) as file:  # noqa: ASYNC230
            async with aclosing(pieces):
                async for piece in pieces:
                    done += len(piece)
                    if done > size:
                        raise Corrupt(f"{size} bytes", "more", f"blob {digest}")
                    hasher.update(piece)
                    await asyncio.to_thread(write_all, file.fileno(), piece)
            if done != size:
                raise Corrupt(f"{size} bytes", str(done), f"blob {digest}")
            _check(digest, hasher.hexdigest())
            await asyncio.to_thread(os.fsync, file.fileno())
        os.replace(part, into)
    finally:
        part.unlink(missing_ok=True)


async def collect(digest: str, pieces: AsyncGenerator[bytes, None], max_size: int) -> bytes:
    """The checked bytes of a blob that may lie in memory. Raises: Corrupt, TooLarge."""
    data = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            data += piece
            if len(data) > max_size:
                raise TooLarge(max_size, len(data), f"blob {digest}")
    _check(digest, hashlib.sha256(data).hexdigest())
    return bytes(data)


def describe(data: bytes | Path) -> BlobRef:
    """Digest and size of bytes or of a file."""
    if isinstance(data, bytes):
        return BlobRef(digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size=len(data))
    with open(data, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return BlobRef(digest=f"sha256:{digest}", size=os.fstat(file.fileno()).st_size)


def _check(digest: str, found: str) -> None:
    if f"sha256:{found}" != digest:
        raise Corrupt(digest, f"sha256:{found}", "blob")
