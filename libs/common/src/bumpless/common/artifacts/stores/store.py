"""The port to where blobs lie: any number of bytes under their SHA-256. And its plainest driver, a directory.

A blob never changes, so putting one twice is one put, and a reader checks what it gets against the name: a store is
not trusted. A driver says how bytes are found and read from any offset on; `get` and `fetch` are the same for all of
them. `open_store` has the drivers by URL.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ..errors import BlobMissing, Corrupt
from ..extent import write_all
from ..limits import PIECE
from ..manifest import BlobRef
from .blobs import collect, describe, hex_name, is_hex_name
from .download import download


@dataclass(frozen=True)
class StoredBlob:
    """What a store says of a blob; `put_at` is when it was last put, also where it was there already."""

    digest: str
    size: int
    put_at: datetime


class BlobReader(ABC):
    """A store to read from; `tests/contract/test_store_conformance.py` says what every driver does.

    Every call raises ValueError for a digest that is not "sha256:" and 64 hex digits, and StoreUnavailable where the
    store does not answer, after the driver has tried more than once.
    """

    @abstractmethod
    async def has(self, digest: str) -> bool: ...

    @abstractmethod
    def read(self, digest: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        """What is stored under the name, from byte `start` on, unchecked, in pieces of a size the driver chooses.

        No more than one piece is asked for before the reader takes it. Raises: BlobMissing, Corrupt.
        """

    async def get(self, digest: str, *, max_size: int) -> bytes:
        """The blob in memory. Raises: BlobMissing, Corrupt, TooLarge."""
        return await collect(digest, self.read(digest), max_size)

    async def fetch(self, digest: str, into: Path, *, size: int, part: Path | None = None) -> int:
        """The blob of `size` bytes in the file `into`, which appears complete, or not at all. Not flushed.

        Returns the bytes taken from the store. What a broken call has got stays in `part`, and the next one goes on
        from there (see `download`).

        Raises:
            BlobMissing: the store has no such blob.
            Corrupt: what it has are other bytes, or another number of them.
        """
        return await download(digest, into, size, partial(self.read, digest), part)

    async def close(self) -> None:
        """Let go of connections the store opened itself."""
        return


class BlobStore(BlobReader):
    """A store that also takes blobs, and gives room back."""

    @abstractmethod
    async def put(self, data: bytes | Path) -> BlobRef:
        """Store bytes, or the content of a file, unless they are there; then their date is renewed.

        Raises:
            Corrupt: the file changed while it was read.
        """

    @abstractmethod
    async def renew(self, digest: str) -> bool:
        """Let a blob count as put now; whether it is there."""

    @abstractmethod
    def stored(self) -> AsyncIterator[StoredBlob]:
        """Every blob; names that are no digests are left out."""

    @abstractmethod
    async def delete(self, digest: str, *, before: datetime) -> bool:
        """Remove a blob that was last put before `before`; whether it was there and is gone."""

    @abstractmethod
    async def sweep(self, before: datetime) -> int:
        """Remove what writers left that were killed before `before`; the bytes given back."""


class DirectoryBlobs(BlobStore):
    """One file per blob, named by the digest in hex. The directory may be shared between processes and hosts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def put(self, data: bytes | Path) -> BlobRef:
        return await asyncio.to_thread(self.write, data)

    def write(self, data: bytes | Path) -> BlobRef:
        """`put` for callers that are not asynchronous."""
        ref = describe(data)
        if self._touch(ref.digest):
            return ref
        target = self._file(ref.digest)
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

    async def renew(self, digest: str) -> bool:
        return self._touch(digest)

    async def has(self, digest: str) -> bool:
        return self._file(digest).is_file()

    async def read(self, digest: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        try:
            file = open(self._file(digest), "rb", buffering=0)  # noqa: SIM115, ASYNC230
        except FileNotFoundError:
            raise BlobMissing(digest, str(self._path)) from None
        with file:
            file.seek(start)
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield piece

    async def stored(self) -> AsyncIterator[StoredBlob]:
        for name, found in await asyncio.to_thread(self._entries):
            if is_hex_name(name):
                yield StoredBlob(f"sha256:{name}", found.st_size, _modified(found))

    async def delete(self, digest: str, *, before: datetime) -> bool:
        file = self._file(digest)
        with suppress(FileNotFoundError):
            if _modified(file.stat()) < before:
                file.unlink()
                return True
        return False

    async def sweep(self, before: datetime) -> int:
        freed = 0
        for name, found in await asyncio.to_thread(self._entries):
            if name.endswith(".part") and _modified(found) < before:
                (self._path / name).unlink(missing_ok=True)
                freed += found.st_size
        return freed

    def _file(self, digest: str) -> Path:
        return self._path / hex_name(digest)

    def _touch(self, digest: str) -> bool:
        try:
            os.utime(self._file(digest))
        except FileNotFoundError:
            return False
        return True

    def _entries(self) -> tuple[tuple[str, os.stat_result], ...]:
        found = []
        with suppress(FileNotFoundError), os.scandir(self._path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found.append((entry.name, entry.stat()))
        return tuple(found)


def _modified(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)


def _write_from(data: bytes | Path, fd: int) -> None:
    if isinstance(data, bytes):
        write_all(fd, data)
        return
    with open(data, "rb", buffering=0) as source:
        while piece := source.read(PIECE):
            write_all(fd, piece)
