"""The container of a full or a delta package: header, manifest, checks, blobs. See docs/artifact-format.md.

Everything in a package is claimed, nothing is believed: lengths are held against `Limits` before anything is read,
and the tree that would result is checked in all but its files' content before the first byte is written. The content
is settled by the root of the result. It neither encodes nor writes files.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import codecs
from .errors import Corrupt, TooLarge, UnsupportedFormat, WrongBase
from .extent import Extent
from .leb128 import Reader, encode, unzigzag, zigzag
from .limits import Limits
from .names import NAMES, names_of
from .streams import inflate, xz_compress, xz_decompressor
from .tree import NO_ROOT, Entry, Kind, Tree, directory_entry, file_entry, link_entry, tree_of

MAGIC = b"BPK1"
OLDEST, FORMAT = 2, 2
"""The formats this reader knows. A package carries the lowest format that can express it."""

_HEADER = struct.Struct("<4sHHIQ32s32s")
CHECK = 2
"""The first bytes of a file's SHA-256: they name the file that came out wrong. What counts is the root."""


@dataclass(frozen=True)
class Copy:
    """A file with the content of the base's entry number `base`."""

    path: str
    executable: bool
    base: int


@dataclass(frozen=True)
class Member:
    """A file a block yields; `size` in bytes."""

    path: str
    executable: bool
    size: int


@dataclass(frozen=True)
class Block:
    """One blob. It yields its members one after the other, from the files of the base one after the other.

    `bases` are numbers of entries of the base; the first members are those that come from them, in the same order.
    """

    codec: str
    bases: tuple[int, ...]
    members: tuple[Member, ...]
    blob: int

    @property
    def size(self) -> int:
        return sum(member.size for member in self.members)


@dataclass(frozen=True)
class Manifest:
    """What becomes of the base. A path that is neither kept nor mentioned is absent from the result."""

    kept: tuple[int, ...] = ()
    """Lengths of alternating runs over the base's sorted entries: kept, dropped, kept, ..."""
    directories: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    copies: tuple[Copy, ...] = ()
    blocks: tuple[Block, ...] = ()

    @property
    def members(self) -> Iterator[Member]:
        return (member for block in self.blocks for member in block.members)


@dataclass(frozen=True)
class Package:
    """A parsed package, still without its manifest, which only makes sense with the base. `codecs` are those it says
    it uses, so that a decoder can be made before the base was read."""

    format: int
    codecs: frozenset[str]
    old_root: str
    new_root: str
    packed: bytes
    checks: bytes
    blobs_at: int
    size: int
    name: str

    @property
    def is_full(self) -> bool:
        return self.old_root == NO_ROOT


def pack(
    old: Tree | None, new_root: str, manifest: Manifest, digests: Sequence[str], blobs: Sequence[bytes]
) -> bytes:
    """The bytes of a package. `digests` (SHA-256 in hex) are those of the members, `blobs` those of the blocks."""
    used = {block.codec for block in manifest.blocks}
    version = max([OLDEST, *(codecs.CODECS[name].since for name in used)])
    mask = sum(1 << number for number, name in enumerate(NAMES) if name in used)
    packed = xz_compress(_columns(manifest, old or Tree(())))
    checks = b"".join(bytes.fromhex(digest)[:CHECK] for digest in digests)
    old_root = NO_ROOT if old is None else old.root
    rest = len(checks) + sum(map(len, blobs))
    header = _HEADER.pack(MAGIC, version, mask, len(packed), rest, _raw(old_root), _raw(new_root))
    return b"".join((header, packed, checks, *blobs))


def parse(read: Callable[[int, int], bytes], size: int, limits: Limits, where: str) -> Package:
    """The head of a package. `read(at, count)` gives bytes of the package, `size` is its length.

    Raises:
        Corrupt: it is damaged or cut.
        TooLarge: it asks for more than `limits`.
        UnsupportedFormat: it is of a format this reader does not know.
    """
    Limits.check(limits.package, size, where)
    if size < _HEADER.size:
        raise Corrupt(f"a header of {_HEADER.size} bytes", f"{size} bytes", where)
    magic, version, mask, packed, rest, old, new = _HEADER.unpack(read(0, _HEADER.size))
    if magic != MAGIC:
        raise Corrupt(f"a package starting with {MAGIC!r}", repr(magic), where)
    if not OLDEST <= version <= FORMAT:
        raise UnsupportedFormat(f"format {OLDEST} to {FORMAT}", f"format {version}")
    if mask >> len(NAMES):
        raise UnsupportedFormat(f"codecs up to number {len(NAMES) - 1}", f"codecs {mask:#b}")
    used = frozenset(names_of(mask))
    Limits.check(limits.manifest, packed, f"{where} (manifest)")
    body_at = _HEADER.size + packed
    if body_at + rest != size:
        raise Corrupt(f"{body_at + rest} bytes", f"{size}", where)
    return Package(
        version, used, _named(old), _named(new), read(_HEADER.size, packed), b"", body_at, size, where
    )


