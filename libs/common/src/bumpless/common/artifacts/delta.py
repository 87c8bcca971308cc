"""Packs a tree: as a full package, or as the difference from an earlier tree.

The output depends on the trees only: everything is sorted, each block is coded on its own, and nothing reads a clock.
`rebuild` unpacks.

Programs, and files that hold compressed ones, are blocks of their own. Other files share blocks, because what they
have in common then costs its bytes once; a block's members and their bases are in the same order.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from . import encode
from .bases import Bases
from .codecs import CODECS
from .encode import Coded
from .errors import Corrupt
from .limits import MIB, Limits
from .package import Block, Copy, Manifest, Member, open_manifest, pack, parse
from .tree import Entry, Kind, Tree, scan
from .workers import Workers

T = TypeVar("T")

_SHARED_MAX = 16 * MIB
"""Bytes of a block that files share, and of its bases."""

_SOLID_MAX = 32 * MIB
"""Bytes of a block without bases: twice what its coder can reach back."""

_FEW_NEW = MIB
"""Up to so many bytes of files without a base join those that have one: they often repeat parts of them."""

_ALONE = (b"\x7fELF", b"\x1f\x8b\x08", b"PK\x03\x04")

Progress = Callable[[int, int], None]
"""Called with the bytes of new files packed so far, and all of them; from any thread."""


@dataclass(frozen=True)
class FileInfo:
    """What becomes of a path. `stored` is its part of the package in bytes: for a file that shares its block, in
    proportion to its size. None where it does not apply."""

    path: str
    op: str
    size: int | None
    codec: str | None
    base: str | None
    stored: int | None


@dataclass(frozen=True)
class PackageInfo:
    """`kept` counts the base's entries that stay as they are; `overhead` is what is not blobs, in bytes."""

    format: int
    old_root: str | None
    new_root: str
    size: int
    overhead: int
    kept: int
    files: tuple[FileInfo, ...]


@dataclass(frozen=True)
class Packed:
    package: bytes
    info: PackageInfo


@dataclass(frozen=True)
class _Unit:
    """What becomes a block: new files, and for the first of them the old files they come from."""

    members: tuple[Entry, ...]
    bases: tuple[Entry, ...]


