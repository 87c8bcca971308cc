"""The node's end: brings a signed artifact's tree to this node's disk over the cheapest way that works.

The description is trusted (its signature was checked); the store and the bases are not. The tree appears at its place
complete, verified and flushed, or not at all. What a broken fetch has got is kept for the next one. What runs from the
tree is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .beneath import fsync_directory
from .decoder import DecoderFactory
from .errors import ArtifactError, StoreUnavailable
from .limits import Limits
from .manifest import Artifact, BlobRef, DeltaRef
from .package import codecs_of
from .rebuild import rebuild
from .sandbox.decoder import SandboxUnavailable, sandboxed
from .stores.blobs import hex_name
from .stores.store import BlobReader
from .tree import verify_root


@dataclass(frozen=True)
class StagedReport:
    """`bytes_fetched` is what this call took from the store, also for nothing; `fell_back` says why no delta was used."""

    used: Literal["delta", "full", "present"]
    bytes_fetched: int
    fell_back: str | None = None


async def rebuild_from_store(
    artifact: Artifact,
    store: BlobReader,
    *,
    bases: Mapping[str, Path],
    out_dir: Path,
    work_dir: Path,
    downloads: Path | None = None,
    limits: Limits | None = None,
    decoding: DecoderFactory = sandboxed,
) -> StagedReport:
    """Make the artifact's tree in `out_dir`.

    `bases` maps roots to directories on this node. `work_dir` is for this call alone and on the file system of
    `out_dir`; leftovers of a killed call in it are removed. `downloads`, on the same file system, is shared by all calls:
    what has arrived of a package stays there when the store goes away or the call is killed (default: `work_dir`).
    Idempotent: a tree that is already there is verified. `decoding` makes what decodes packages; unchanged files are
    shared with their base.
    A cancelled call's thread ends on its own, so the next call takes another `work_dir`.

    Raises:
        Corrupt: `out_dir` exists with another content (it is left alone: something may run from it), or the full
            package is damaged.
        BlobMissing, StoreUnavailable: the store cannot deliver the full package, or does not answer.
        SandboxUnavailable: there is no safe way to decode on this machine.
        TooLarge, OSError: this node cannot hold the tree.
    """
    if await asyncio.to_thread(_is_present, artifact, out_dir, work_dir):
        return StagedReport("present", 0)
    allowed = (limits or Limits()).narrowed(tree=artifact.tree_size)
    tree, blob = work_dir / "tree", work_dir / "package"
    fetched = 0

    def unpack(package: Path, into: Path, base: Path | None) -> None:
        with decoding(codecs_of(package, allowed), artifact.tree_size) as decoder:
            rebuild(
                package,
                into,
                expected_root=artifact.root,
                base_dir=base,
                limits=allowed,
                decoder=decoder,
                share=True,
            )

    async def attempt(ref: BlobRef, base: Path | None) -> None:
        nonlocal fetched
        part = (downloads or work_dir) / f"{hex_name(ref.digest)}.part"
        try:
            await asyncio.to_thread(_remove_tree, tree)
            fetched += await store.fetch(ref.digest, blob, size=ref.size, part=part)
            await asyncio.to_thread(unpack, blob, tree, base)
            await asyncio.to_thread(_move, tree, out_dir)
        finally:
            blob.unlink(missing_ok=True)

    fell_back: str | None = None
    delta = _smallest_delta(artifact, bases)
    if delta is None:
        fell_back = "no delta from a tree on this node"
    else:
        try:
            await attempt(delta, bases[delta.from_root])
        except (StoreUnavailable, SandboxUnavailable):
            raise  # the full package lies in the same store, and is decoded in the same way
        except ArtifactError as error:
            fell_back = f"{type(error).__name__}: {error}"
        else:
            return StagedReport("delta", fetched)
    await attempt(artifact.full, None)
    return StagedReport("full", fetched, fell_back)


def _smallest_delta(artifact: Artifact, bases: Mapping[str, Path]) -> DeltaRef | None:
    usable = (d for d in artifact.deltas if d.from_root in bases and d.size < artifact.full.size)
    return min(usable, key=lambda d: (d.size, d.digest), default=None)


def _is_present(artifact: Artifact, out_dir: Path, work_dir: Path) -> bool:
    if out_dir.exists():
        verify_root(out_dir, artifact.root)
        return True
    work_dir.mkdir(parents=True, exist_ok=True)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    return False


def _remove_tree(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _move(tree: Path, out_dir: Path) -> None:
    os.rename(tree, out_dir)
    try:
        fsync_directory(out_dir.parent)
    except OSError:
        # What may be gone after a power cut must not be found here before.
        with suppress(OSError):
            os.rename(out_dir, tree)
        raise
