"""Packs a tree: as a full package, or as the difference from an earlier tree.

The output depends on the trees only: everything is sorted and coded on one thread, and nothing reads a clock. Bases
are guesses by path, content and name; a wrong guess costs bytes, never correctness. `rebuild` unpacks.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .codecs import best
from .errors import Corrupt
from .limits import Limits
from .package import FORMAT, CopyRow, FileRow, Manifest, SolidRow, pack, parse
from .tree import NO_ROOT, Entry, Kind, Tree, scan

_VARYING = re.compile(r"\d+|-[0-9a-f]{8,}")
"""What build tools put into names that changes between versions: version numbers and content hashes."""

_SIZE_RATIO = 4
"""A base of another name must be within this factor of the new size to be worth trying."""


@dataclass(frozen=True)
class FileInfo:
    """`blob` is the file's part of the package in bytes; None for a copy and for a member of the solid blob."""

    path: str
    op: str
    size: int | None
    codec: str | None
    base: str | None
    blob: int | None


@dataclass(frozen=True)
class PackageInfo:
    """`kept` counts the base's entries that stay as they are; `overhead` is what is not blobs, in bytes."""

    format: int
    old_root: str | None
    new_root: str
    size: int
    overhead: int
    kept: int
    solid_codec: str
    solid_blob: int
    files: tuple[FileInfo, ...]


def build_full(tree_dir: Path, *, bytecode: bool = False, format_version: int = FORMAT) -> bytes:
    """A package that holds the whole tree. `bytecode=True` ships `__pycache__` and `*.pyc` too.

    Raises:
        UnsafePath: the tree holds something a tree may not.
        Corrupt: a file changed while it was packed.
    """
    return _build(None, Tree(()), tree_dir, scan(tree_dir, bytecode=bytecode), format_version)


def build_delta(
    old_dir: Path, new_dir: Path, *, bytecode: bool = False, format_version: int = FORMAT
) -> bytes:
    """A package that makes the tree in `new_dir` from the one in `old_dir`; arguments and errors as `build_full`.

    `format_version` is the highest format the readers know.
    """
    old, new = scan(old_dir, bytecode=bytecode), scan(new_dir, bytecode=bytecode)
    return _build(old_dir, old, new_dir, new, format_version)


def inspect(package: bytes, limits: Limits | None = None) -> PackageInfo:
    """What a package holds, without its base.

    Raises:
        Corrupt, TooLarge, UnsupportedFormat: see `package.parse`.
    """
    p = parse(lambda at, count: package[at : at + count], len(package), limits or Limits(), "package")
    manifest = p.manifest
    files = [FileInfo(row.path, "copy", None, None, row.base, None) for row in manifest.copies]
    files += [FileInfo(row.path, "put", row.size, manifest.solid_codec, None, None) for row in manifest.solid]
    files += [FileInfo(row.path, "put", row.size, row.codec, row.base, row.blob) for row in manifest.files]
    files += [FileInfo(path, "mkdir", None, None, None, None) for path in manifest.directories]
    files += [FileInfo(path, "symlink", None, None, target, None) for path, target in manifest.links]
    blobs = manifest.solid_blob + sum(row.blob for row in manifest.files)
    return PackageInfo(
        format=p.format,
        old_root=None if p.is_full else p.old_root,
        new_root=p.new_root,
        size=p.size,
        overhead=p.size - blobs,
        kept=sum(manifest.kept[::2]),
        solid_codec=manifest.solid_codec,
        solid_blob=manifest.solid_blob,
        files=tuple(sorted(files, key=lambda info: info.path)),
    )


def _build(old_dir: Path | None, old: Tree, new_dir: Path, new: Tree, version: int) -> bytes:
    bases = _Bases(old)
    unchanged = set(old.entries) & set(new.entries)
    changed = [e for e in new.entries if e not in unchanged]
    copies: list[CopyRow] = []
    rows: list[FileRow] = []
    blobs: list[bytes] = []
    coded: list[Entry] = []
    whole: list[Entry] = []
    for e in changed:
        if e.kind is not Kind.FILE:
            continue
        if (same := bases.with_content(e)) is not None:
            copies.append(CopyRow(e.path, _executable(e), same.path))
            continue
        base = bases.similar(e)
        if base is None or old_dir is None:
            whole.append(e)
            continue
        codec, blob = best(_read(new_dir, e), _read(old_dir, base), version=version)
        if not codec.needs_base:
            whole.append(e)
            continue
        rows.append(FileRow(e.path, _executable(e), e.size, codec.name, base.path, len(blob)))
        blobs.append(blob)
        coded.append(e)
    # Files of one kind next to each other: what they share lies within the compressor's reach.
    whole.sort(key=lambda e: (e.path.rpartition("/")[2].rpartition(".")[2], e.path))
    solid_codec, solid = best(b"".join(_read(new_dir, e) for e in whole), None, version=version)
    manifest = Manifest(
        kept=tuple(_runs(old.entries, unchanged)),
        directories=tuple(e.path for e in changed if e.kind is Kind.DIRECTORY),
        links=tuple((e.path, e.content) for e in changed if e.kind is Kind.LINK),
        copies=tuple(copies),
        solid_codec=solid_codec.name,
        solid_blob=len(solid),
        solid=tuple(SolidRow(e.path, _executable(e), e.size) for e in whole),
        files=tuple(rows),
    )
    old_root = NO_ROOT if old_dir is None else old.root
    return pack(old_root, new.root, manifest, [e.content for e in (*whole, *coded)], [solid, *blobs])


class _Bases:
    """Finds the old file a new one most likely came from."""

    def __init__(self, old: Tree) -> None:
        self._old = old.files
        self._by_content: dict[str, Entry] = {}
        self._by_name: defaultdict[str, list[Entry]] = defaultdict(list)
        for e in self._old.values():
            self._by_content.setdefault(e.content, e)
            if e.size:
                self._by_name[_normalised(e.path.rpartition("/")[2])].append(e)

    def with_content(self, new: Entry) -> Entry | None:
        same_path = self._old.get(new.path)
        if same_path is not None and same_path.content == new.content:
            return same_path
        return self._by_content.get(new.content)

    def similar(self, new: Entry) -> Entry | None:
        same_path = self._old.get(new.path)
        if same_path is not None and same_path.size:
            return same_path
        near = [
            e
            for e in self._by_name.get(_normalised(new.path.rpartition("/")[2]), [])
            if e.size <= new.size * _SIZE_RATIO and new.size <= e.size * _SIZE_RATIO
        ]
        directory = _normalised(new.path)
        return min(
            near,
            key=lambda e: (_normalised(e.path) != directory, abs(e.size - new.size), e.path),
            default=None,
        )


def _runs(entries: Sequence[Entry], kept: set[Entry]) -> Iterator[int]:
    run, keeping = 0, True
    for e in entries:
        if (e in kept) != keeping:
            yield run
            run, keeping = 0, not keeping
        run += 1
    if run:
        yield run


def _read(root: Path, e: Entry) -> bytes:
    data = (root / e.path).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != e.content:
        raise Corrupt(f"sha256 {e.content}", f"{found} (the file changed while it was packed)", e.path)
    return data


def _executable(e: Entry) -> bool:
    return bool(e.mode & 0o100)


def _normalised(name: str) -> str:
    return _VARYING.sub("#", name)
