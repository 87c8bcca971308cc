"""A tree of files, named by its content.

Invariants: entries are sorted by path; a path is relative, plain and short; every parent of an entry is a directory
of the same tree; a link's target stays in the tree whatever other links it passes. Modes are canonical (0755 for
directories and executable files, 0644 for other files), so the root hash does not depend on umask, owner or clock.

It does not read or write packages and follows no symbolic link.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from .errors import Corrupt, UnsafePath
from .limits import MAX_NAME_BYTES, MAX_PATH_BYTES

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(
    r"(?!\.{1,2}(?:/|$))[\w.@+-][\w.@+ -]{0,99}(?:/(?!\.{1,2}(?:/|$))[\w.@+-][\w.@+ -]{0,99}){0,9}",
    re.ASCII,
)
"""Most paths, which need no closer look."""

Known = Callable[[str, os.stat_result], str]
"""The SHA-256 in hex of the file at a path, where whoever asks knows it without reading; empty: read it."""

NO_ROOT = "sha256:" + "0" * 64
"""Stands where a full package has no base."""


class Kind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Entry:
    """`content` is the SHA-256 in hex of a file, the target of a link, and empty for a directory."""

    path: str
    kind: Kind
    mode: int
    content: str = ""
    size: int = 0
    stamp: tuple[int, ...] = field(default=(), compare=False, repr=False)
    """See `stamp_of`: which file was read, and in which state."""


def file_entry(path: str, executable: bool, digest: str, size: int) -> Entry:
    return Entry(path, Kind.FILE, 0o755 if executable else 0o644, digest, size)


def directory_entry(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0o755)


def link_entry(path: str, target: str) -> Entry:
    return Entry(path, Kind.LINK, 0o777, target)


@dataclass(frozen=True)
class Tree:
    """Build it with `tree_of`, which checks it; the constructor does not."""

    entries: tuple[Entry, ...]

    @cached_property
    def root(self) -> str:
        """SHA-256 over the entries. Every field ends in NUL, which no field contains, so no two trees collide."""
        hasher = hashlib.sha256(b"bumpless tree 1\0")
        for e in self.entries:
            hasher.update(f"{e.path}\0{e.kind}\0{e.mode:o}\0{e.content}\0".encode())
        return f"sha256:{hasher.hexdigest()}"

    @cached_property
    def files(self) -> dict[str, Entry]:
        return {e.path: e for e in self.entries if e.kind is Kind.FILE}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(e.size for e in self.entries)

    def without_bytecode(self) -> Tree:
        """The tree as it was before an interpreter ran from it."""
        return Tree(tuple(e for e in self.entries if not _is_bytecode(e.path)))


def tree_of(entries: Iterable[Entry]) -> Tree:
    """The checked, sorted tree of `entries`.

    Raises:
        UnsafePath: a path or a link target is not allowed, stands twice, or lies under something not a directory.
    """
    ordered = sorted(entries, key=lambda e: e.path)
    kinds: dict[str, Kind] = {}
    for e in ordered:
        check_path(e.path)
        if e.kind is Kind.LINK:
            check_target(e.path, e.content)
        if e.path in kinds:
            raise UnsafePath(e.path, "expected each path once, found it twice")
        # A parent sorts before its children, so it has been seen.
        parent = e.path.rpartition("/")[0]
        if parent and kinds.get(parent) is not Kind.DIRECTORY:
            raise UnsafePath(e.path, f"expected a directory above it, found {kinds.get(parent, 'nothing')}")
        kinds[e.path] = e.kind
    return Tree(tuple(ordered))


def stamp_of(info: os.stat_result) -> tuple[int, ...]:
    """Changes when a file is replaced or written to, and not when it is linked or its mode is changed."""
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def check_path(path: str) -> None:
    """Raises: UnsafePath, unless `path` is relative, plain (no empty part, `.` or `..`), printable and short."""
    if _PLAIN.fullmatch(path):
        return
    _check_text(path, path)
    if path.startswith("/"):
        raise UnsafePath(path, "expected a path relative to the tree, found an absolute one")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise UnsafePath(path, f"expected at most {MAX_PATH_BYTES} bytes, found {len(path.encode())}")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise UnsafePath(path, f"expected names between the slashes, found {part!r}")
        if len(part.encode()) > MAX_NAME_BYTES:
            raise UnsafePath(path, f"expected names of at most {MAX_NAME_BYTES} bytes, found {part!r}")


def check_target(path: str, target: str) -> None:
    """Raises: UnsafePath, unless the link at `path` leads into its own tree.

    `..` may only lead the target: there it climbs real directories, so counting them is exact. After a name it
    could climb out of whatever place another link points to.
    """
    _check_text(path, target)
    if target.startswith("/"):
        raise UnsafePath(path, f"expected a relative link target, found {target!r}")
    if len(target.encode()) > MAX_PATH_BYTES:
        raise UnsafePath(path, f"expected a target of at most {MAX_PATH_BYTES} bytes, found {len(target)}")
    parts = target.split("/")
    climbs = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    if climbs > path.count("/"):
        raise UnsafePath(path, f"expected a link target inside the tree, found {target!r}")
    if any(part in ("", "..") or (part == "." and target != ".") for part in parts[climbs:]):
        raise UnsafePath(
            path, f"expected '..' only at the start of a link target and names after, found {target!r}"
        )


def scan(root: Path, *, bytecode: bool = True, known: Known | None = None) -> Tree:
    """The tree under the directory `root`. `bytecode=False` leaves `__pycache__` and `*.pyc` out (a build input).

    `known` is asked about every file once it is open.

    Raises:
        UnsafePath: a device, socket, pipe, setuid file, or a path or link a tree may not hold.
        NotADirectoryError, FileNotFoundError: `root` is no directory.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return tree_of(_walk(fd, "", bytecode, known))
    finally:
        os.close(fd)


