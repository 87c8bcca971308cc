"""Where blobs lie: any number of bytes under their SHA-256.

A blob never changes, so putting one twice is one put, and a reader checks what it gets against the name. A driver
delivers exactly the named bytes or raises; it knows nothing of packages, and it deletes nothing. The driver for the
JetStream object store is in `jetstream`.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Protocol

from .blobs import collect, describe, hex_name, receive
from .errors import BlobMissing, Corrupt
from .extent import write_all
from .jetstream import JetStreamBlobs
from .limits import PIECE
from .manifest import BlobRef

__all__ = ["BlobStore", "DirectoryBlobs", "JetStreamBlobs"]


class BlobStore(Protocol):
    """The port; `tests/contract/test_store_conformance.py` says what every driver does."""

    async def put(self, data: bytes | Path) -> BlobRef:
        """Store bytes, or the content of a file, unless they are there."""
        ...

    async def has(self, digest: str) -> bool: ...

    async def get(self, digest: str, *, max_size: int) -> bytes:
        """The blob in memory. Raises: BlobMissing, Corrupt, TooLarge."""
        ...

    async def fetch(self, digest: str, into: Path, *, size: int) -> None:
        """The blob of `size` bytes in the file `into`, which appears complete and flushed, or not at all.

        Raises:
            BlobMissing: the store has no such blob.
            Corrupt: what it has are other bytes, or another number of them.
            StoreUnavailable: it does not answer.
        """
        ...


class DirectoryBlobs:
    """One file per blob, named by the digest in hex. The directory may be shared between processes of one host."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def put(self, data: bytes | Path) -> BlobRef:
        return await asyncio.to_thread(self.write, data)

    def write(self, data: bytes | Path) -> BlobRef:
        """`put` for callers that are not asynchronous."""
        ref = describe(data)
        target = self._file(ref.digest)
        if not target.exists():
            self._path.mkdir(parents=True, exist_ok=True)
            # A name of its own per writer: whichever of several moves last changes nothing.
            fd, part = tempfile.mkstemp(dir=self._path, prefix=f"{target.name}.", suffix=".part")
            try:
                with open(fd, "wb"):
                    os.fchmod(fd, 0o644)
                    _write_from(data, fd)
                    os.fsync(fd)
                if (written := describe(Path(part))) != ref:
                    raise Corrupt(ref.digest, f"{written.digest} (it changed while it was stored)", str(data))
                os.replace(part, target)
            finally:
                Path(part).unlink(missing_ok=True)
        return ref

    async def has(self, digest: str) -> bool:
        return self._file(digest).is_file()

    async def get(self, digest: str, *, max_size: int) -> bytes:
        return await collect(digest, self._pieces(digest), max_size)

    async def fetch(self, digest: str, into: Path, *, size: int) -> None:
        await receive(digest, into, size, self._pieces(digest))

    def _file(self, digest: str) -> Path:
        return self._path / hex_name(digest)

    async def _pieces(self, digest: str) -> AsyncGenerator[bytes, None]:
        try:
            file = open(self._file(digest), "rb", buffering=0)  # noqa: SIM115, ASYNC230
        except FileNotFoundError:
            raise BlobMissing(digest, str(self._path)) from None
        with file:
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield piece


def _write_from(data: bytes | Path, fd: int) -> None:
    if isinstance(data, bytes):
        write_all(fd, data)
        return
    with open(data, "rb", buffering=0) as source:
        while piece := source.read(PIECE):
            write_all(fd, piece)
