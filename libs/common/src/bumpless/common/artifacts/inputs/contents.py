"""What containers hold, one on top of the other, and its way to the disk.

Invariants: everything is listed and checked before the first byte is written; what one container says of a path twice,
or several say, counts as it was said last; a hard link is the content its target has at that place. Directories are
written first and links last, so no write can pass a link.

It reads no format: `tar` and `wheel` do.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bumpless.common.artifacts.beneath import Beneath
from bumpless.common.artifacts.errors import Corrupt, UnsafePath
from bumpless.common.artifacts.extent import Extent, write_all
from bumpless.common.artifacts.limits import Limits
from bumpless.common.artifacts.tree import Kind, check_path, directory_entry, file_entry, link_entry, tree_of

MEMBERS_MAX = 2_000_000
"""Of all containers: an image holds much that is not taken from it."""

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
"""OCI image specification, layer.md: names in a layer that remove what lower layers have."""

_NOTES = ".wh..wh."
"""What some storage drivers leave in a layer for themselves."""


@dataclass(frozen=True, slots=True)
class Item:
    """`size` in bytes. `place` says where the bytes are: in which container, in which of its members.

    `refused` is why this may not stand in a tree; there is no `kind` then.
    """

    kind: Kind | None
    executable: bool = False
    size: int = 0
    target: str = ""
    place: tuple[int, int] = (0, 0)
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """One row of a container; without an item it is a hard link to the path `same_as`."""

    path: str
    item: Item | None
    same_as: str = ""


class Container(Protocol):
    """Something that holds members in a fixed order; it can be read any number of times."""

    @property
    def name(self) -> str: ...

    def members(self) -> Iterator[Member]:
        """All of them. Raises: Corrupt."""
        ...

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The bytes of the members of these numbers, in their order; each is read to its end before the next."""
        ...


class Contents:
    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._containers: list[Container] = []
        self._items: dict[str, Item] = {}
        self._seen = 0

    def add(self, container: Container, *, whiteouts: bool = False) -> None:
        """Put a container on top. `whiteouts` lets it remove what lies below.

        Raises:
            UnsafePath, TooLarge: a path no tree may hold, or too many members.
            Corrupt: the container is damaged.
        """
        number = len(self._containers)
        self._containers.append(container)
        upper: dict[str, Item] = {}
        removed: set[str] = set()
        emptied: set[str] = set()
        for index, member in enumerate(container.members()):
            self._seen += 1
            Limits.check(MEMBERS_MAX, self._seen, f"{container.name} (members)")
            check_path(member.path)
            above, _, name = member.path.rpartition("/")
            if whiteouts and name == _OPAQUE:
                emptied.add(above)
            elif whiteouts and f"/{_NOTES}" in f"/{member.path}":
                continue
            elif whiteouts and name.startswith(_WHITEOUT):
                removed.add(member.path.removesuffix(name) + name.removeprefix(_WHITEOUT))
            elif member.item is not None:
                upper[member.path] = replace(member.item, place=(number, index))
            else:
                same = upper.get(member.same_as) or self._items.get(member.same_as)
                if same is None or same.kind is Kind.DIRECTORY:
                    raise UnsafePath(
                        member.path,
                        f"expected a hard link to an earlier file, found one to {member.same_as!r}",
                    )
                upper[member.path] = same
        replaced = removed | {path for path, item in upper.items() if item.kind is not Kind.DIRECTORY}
        kept = {
            path: item
            for path, item in self._items.items()
            if path not in removed and not any(a in replaced or a in emptied for a in _above(path))
        }
        self._items = kept | upper

    def holds(self, *paths: str) -> bool:
        """Whether all of these are there."""
        return all(path in self._items for path in paths)

    def write(self, out: Path, subpath: str = "") -> None:
        """Make the folder `subpath`, or everything, in the directory `out`, which exists and is empty.

        Raises:
            UnsafePath: something in there may not stand in a tree; names the first one.
            TooLarge: it is more than the limits allow.
            Corrupt: a container is damaged, or changed since it was listed.
            FileNotFoundError, NotADirectoryError: there is no folder `subpath`.
        """
        items = self._below(subpath)
        for path, item in sorted(items.items()):
            if item.refused:
                raise UnsafePath(path, item.refused)
        Limits.check(self._limits.entries, len(items), "the tree (entries)")
        Limits.check(self._limits.tree, sum(item.size for item in items.values()), "the tree (bytes)")
        for path, item in items.items():
            Limits.check(self._limits.file, item.size, path)
        # Checks paths, link targets and what lies under what; the contents are not known yet.
        ordered = tree_of(
            directory_entry(path)
            if item.kind is Kind.DIRECTORY
            else link_entry(path, item.target)
            if item.kind is Kind.LINK
            else file_entry(path, item.executable, "", item.size)
            for path, item in items.items()
        ).entries
        with Beneath(out) as beneath:
            for e in ordered:
                if e.kind is Kind.DIRECTORY:
                    beneath.mkdir(e.path, e.mode)
            self._write_files(beneath, {e.path: items[e.path] for e in ordered if e.kind is Kind.FILE})
            for e in ordered:
                if e.kind is Kind.LINK:
                    beneath.symlink(e.path, e.content)

    def _below(self, subpath: str) -> dict[str, Item]:
        items = dict(self._items)
        for path in self._items:
            for above in _above(path):
                if above and items.setdefault(above, Item(Kind.DIRECTORY)).kind is not Kind.DIRECTORY:
                    raise UnsafePath(path, f"expected a directory above it, found another thing at {above!r}")
        if not subpath:
            return items
        folder = items.get(subpath)
        if folder is None:
            raise FileNotFoundError(f"nothing at {subpath}")
        if folder.kind is not Kind.DIRECTORY:
            what = f"a link to {folder.target}" if folder.kind is Kind.LINK else "no folder"
            raise NotADirectoryError(f"{what} at {subpath}")
        inside = subpath + "/"
        return {path.removeprefix(inside): item for path, item in items.items() if path.startswith(inside)}

    def _write_files(self, out: Beneath, items: Mapping[str, Item]) -> None:
        wanted: list[dict[int, list[str]]] = [{} for _ in self._containers]
        for path, item in items.items():
            number, index = item.place
            wanted[number].setdefault(index, []).append(path)
        for container, paths in zip(self._containers, wanted, strict=True):
            if not paths:
                continue
            found = 0
            for index, pieces in container.read(paths.keys()):
                found += 1
                first, *others = paths[index]
                _write(out, first, items[first], pieces)
                for path in others:
                    with open(out.open(first, os.O_RDONLY), "rb", buffering=0) as source:
                        extent = Extent(source.fileno(), 0, items[first].size, first)
                        _write(out, path, items[path], extent.pieces())
            if found < len(paths):
                raise Corrupt(f"{len(paths)} files", f"{found} (it changed)", container.name)


def _write(out: Beneath, path: str, item: Item, pieces: Iterator[bytes]) -> None:
    size = 0
    with open(out.create(path), "wb", buffering=0) as file:
        for piece in pieces:
            size += len(piece)
            if size > item.size:
                break
            write_all(file.fileno(), piece)
        os.fchmod(file.fileno(), 0o755 if item.executable else 0o644)
    if size != item.size:
        raise Corrupt(f"{item.size} bytes", f"{size} or more", path)


def _above(path: str) -> Iterator[str]:
    """Every directory above `path`, the root, which is empty, last."""
    while path:
        path = path.rpartition("/")[0]
        yield path
