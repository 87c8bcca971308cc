"""The container of a full or a delta package: header, manifest, digests, blobs. See docs/artifact-format.md.

Everything in a package is claimed, nothing is believed: lengths are held against `Limits` before anything is read,
every path is checked, and what the package would make of its base is computed as a `Tree`, whose root must be the
promised one, before the first byte is written. It neither encodes nor writes files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import codecs
from .errors import Corrupt, TooLarge, UnsupportedFormat, WrongBase
from .limits import Limits
from .tree import NO_ROOT, Entry, Kind, Tree, directory_entry, file_entry, link_entry, tree_of

MAGIC = b"BPK1"
FORMAT = 1
"""The latest format this reader knows. A package carries the lowest format that can express it."""

_HEADER = struct.Struct("<4sHIIQ32s32s")
DIGEST = 32

Count = Annotated[int, Field(ge=0)]


class CopyRow(NamedTuple):
    """A file with the content of the base's file at `base`."""

    path: str
    executable: bool
    base: str


class SolidRow(NamedTuple):
    """A file whose bytes are the next `size` of the solid blob."""

    path: str
    executable: bool
    size: Count


class FileRow(NamedTuple):
    """A file with its own blob, coded against the base's file at `base` if the codec needs one."""

    path: str
    executable: bool
    size: Count
    codec: str
    base: str | None
    blob: Count


class Manifest(BaseModel):
    """What becomes of the base. A path that is neither kept nor mentioned is absent from the result."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kept: tuple[Count, ...] = ()
    """Lengths of alternating runs over the base's sorted entries: kept, dropped, kept, ..."""
    directories: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    copies: tuple[CopyRow, ...] = ()
    solid_codec: str = "raw"
    solid_blob: Count = 0
    solid: tuple[SolidRow, ...] = ()
    files: tuple[FileRow, ...] = ()


@dataclass(frozen=True)
class Package:
    """A parsed package; `digests` belong to the rows of `solid` and then `files`; blobs start at `blobs_at`."""

    format: int
    old_root: str
    new_root: str
    manifest: Manifest
    digests: tuple[str, ...]
    blobs_at: int
    size: int

    @property
    def is_full(self) -> bool:
        return self.old_root == NO_ROOT


def pack(
    old_root: str, new_root: str, manifest: Manifest, digests: Sequence[str], blobs: Sequence[bytes]
) -> bytes:
    """The bytes of a package; `blobs` are the solid blob and then one per row of `files`."""
    used = {manifest.solid_codec, *(row.codec for row in manifest.files)}
    version = max(codecs.CODECS[name].since for name in used)
    packed = codecs.xz_compress(manifest.model_dump_json(exclude_defaults=True).encode())
    body = b"".join(blobs)
    roots = (_raw(old_root), _raw(new_root))
    header = _HEADER.pack(MAGIC, version, len(packed), len(digests), len(body), *roots)
    return b"".join((header, packed, *(bytes.fromhex(digest) for digest in digests), body))


def parse(read: Callable[[int, int], bytes], size: int, limits: Limits, where: str) -> Package:
    """Everything of a package but its blobs. `read(at, count)` gives bytes of the package, `size` is its length.

    Raises:
        Corrupt: it is damaged or cut.
        TooLarge: it asks for more than `limits`.
        UnsupportedFormat: it is of a later format.
    """
    Limits.check(limits.package, size, where)
    if size < _HEADER.size:
        raise Corrupt(f"a header of {_HEADER.size} bytes", f"{size} bytes", where)
    magic, version, packed, count, body, old, new = _HEADER.unpack(read(0, _HEADER.size))
    if magic != MAGIC:
        raise Corrupt(f"a package starting with {MAGIC!r}", repr(magic), where)
    if not 1 <= version <= FORMAT:
        raise UnsupportedFormat(f"format 1 to {FORMAT}", f"format {version}")
    Limits.check(limits.manifest, packed, f"{where} (manifest)")
    Limits.check(limits.entries, count, f"{where} (files)")
    blobs_at = _HEADER.size + packed + count * DIGEST
    if blobs_at + body != size:
        raise Corrupt(f"{blobs_at + body} bytes", f"{size}", where)
    manifest = _manifest(read(_HEADER.size, packed), version, limits, f"{where} (manifest)")
    if len(manifest.solid) + len(manifest.files) != count:
        rows = len(manifest.solid) + len(manifest.files)
        raise Corrupt(f"{rows} digests", f"{count}", where)
    blobs = manifest.solid_blob + sum(row.blob for row in manifest.files)
    if blobs != body:
        raise Corrupt(f"{blobs} bytes of blobs", f"{body}", where)
    column = read(_HEADER.size + packed, count * DIGEST)
    digests = tuple(column[at : at + DIGEST].hex() for at in range(0, len(column), DIGEST))
    return Package(version, _named(old), _named(new), manifest, digests, blobs_at, size)


