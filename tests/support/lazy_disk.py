"""A disk that keeps no more than it was told to: of every file and directory what it was at its last flush, or what it
is now, each for itself and in any order.

File systems keep more than that, each something else, so a missing flush need not show on those that tests can mount.
Here it shows. Assumed is only what every journaling file system does: the names in one directory change in their order,
and a rename within it is one change. A rename into another directory is not: one of the two may know of it, or both, or
neither.

Use it on a file system that does not give the number of a removed inode to the next file (tmpfs).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Names = tuple[tuple[str, int], ...]
Tree = tuple[int, "bytes | str | tuple[tuple[str, Tree], ...]"]
"""Mode, and the content of a file, the target of a link or the entries of a directory."""


@dataclass(frozen=True)
class Inode:
    """`content`: a file's bytes, a link's target, or a directory's names with their inodes."""

    mode: int
    content: bytes | str | Names

    @property
    def unflushed(self) -> Inode:
        """What is left of it if it was never flushed. A link's target goes with its name."""
        return self if isinstance(self.content, str) else Inode(self.mode, type(self.content)())


Seen = Mapping[int, Inode]


class Observer:
    """Looks at everything below `root` again and again, and reads what changed."""

    def __init__(self, root: Path) -> None:
        self.root = os.stat(root).st_ino
        self._path = str(root)
        self._read: dict[int, tuple[tuple[int, ...], Inode]] = {}

    def look(self) -> Seen:
        """Twice the same: a call may be under way while this looks."""
        before: dict[int, Inode] | None = None
        while True:
            found: dict[int, Inode] = {}
            try:
                self._walk(self._path, found)
            except FileNotFoundError:
                continue
            if found == before:
                return found
            before = found

    def inode(self, path: str) -> int:
        return os.stat(path).st_ino

    def _walk(self, path: str, found: dict[int, Inode]) -> None:
        info = os.lstat(path)
        if stat.S_ISDIR(info.st_mode):
            with os.scandir(path) as entries:
                names = tuple(sorted((entry.name, entry.inode()) for entry in entries))
            found[info.st_ino] = self._same(info, Inode(info.st_mode, names))
            for name, _ in names:
                self._walk(f"{path}/{name}", found)
        elif stat.S_ISLNK(info.st_mode):
            found[info.st_ino] = Inode(info.st_mode, os.readlink(path))
        elif stat.S_ISREG(info.st_mode):
            found[info.st_ino] = self._file(path, info)

    def _same(self, info: os.stat_result, inode: Inode) -> Inode:
        """The object of the last look where nothing changed, which makes looks cheap to keep and to compare."""
        known = self._read.get(info.st_ino)
        if known is None or known[1] != inode:
            self._read[info.st_ino] = known = ((), inode)
        return known[1]

    def _file(self, path: str, info: os.stat_result) -> Inode:
        stamp = (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_mode)
        known = self._read.get(info.st_ino)
        if known is None or known[0] != stamp or info.st_size < RACY_BYTES:
            with open(path, "rb") as file:
                read = Inode(info.st_mode, file.read())
            if known is None or known[1] != read:
                known = (stamp, read)
            self._read[info.st_ino] = known
        return known[1]


RACY_BYTES = 1 << 14
"""Smaller files are read at every look: the clock of a file ticks too slowly to tell two writes apart."""


class LazyDisk:
    def __init__(self, root: int, seen: Seen) -> None:
        """Everything that is `seen` at the start is flushed."""
        self._root = root
        self._kept: dict[int, Inode] = dict(seen)
        self._now: dict[int, Inode] = dict(seen)

    def see(self, seen: Seen) -> None:
        """What is there now. What is gone is remembered as it was last: a directory may still be known to name it."""
        self._now.update(seen)

    def flush(self, inodes: Iterable[int]) -> None:
        for inode in inodes:
            self._kept[inode] = self._now[inode]

    @property
    def dirty(self) -> tuple[int, ...]:
        return tuple(i for i, now in self._now.items() if self._old(i) != now)

    def after_a_cut(self, new: Iterable[int] = (), old: Iterable[int] | None = None) -> Tree:
        """What is there if all is as at its last flush but `new`; or, with `old`, all is as it is now but these."""
        if old is not None:
            stale = frozenset(old)
            new = (i for i in self._now if i not in stale)
        return self._tree(self._root, frozenset(new))

    def _old(self, inode: int) -> Inode:
        return self._kept.get(inode) or self._now[inode].unflushed

    def _tree(self, inode: int, new: frozenset[int]) -> Tree:
        found = self._now[inode] if inode in new else self._old(inode)
        if isinstance(found.content, tuple):
            return (found.mode, tuple((name, self._tree(below, new)) for name, below in found.content))
        return (found.mode, found.content)


def write(tree: Tree, at: Path) -> None:
    mode, content = tree
    if isinstance(content, bytes):
        at.write_bytes(content)
        at.chmod(stat.S_IMODE(mode))
    elif isinstance(content, str):
        at.symlink_to(content)
    else:
        at.mkdir()
        for name, below in content:
            write(below, at / name)
        at.chmod(stat.S_IMODE(mode))


def singles(disk: LazyDisk, most: int) -> Iterator[Tree]:
    """The cuts in which everything is old, or one thing alone is new or old; of things, `most` spread evenly."""
    yield disk.after_a_cut()
    dirty = disk.dirty
    chosen = dirty if len(dirty) <= most else tuple(dirty[i * len(dirty) // most] for i in range(most))
    for inode in chosen:
        yield disk.after_a_cut(new=(inode,))
        yield disk.after_a_cut(old=(inode,))
