"""Writing so that a power cut leaves the old or the new, never something between."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path

RENAME_EXCHANGE = 2
"""<linux/fs.h>; renameat2(2)."""
AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)
_NOT_HERE = (errno.ENOSYS, errno.EINVAL)
"""No such call in this libc or kernel; a file system that cannot exchange."""


def write_file(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, flushed to the disk with its name."""
    part = prepare_file(path, data)
    try:
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def prepare_file(path: Path, data: bytes) -> Path:
    """A file beside `path` with `data`, flushed, to be moved there; it is gone if this fails."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return part


def sync_directory(path: Path) -> None:
    """Flush the names in `path`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def place_link(link: Path, target: str) -> None:
    """Let `link` name `target`; whoever looks sees the old or the new one. Not flushed."""
    part = link.with_name(f".{link.name}.part")
    part.unlink(missing_ok=True)
    os.symlink(target, part)
    os.replace(part, link)


def exchange(left: Path, right: Path) -> bool:
    """Swap two names in one step; False where the system has no such call (nothing was done). Not flushed."""
    call = getattr(_libc, "renameat2", None)
    if call is None:
        return False
    done = call(AT_FDCWD, os.fsencode(left), AT_FDCWD, os.fsencode(right), ctypes.c_uint(RENAME_EXCHANGE))
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number), str(left), None, str(right))