def build_full(
    tree_dir: Path,
    *,
    bytecode: bool = False,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Packed:
    """A package that holds the whole tree. `bytecode=True` ships `__pycache__` and `*.pyc` too.

    Raises:
        UnsafePath: the tree holds something a tree may not.
        Corrupt: a file changed while it was packed.
    """
    return _build(None, None, tree_dir, bytecode, True, workers, progress)


def build_delta(
    old_dir: Path,
    new_dir: Path,
    *,
    bytecode: bool = False,
    predict: bool = True,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Packed:
    """A package that makes the tree in `new_dir` from the one in `old_dir`; arguments and errors as `build_full`.

    `predict=False` does without prediction of references.
    """
    old = scan(old_dir, bytecode=bytecode)
    return _build(old_dir, old, new_dir, bytecode, predict, workers, progress)


def inspect(package: bytes, base: Tree | None = None, limits: Limits | None = None) -> PackageInfo:
    """What a package holds. A delta can only be read with its base.

    Raises:
        Corrupt, TooLarge, UnsupportedFormat, WrongBase: see `package`.
    """
    limits = limits or Limits()

    def read(at: int, count: int) -> bytes:
        return package[at : at + count]

    parsed = parse(read, len(package), limits, "package")
    base = base or Tree(())
    parsed, manifest = open_manifest(parsed, base, read, limits)
    blobs = sum(block.blob for block in manifest.blocks)
    return PackageInfo(
        format=parsed.format,
        old_root=None if parsed.is_full else parsed.old_root,
        new_root=parsed.new_root,
        size=parsed.size,
        overhead=parsed.size - blobs,
        kept=sum(manifest.kept[::2]),
        files=tuple(sorted(_infos(manifest, base), key=lambda info: info.path)),
    )


def _infos(manifest: Manifest, base: Tree) -> Iterator[FileInfo]:
    for copy in manifest.copies:
        yield FileInfo(copy.path, "copy", None, None, base.entries[copy.base].path, None)
    for path in manifest.directories:
        yield FileInfo(path, "mkdir", None, None, None, None)
    for path, target in manifest.links:
        yield FileInfo(path, "symlink", None, None, target, None)
    for block in manifest.blocks:
        for i, member in enumerate(block.members):
            from_ = base.entries[block.bases[i]].path if i < len(block.bases) else None
            stored = block.blob * member.size // block.size if block.size else 0
            yield FileInfo(member.path, "put", member.size, block.codec, from_, stored)


def _build(
    old_dir: Path | None,
    old: Tree | None,
    new_dir: Path,
    bytecode: bool,
    predict: bool,
    workers: Workers | None,
    progress: Progress | None,
) -> Packed:
    if workers is None:
        with Workers() as own:
            return _build(old_dir, old, new_dir, bytecode, predict, own, progress)
    new, base = scan(new_dir, bytecode=bytecode), old or Tree(())
    bases = Bases(base)
    numbers = {e.path: number for number, e in enumerate(base.entries)}
    unchanged = set(base.entries) & set(new.entries)
    changed = [e for e in new.entries if e not in unchanged]
    copies: list[Copy] = []
    pairs: list[tuple[Entry, Entry | None]] = []
    for e in changed:
        if e.kind is not Kind.FILE:
            continue
        if (same := bases.with_content(e)) is not None:
            copies.append(Copy(e.path, _executable(e), numbers[same.path]))
        else:
            pairs.append((e, bases.similar(e)))
    units = list(_units(pairs, new_dir))
    total = sum(e.size for unit in units for e in unit.members)
    done = 0
    counting = threading.Lock()

    def code(unit: _Unit) -> Coded:
        nonlocal done
        coded = _code(unit, old_dir, new_dir, predict, workers)
        with counting:
            done += sum(e.size for e in unit.members)
            if progress is not None:
                progress(done, total)
        return coded

    # The largest first, so that no thread is left alone with it at the end.
    order = sorted(range(len(units)), key=lambda i: -sum(e.size for e in units[i].members))
    found = dict(zip(order, workers.files(code, [units[i] for i in order]), strict=True))
    coded = [found[i] for i in range(len(units))]
    blocks = tuple(
        Block(
            c.codec,
            tuple(numbers[e.path] for e in unit.bases) if CODECS[c.codec].needs_base else (),
            tuple(Member(e.path, _executable(e), e.size) for e in unit.members),
            len(c.blob),
        )
        for unit, c in zip(units, coded, strict=True)
    )
    manifest = Manifest(
        kept=tuple(_runs(base.entries, unchanged)),
        directories=tuple(e.path for e in changed if e.kind is Kind.DIRECTORY),
        links=tuple((e.path, e.content) for e in changed if e.kind is Kind.LINK),
        copies=tuple(copies),
        blocks=blocks,
    )
    digests = [e.content for unit in units for e in unit.members]
    package = pack(old, new.root, manifest, digests, [c.blob for c in coded])
    return Packed(package, inspect(package, old))


def _units(pairs: Iterable[tuple[Entry, Entry | None]], new_dir: Path) -> Iterator[_Unit]:
    shared: list[tuple[Entry, Entry | None]] = []
    solid: list[Entry] = []
    for e, base in pairs:
        if base is None:
            solid.append(e)
        elif e.size > _SHARED_MAX or base.size > _SHARED_MAX or _stands_alone(new_dir / e.path):
            yield _Unit((e,), (base,))
        else:
            shared.append((e, base))
    if shared and sum(e.size for e in solid) <= _FEW_NEW:
        shared += [(e, None) for e in solid]
        solid = []
    # Files of one kind next to each other: what they share lies within the coder's reach.
    shared.sort(key=lambda pair: _order(pair[0]))
    solid.sort(key=_order)
    for together in _batches(
        shared, lambda pair: max(pair[0].size, pair[1].size if pair[1] else 0), _SHARED_MAX
    ):
        based = [(e, base) for e, base in together if base is not None]
        new = [e for e, base in together if base is None]
        yield _Unit((*(e for e, _ in based), *new), tuple(base for _, base in based))
    for entries in _batches(solid, lambda e: e.size, _SOLID_MAX):
        yield _Unit(tuple(entries), ())


def _code(unit: _Unit, old_dir: Path | None, new_dir: Path, predict: bool, workers: Workers) -> Coded:
    new = b"".join(_read(new_dir, e) for e in unit.members)
    if old_dir is None or not unit.bases:
        return encode.whole(new, workers)
    old = b"".join(_read(old_dir, e) for e in unit.bases)
    return encode.against(new, old, workers, predict=predict)


def _batches(items: Sequence[T], size: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    batch: list[T] = []
    total = 0
    for item in items:
        if batch and total + size(item) > limit:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch


def _runs(entries: Sequence[Entry], kept: set[Entry]) -> Iterator[int]:
    run, keeping = 0, True
    for e in entries:
        if (e in kept) != keeping:
            yield run
            run, keeping = 0, not keeping
        run += 1
    if run:
        yield run


def _stands_alone(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4).startswith(_ALONE)


def _read(root: Path, e: Entry) -> bytes:
    data = (root / e.path).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != e.content:
        raise Corrupt(f"sha256 {e.content}", f"{found} (the file changed while it was packed)", e.path)
    return data


def _order(e: Entry) -> tuple[str, str]:
    return e.path.rpartition("/")[2].rpartition(".")[2], e.path


def _executable(e: Entry) -> bool:
    return bool(e.mode & 0o100)