def verify(root: Path, tree: Tree) -> None:
    """Raises: Corrupt, naming the first path at which the directory `root` differs from `tree`."""
    found = scan(root)
    if found.root == tree.root:
        return
    left, right = {e.path: e for e in tree.entries}, {e.path: e for e in found.entries}
    path = min(p for p in left.keys() | right.keys() if left.get(p) != right.get(p))
    raise Corrupt(_describe(left.get(path)), _describe(right.get(path)), f"{root}/{path}")


def verify_root(root: Path, expected_root: str) -> Tree:
    """The tree under `root`, read again from the disk.

    Raises:
        Corrupt: it is not the tree named `expected_root`.
    """
    tree = scan(root)
    if tree.root != expected_root:
        raise Corrupt(f"the tree {expected_root}", tree.root, str(root))
    return tree


def _walk(fd: int, prefix: str, bytecode: bool, known: Known | None) -> Iterator[Entry]:
    with os.scandir(fd) as listing:
        found = sorted(listing, key=lambda item: item.name)
    for item in found:
        path = prefix + item.name
        check_path(path)
        if not bytecode and _is_bytecode(path):
            continue
        info = item.stat(follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            yield link_entry(path, os.readlink(item.name, dir_fd=fd))
        elif stat.S_ISDIR(info.st_mode):
            yield directory_entry(path)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(item.name, flags, dir_fd=fd)
            try:
                yield from _walk(inner, path + "/", bytecode, known)
            finally:
                os.close(inner)
        elif stat.S_ISREG(info.st_mode):
            yield _read_file(fd, item.name, path, known)
        else:
            kind = stat.filemode(info.st_mode)
            raise UnsafePath(path, f"expected a file, directory or relative link, found {kind}")


def _read_file(fd: int, name: str, path: str, known: Known | None) -> Entry:
    # O_NONBLOCK: a pipe put in the file's place since the listing must not hang the scan.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(name, flags, dir_fd=fd), "rb") as file:
        info = os.fstat(file.fileno())
        if info.st_mode & (stat.S_ISUID | stat.S_ISGID):
            raise UnsafePath(
                path, f"expected no setuid or setgid bit, found mode {stat.S_IMODE(info.st_mode):04o}"
            )
        digest = (known(path, info) if known else "") or hashlib.file_digest(file, "sha256").hexdigest()
    entry = file_entry(path, bool(info.st_mode & stat.S_IXUSR), digest, info.st_size)
    return replace(entry, stamp=stamp_of(info))


def _check_text(path: str, text: str) -> None:
    if not text:
        raise UnsafePath(path, "expected a name, found nothing")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnsafePath(path, "expected UTF-8, found other bytes") from None
    if _CONTROL.search(text):
        raise UnsafePath(path, f"expected no control characters, found {text!r}")


def _is_bytecode(path: str) -> bool:
    return path.endswith(".pyc") or "__pycache__" in path.split("/")


def _describe(entry: Entry | None) -> str:
    if entry is None:
        return "nothing"
    return f"{entry.kind} {entry.mode:04o} {entry.content}".rstrip()
