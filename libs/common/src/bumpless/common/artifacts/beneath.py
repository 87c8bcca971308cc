"""Opens and creates names under one directory, never through a symbolic link and never outside it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import TracebackType
from typing import Self

_libc = ctypes.CDLL(None, use_errno=True)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Beneath:
    """Every part of a path is opened relative to the part above it. A link in the way is an OSError.

    Remembers the last directory it walked to: callers go through a tree in order. For one thread.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._path, self._fd = "", self._root

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        os.close(self._root)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """A descriptor of the file at `path`, which the caller closes."""
        parent, name = self._parent(path)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=parent)

    def create(self, path: str) -> int:
        """A descriptor of a new, empty file."""
        return self.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def mkdir(self, path: str, mode: int) -> None:
        parent, name = self._parent(path)
        os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            os.fchmod(fd, mode)  # mkdir's own mode would be cut by the umask
        finally:
            os.close(fd)

    def symlink(self, path: str, target: str) -> None:
        parent, name = self._parent(path)
        os.symlink(target, name, dir_fd=parent)

    def link(self, path: str, source: Beneath, source_path: str) -> None:
        """Let `path` be another name of a file beneath `source`."""
        parent, name = self._parent(path)
        source_parent, source_name = source._parent(source_path)
        os.link(source_name, name, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        parent, name = self._parent(path)
        os.unlink(name, dir_fd=parent)

    def fsync(self, path: str = "") -> None:
        """Make the file or directory at `path` (the root if empty) durable."""
        fd = self.open(path, os.O_RDONLY) if path else os.dup(self._root)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def sync_file_system(self) -> None:
        """Make everything on this file system durable. Raises: OSError, also for writes that failed before."""
        if _libc.syncfs(self._root):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(self.root))

    def _parent(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        if above != self._path:
            fd = os.dup(self._root)
            for part in filter(None, above.split("/")):
                try:
                    inner = os.open(part, _DIRECTORY, dir_fd=fd)
                finally:
                    os.close(fd)
                fd = inner
            self._forget()
            self._path, self._fd = above, fd
        return self._fd, name

    def _forget(self) -> None:
        if self._fd != self._root:
            os.close(self._fd)
        self._path, self._fd = "", self._root


def fsync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    with Beneath(directory) as opened:
        opened.fsync()
