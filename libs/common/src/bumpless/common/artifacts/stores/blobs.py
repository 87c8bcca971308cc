"""What the drivers of the blob store share: naming bytes, and taking them into memory only if they are the named."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from ..errors import Corrupt, TooLarge
from ..manifest import BlobRef

_HEX = re.compile(r"[0-9a-f]{64}")


def hex_name(digest: str) -> str:
    """The name a blob is stored under. Raises: ValueError, if `digest` is not "sha256:" and 64 hex digits."""
    return BlobRef(digest=digest, size=0).digest.removeprefix("sha256:")


def is_hex_name(name: str) -> bool:
    """Whether a blob may be stored under `name`."""
    return _HEX.fullmatch(name) is not None


async def collect(digest: str, pieces: AsyncGenerator[bytes, None], max_size: int) -> bytes:
    """The checked bytes of a blob that may lie in memory. Raises: Corrupt, TooLarge."""
    data = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            data += piece
            if len(data) > max_size:
                raise TooLarge(max_size, len(data), f"blob {digest}")
    check(digest, hashlib.sha256(data).hexdigest())
    return bytes(data)


def describe(data: bytes | Path) -> BlobRef:
    """Digest and size of bytes or of a file."""
    if isinstance(data, bytes):
        return BlobRef(digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size=len(data))
    with open(data, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return BlobRef(digest=f"sha256:{digest}", size=os.fstat(file.fileno()).st_size)


def check(digest: str, found: str) -> None:
    """Raises: Corrupt, unless `found` is the digest in hex."""
    if f"sha256:{found}" != digest:
        raise Corrupt(digest, f"sha256:{found}", "blob")