def codecs_of(package_path: Path | str, limits: Limits | None = None) -> frozenset[str]:
    """The codecs a package uses, from its first bytes. Raises: Corrupt, TooLarge, UnsupportedFormat."""
    with open(package_path, "rb", buffering=0) as file:
        whole = Extent(file.fileno(), 0, os.fstat(file.fileno()).st_size, str(package_path))
        return parse(whole.read, whole.size, limits or Limits(), whole.name).codecs


def open_manifest(
    package: Package, base: Tree, read: Callable[[int, int], bytes], limits: Limits
) -> tuple[Package, Manifest]:
    """The manifest, and the package with its checks and the place of its blobs.

    Raises:
        WrongBase: `base` is not the tree the package was made against.
        Corrupt, TooLarge, UnsupportedFormat: as `parse`.
    """
    expected = Tree(()).root if package.is_full else package.old_root
    if base.root != expected:
        raise WrongBase(expected, base.root)
    where = f"{package.name} (manifest)"
    raw = bytearray()
    for piece in inflate(xz_decompressor(), [package.packed], where):
        raw += piece
        if len(raw) > limits.manifest:
            raise TooLarge(limits.manifest, len(raw), where)
    manifest = _Parser(bytes(raw), base, package.format, limits, where).manifest()
    checks = CHECK * sum(len(block.members) for block in manifest.blocks)
    blobs_at = package.blobs_at + checks
    promised = blobs_at + sum(block.blob for block in manifest.blocks)
    if promised != package.size:
        raise Corrupt(f"{promised} bytes", f"{package.size}", package.name)
    used = {block.codec for block in manifest.blocks}
    if used != package.codecs:
        raise Corrupt(f"blocks of the codecs {sorted(package.codecs)}", f"{sorted(used)}", where)
    found = read(package.blobs_at, checks)
    return replace(package, packed=b"", checks=found, blobs_at=blobs_at), manifest


def kept_entries(manifest: Manifest, base: Tree) -> Iterator[Entry]:
    """Raises: Corrupt, if the runs do not cover `base` exactly."""
    if sum(manifest.kept) != len(base.entries):
        raise Corrupt(f"runs over {len(base.entries)} entries", f"{sum(manifest.kept)}", "kept entries")
    at = 0
    for turn, run in enumerate(manifest.kept):
        if turn % 2 == 0:
            yield from base.entries[at : at + run]
        at += run


def result_tree(manifest: Manifest, base: Tree, digests: Sequence[str], limits: Limits) -> Tree:
    """The tree the package makes of `base`; `digests` (SHA-256 in hex) are those of the members.

    Raises:
        UnsafePath, TooLarge: a claim that is not allowed.
        Corrupt: the claims do not fit each other.
    """
    entries = [
        *kept_entries(manifest, base),
        *(directory_entry(path) for path in manifest.directories),
        *(link_entry(path, target) for path, target in manifest.links),
        *(
            file_entry(c.path, c.executable, base.entries[c.base].content, base.entries[c.base].size)
            for c in manifest.copies
        ),
        *(
            file_entry(m.path, m.executable, digest, m.size)
            for m, digest in zip(manifest.members, digests, strict=True)
        ),
    ]
    Limits.check(limits.entries, len(entries), "the new tree (entries)")
    Limits.check(limits.tree, sum(e.size for e in entries), "the new tree (bytes)")
    for e in entries:
        if e.kind is Kind.FILE:
            Limits.check(limits.file, e.size, e.path)
    return tree_of(entries)


def _columns(manifest: Manifest, base: Tree) -> bytes:
    """Columns of numbers, each relative to what it most likely is, then names."""
    blocks, copies = manifest.blocks, manifest.copies
    out = [len(manifest.kept), len(manifest.directories), len(manifest.links), len(copies), len(blocks)]
    names: list[str] = [*manifest.directories]
    for link in manifest.links:
        names += link
    out += manifest.kept
    out += _steps([c.base for c in copies])
    out += [c.executable for c in copies]
    out += [c.path != base.entries[c.base].path for c in copies]
    names += [c.path for c in copies if c.path != base.entries[c.base].path]
    for column in (
        [NAMES.index(block.codec) for block in blocks],
        [block.blob for block in blocks],
        [len(block.members) for block in blocks],
        [len(block.bases) for block in blocks],
        _steps([base_ for block in blocks for base_ in block.bases]),
    ):
        out += column
    pairs = list(_paired(blocks, base))
    out += [member.executable for member, _ in pairs]
    out += [zigzag(member.size - (from_.size if from_ else 0)) for member, from_ in pairs]
    named = [from_ is None or member.path != from_.path for member, from_ in pairs]
    out += named
    names += [member.path for (member, _), own in zip(pairs, named, strict=True) if own]
    return encode(out) + "".join(f"{name}\0" for name in names).encode()


