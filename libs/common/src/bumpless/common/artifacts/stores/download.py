"""One blob into one file, through broken connections and killed processes.

What has arrived lies in a part file, and the next call goes on at its end. It is a guess until the whole has the right
digest: if not, it is thrown away and fetched once from the start, so a part file can be cut, damaged or foreign without
harm. The part file is locked until it is complete or left; a second call at the same time works with one of its own.
Where downloads lie and which are too old to keep is the caller's to say.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..errors import Corrupt, StoreUnavailable
from ..extent import write_all
from ..limits import PIECE
from .blobs import check, hex_name

P = ParamSpec("P")
T = TypeVar("T")
Read = Callable[[int], AsyncGenerator[bytes, None]]
"""The stored bytes from an offset on, in pieces."""


async def download(digest: str, into: Path, size: int, read: Read, part: Path | None = None) -> int:
    """Bring the blob of `size` bytes to `into`, complete; the bytes that were read for it. Not flushed: what a power cut
    takes is fetched again, as its digest tells.

    `part` is on the file system of `into` (default: beside it). Who shares it names it after the digest.

    Raises:
        StoreUnavailable: as `read` does; what had arrived is kept for the next call, as when this one is cancelled.
        Corrupt, BlobMissing: what is stored is not the blob; nothing is kept.
        OSError: the disk failed; nothing is kept.
    """
    hex_name(digest)
    shared = part or into.with_name(into.name + ".part")
    part, fd = _open_part(shared)
    with open(fd, "rb+", buffering=0):  # noqa: ASYNC230
        try:
            taken, complete = await _continue(digest, fd, size, read)
            if not complete:
                os.ftruncate(fd, 0)
                again, _ = await _continue(digest, fd, size, read)
                taken += again
            os.replace(part, into)
        except (StoreUnavailable, asyncio.CancelledError):
            if part != shared or not os.fstat(fd).st_size:
                part.unlink(missing_ok=True)
            raise
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    return taken


def remove_old(downloads: Path, before: datetime) -> None:
    """Remove every file in `downloads` that nobody wrote to since `before`."""
    with suppress(FileNotFoundError), os.scandir(downloads) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if datetime.fromtimestamp(entry.stat().st_mtime, UTC) < before:
                    os.unlink(entry.path)


async def _continue(digest: str, fd: int, size: int, read: Read) -> tuple[int, bool]:
    """Read what the part file lacks; the bytes read, and False if what was there at the start spoiled it.

    Raises: Corrupt, where nothing was there.
    """
    hasher = hashlib.sha256()
    start = await _finish(_hash_file, fd, hasher.update)
    done = start
    try:
        if start > size:
            raise Corrupt(f"{size} bytes", f"{start}", f"blob {digest}")
        if start < size or not size:
            async with aclosing(read(start)) as pieces:
                async for piece in pieces:
                    done += len(piece)
                    if done > size:
                        raise Corrupt(f"{size} bytes", "more", f"blob {digest}")
                    await _finish(_append, fd, hasher.update, piece)
        if done != size:
            raise Corrupt(f"{size} bytes", str(done), f"blob {digest}")
        check(digest, hasher.hexdigest())
    except Corrupt:
        if not start:
            raise
        return done - start, False
    return done - start, True


async def _finish(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `call` in a thread and see it end, also when cancelled: the file it works on is closed after that."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def _open_part(part: Path) -> tuple[Path, int]:
    """The part file, open and locked; another one where somebody works with it."""
    while True:
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            fd, name = tempfile.mkstemp(dir=part.parent, prefix=f"{part.stem}.", suffix=".part")
            return Path(name), fd
        # Between opening and locking, its owner may have moved it to its place: then it is no part any more.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(part)):
                return part, fd
        os.close(fd)


def _append(fd: int, update: Callable[[bytes], None], piece: bytes) -> None:
    update(piece)
    write_all(fd, piece)


def _hash_file(fd: int, update: Callable[[bytes], None]) -> int:
    """Hash the open file from its start and stay at its end; the bytes it has."""
    os.lseek(fd, 0, os.SEEK_SET)
    done = 0
    while piece := os.read(fd, PIECE):
        update(piece)
        done += len(piece)
    return done
