"""Trees from a blob store. A description counts only with a release signature, whoever sent the command.

A description that was verified once is kept on the node, so that a tree that is still here can run again while the
store is away; its digest and signature are checked every time.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path

from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.manifest import Artifact, open_artifact
from bumpless.common.artifacts.signing import TrustStore
from bumpless.common.artifacts.stage import StagedReport, rebuild_from_store
from bumpless.common.artifacts.store import BlobStore
from bumpless.common.contract.base import Digest
from bumpless.common.contract.envelope import MAX_ENVELOPE_BYTES
from bumpless.common.errors import Refused
from bumpless.common.model.plan import Target
from bumpless.common.shell import clock
from bumpless.executor.durable import write_file
from bumpless.executor.layout import Layout
from bumpless.executor.ports import StagedTree


class StoredArtifacts:
    """Implements `ports.ArtifactSource`."""

    def __init__(self, store: BlobStore, trust: TrustStore) -> None:
        self._store, self._trust = store, trust
        self._verified: set[Path] = set()

    async def stage(self, target: Target, layout: Layout, in_use: frozenset[Digest]) -> StagedTree:
        artifact = await self._describe(target, layout)
        out = layout.version(target.root)
        # Read back once in the life of this process: version directories are not written to after that.
        if out in self._verified and await asyncio.to_thread(out.is_dir):
            return StagedTree("present", 0, artifact.full.size)
        if not await asyncio.to_thread(out.is_dir):
            layout.require_space(artifact.tree_size)
        report = await self._rebuild(artifact, layout, out, target.root in in_use)
        self._verified.add(out)
        return StagedTree(report.used, report.bytes_fetched, artifact.full.size, report.fell_back)

    async def _describe(self, target: Target, layout: Layout) -> Artifact:
        kept = layout.descriptions / target.artifact.removeprefix("sha256:")
        envelope = await asyncio.to_thread(_read, kept, target.artifact)
        if envelope is None:
            envelope = await self._store.get(
                target.artifact, max_size=min(target.artifact_size, MAX_ENVELOPE_BYTES)
            )
        artifact = open_artifact(envelope, self._trust)
        found, wanted = (artifact.name, artifact.root), (target.component, target.root)
        if found != wanted:
            raise Refused(
                f"artifact {target.artifact} to describe {wanted[0]} with tree {wanted[1]}",
                f"{found[0]} with tree {found[1]}",
                "publish the release again; somebody mixed up two artifacts",
            )
        await asyncio.to_thread(write_file, kept, envelope)
        return artifact

    async def _rebuild(self, artifact: Artifact, layout: Layout, out: Path, in_use: bool) -> StagedReport:
        bases: dict[str, Path] = {root: path for root, path in layout.present().items() if path != out}
        work = layout.staging / clock.fresh_id()
        try:
            try:
                return await rebuild_from_store(
                    artifact, self._store, bases=bases, out_dir=out, work_dir=work
                )
            except Corrupt:
                # A damaged tree that nothing runs from is replaced; one that serves is left for a person.
                if in_use or out in self._verified or not await asyncio.to_thread(out.exists):
                    raise
                await asyncio.to_thread(layout.discard, out)
                return await rebuild_from_store(
                    artifact, self._store, bases=bases, out_dir=out, work_dir=work
                )
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _read(path: Path, digest: Digest) -> bytes | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return data if f"sha256:{hashlib.sha256(data).hexdigest()}" == digest else None