class _Parser:
    """Reads what `_columns` wrote."""

    def __init__(self, raw: bytes, base: Tree, version: int, limits: Limits, where: str) -> None:
        self._in, self._base, self._version, self._where = Reader(raw, where), base, version, where
        self._limits = limits

    def manifest(self) -> Manifest:
        runs, directories, links, copies, blocks = self._in.numbers(5)
        for count in (runs, directories, links, copies, blocks):
            Limits.check(self._limits.entries, count, self._where)
        kept = tuple(self._in.numbers(runs))
        copied = self._bases(copies)
        copied_executable, copied_named = self._flags(copies), self._flags(copies)
        names_of = [self._codec(number) for number in self._in.numbers(blocks)]
        blobs, members, bases = (self._in.numbers(blocks) for _ in range(3))
        Limits.check(self._limits.entries, sum(members), self._where)
        if any(from_ > into or not into for from_, into in zip(bases, members, strict=True)):
            raise Corrupt("members in each block, and no more bases than these", "others", self._where)
        numbers = iter(self._bases(sum(bases)))
        block_bases = [tuple(next(numbers) for _ in range(count)) for count in bases]
        total = sum(members)
        executable = iter(self._flags(total))
        sizes = iter(self._in.numbers(total))
        named = iter(self._flags(total))
        self._names = self._in.strings()
        new_directories = tuple(self._name() for _ in range(directories))
        new_links = tuple((self._name(), self._name()) for _ in range(links))
        new_copies = tuple(
            Copy(self._name() if own else self._base.entries[base].path, flag, base)
            for base, flag, own in zip(copied, copied_executable, copied_named, strict=True)
        )
        found = []
        for codec, blob, count, from_ in zip(names_of, blobs, members, block_bases, strict=True):
            if bool(from_) != codecs.CODECS[codec].needs_base:
                raise Corrupt(f"bases as codec {codec} needs them", f"{len(from_)}", self._where)
            rows = []
            for i in range(count):
                base = self._base.entries[from_[i]] if i < len(from_) else None
                size = unzigzag(next(sizes)) + (base.size if base else 0)
                flag, own = next(executable), next(named)
                if size < 0 or (base is None and not own):
                    raise Corrupt("a size and a name", f"{size} or none", self._where)
                rows.append(Member(self._name() if own or base is None else base.path, flag, size))
            found.append(Block(codec, from_, tuple(rows), blob))
        if next(self._names, None) is not None:
            raise Corrupt("the end of the names", "more", self._where)
        return Manifest(kept, new_directories, new_links, new_copies, tuple(found))

    def _name(self) -> str:
        found = next(self._names, None)
        if found is None:
            raise Corrupt("a name", "the end", self._where)
        return found

    def _flags(self, count: int) -> list[bool]:
        found = self._in.numbers(count)
        if any(value > 1 for value in found):
            raise Corrupt("0 or 1", f"{max(found)}", self._where)
        return [bool(value) for value in found]

    def _bases(self, count: int) -> list[int]:
        found: list[int] = []
        last = 0
        for step in self._in.numbers(count):
            last += unzigzag(step)
            if not 0 <= last < len(self._base.entries) or self._base.entries[last].kind is not Kind.FILE:
                raise Corrupt(f"files among {len(self._base.entries)} entries", f"{last}", self._where)
            found.append(last)
        return found

    def _codec(self, number: int) -> str:
        if number >= len(NAMES) or codecs.CODECS[NAMES[number]].since > self._version:
            raise UnsupportedFormat(f"codecs of format {self._version}", f"codec {number}")
        return NAMES[number]


def _paired(blocks: Sequence[Block], base: Tree) -> Iterator[tuple[Member, Entry | None]]:
    for block in blocks:
        for i, member in enumerate(block.members):
            yield member, base.entries[block.bases[i]] if i < len(block.bases) else None


def _steps(values: Sequence[int]) -> list[int]:
    return [zigzag(value - before) for value, before in zip(values, [0, *values], strict=False)]


def _raw(root: str) -> bytes:
    return bytes.fromhex(root.removeprefix("sha256:"))


def _named(root: bytes) -> str:
    return f"sha256:{root.hex()}"
