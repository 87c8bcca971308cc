"""Packages for tests: crafted ones, and what becomes of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from bumpless.common.artifacts.codecs import CODECS
from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.extent import Extent, Stream
from bumpless.common.artifacts.package import Manifest, pack
from bumpless.common.artifacts.rebuild import rebuild
from bumpless.common.artifacts.tree import NO_ROOT, Entry, Tree, tree_of

from .trees import listing


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Node:
    """A directory for the results of packages, next to one that nothing may be written to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.parent = directory / "node"
        self.parent.mkdir()
        self.out = self.parent / "out"
        self.canary = directory / "canary"
        self.canary.mkdir()
        (self.canary / "file").write_bytes(b"canary")

    def unpack(
        self, package: bytes, root: str | None = None, base: Path | None = None, **options: object
    ) -> Path:
        path = self.directory / "package.bpk"
        path.write_bytes(package)
        rebuild(path, self.out, expected_root=root, base_dir=base, **options)  # type: ignore[arg-type]
        return self.out

    def refuse(
        self,
        error: type[Exception],
        package: bytes,
        root: str | None = None,
        base: Path | None = None,
        match: str | None = None,
        **options: object,
    ) -> None:
        before = listing(self.directory)
        with pytest.raises(error, match=match):
            self.unpack(package, root, base, **options)
        self.is_clean()
        assert {*listing(self.directory)} - {*before} <= {"package.bpk"}

    def is_clean(self) -> None:
        assert listing(self.parent) == []
        assert listing(self.canary) == ["file"]
        assert (self.canary / "file").read_bytes() == b"canary"


def crafted(
    manifest: Manifest,
    entries: Sequence[Entry],
    blobs: Sequence[bytes],
    digests: Sequence[str],
    old: Tree | None = None,
) -> bytes:
    """A package whose promised root is that of `entries`, so that only the reader's own checks can refuse it."""
    return pack(old, tree_of(entries).root, manifest, digests, blobs)


def unrooted(
    manifest: Manifest, blobs: Sequence[bytes] = (), digests: Sequence[str] = (), old: Tree | None = None
) -> bytes:
    """A package of entries that make no tree, and so have no root."""
    return pack(old, NO_ROOT, manifest, digests, blobs)


def in_memory(data: bytes, skipped: bytes = b"") -> Extent:
    """`data` as an open file that has `skipped` before and other bytes after."""
    fd = os.memfd_create("extent")
    os.write(fd, skipped + data + b"beyond")
    return Extent(fd, len(skipped), len(data), "extent")


def decoded(codec: str, blob: bytes, base: bytes | None, size: int) -> bytes:
    """The `size` bytes of a blob, read as an unpacker does. Raises: ArtifactError."""
    extents = [in_memory(blob, b"skipped"), *([in_memory(base, b"before")] if base is not None else [])]
    try:
        stream = Stream(
            CODECS[codec].decode(extents[0], extents[1] if base is not None else None, size), "blob"
        )
        data = b"".join(stream.pieces(size))
        stream.end()
    finally:
        for extent in extents:
            os.close(extent.fd)
    assert len(data) == size
    return data


def wrong_or_refused(codec: str, blob: bytes, base: bytes, size: int, right: bytes) -> bool:
    """Whether the blob is refused. Otherwise its bytes are wrong ones, which the caller's hash tells."""
    try:
        found = decoded(codec, blob, base, size)
    except ArtifactError:
        return True
    assert digest(found) != digest(right)
    return False