def kept_entries(package: Package, base: Tree) -> Iterator[Entry]:
    """Raises: Corrupt, if the runs do not cover `base` exactly."""
    runs = package.manifest.kept
    if sum(runs) != len(base.entries):
        raise Corrupt(f"runs over {len(base.entries)} entries", f"{sum(runs)}", "kept entries")
    at = 0
    for turn, run in enumerate(runs):
        if turn % 2 == 0:
            yield from base.entries[at : at + run]
        at += run


def result_tree(package: Package, base: Tree, limits: Limits) -> Tree:
    """The tree the package makes of `base`, from its claims alone.

    Raises:
        WrongBase: `base` is not the tree the package was made against.
        UnsafePath, TooLarge: a claim that is not allowed.
        Corrupt: the claims do not add up to the package's own new root.
    """
    expected_base = Tree(()).root if package.is_full else package.old_root
    if base.root != expected_base:
        raise WrongBase(expected_base, base.root)
    manifest = package.manifest
    rows = [(r.path, r.executable, r.size) for r in manifest.solid]
    rows += [(r.path, r.executable, r.size) for r in manifest.files]
    entries = [
        *kept_entries(package, base),
        *(directory_entry(path) for path in manifest.directories),
        *(link_entry(path, target) for path, target in manifest.links),
        *(_copied(row, base) for row in manifest.copies),
        *(
            file_entry(path, executable, digest, size)
            for (path, executable, size), digest in zip(rows, package.digests, strict=True)
        ),
    ]
    Limits.check(limits.entries, len(entries), "the new tree (entries)")
    Limits.check(limits.tree, sum(e.size for e in entries), "the new tree (bytes)")
    for e in entries:
        if e.kind is Kind.FILE:
            Limits.check(limits.file, e.size, e.path)
    for row in manifest.files:
        if row.base is not None:
            base_entry(row.base, base)
    tree = tree_of(entries)
    if tree.root != package.new_root:
        raise Corrupt(f"the tree {package.new_root}", tree.root, "the package's manifest")
    return tree


def base_entry(path: str, base: Tree) -> Entry:
    """Raises: Corrupt, if `base` has no file at `path`."""
    found = base.files.get(path)
    if found is None:
        raise Corrupt(f"a file {path!r} in the base", "none", "the package's manifest")
    return found


def _copied(row: CopyRow, base: Tree) -> Entry:
    source = base_entry(row.base, base)
    return file_entry(row.path, row.executable, source.content, source.size)


def _manifest(packed: bytes, version: int, limits: Limits, where: str) -> Manifest:
    raw = bytearray()
    for piece in codecs.inflate(codecs.xz_decompressor(), [packed], where):
        raw += piece
        if len(raw) > limits.manifest:
            raise TooLarge(limits.manifest, len(raw), where)
    try:
        manifest = Manifest.model_validate_json(bytes(raw))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise Corrupt("a manifest", f"{first['msg']} at {first['loc']}", where) from error
    for name in {manifest.solid_codec, *(row.codec for row in manifest.files)}:
        if name not in codecs.CODECS or codecs.CODECS[name].since > version:
            raise UnsupportedFormat(f"codecs of format {version}", f"codec {name[:40]!r}")
    if codecs.CODECS[manifest.solid_codec].needs_base:
        raise Corrupt("a solid codec that needs no base", manifest.solid_codec, where)
    return manifest


def _raw(root: str) -> bytes:
    return bytes.fromhex(root.removeprefix("sha256:"))


def _named(root: bytes) -> str:
    return f"sha256:{root.hex()}"
