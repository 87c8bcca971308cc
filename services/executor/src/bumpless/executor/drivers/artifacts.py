"""Trees from a blob store. A description counts only with a release signature, whoever sent the command.

A description that was verified once is kept on the node, so that a tree that is still here can run again while the
store is away; its digest and signature are checked every time. What has arrived of a package is kept in `downloads`,
for all components and through crashes, until it is complete or nobody has gone on with it for a day.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.manifest import Artifact, open_artifact
from bumpless.common.artifacts.sandbox.confine import Measure
from bumpless.common.artifacts.sandbox.decoder import SandboxedDecoder, SandboxLimits
from bumpless.common.artifacts.signing import TrustStore
from bumpless.common.artifacts.stage import StagedReport, rebuild_from_store
from bumpless.common.artifacts.stores.blobs import hex_name
from bumpless.common.artifacts.stores.download import remove_old
from bumpless.common.artifacts.stores.store import BlobReader
from bumpless.common.contract.base import Digest
from bumpless.common.contract.envelope import MAX_ENVELOPE_BYTES
from bumpless.common.contract.stage_check import StageCheck
from bumpless.common.errors import Refused
from bumpless.common.model.plan import Target
from bumpless.common.shell import clock
from bumpless.common.shell.log import get_logger
from bumpless.executor.drivers.turns import Turns
from bumpless.executor.durable import sync_directory, write_file
from bumpless.executor.layout import Layout, require_room
from bumpless.executor.ports import StagedTree
from bumpless.executor.sound import differences

log = get_logger(__name__)

KEPT = timedelta(days=1)
"""How long part of a package may lie there without growing."""


class StoredArtifacts:
    """Implements `ports.ArtifactSource`.

    `downloads` and `checks` are on one file system with the components; whoever starts first empties `checks`.
    `start_delay` says how many seconds to hold back before the store is asked for a tree. `require` names what must
    confine the process that decodes packages; without it, it is confined as far as the machine allows.
    """

    def __init__(
        self,
        store: BlobReader,
        trust: TrustStore,
        *,
        downloads: Path,
        checks: Path,
        start_delay: Callable[[], float] = lambda: 0.0,
        require: frozenset[Measure] = frozenset(),
    ) -> None:
        self._store, self._trust = store, trust
        self._downloads, self._checks = downloads, checks
        self._start_delay, self._require = start_delay, require
        self._turns = Turns()

    async def stage(self, target: Target, layout: Layout, in_use: frozenset[Digest]) -> StagedTree:
        async with self._turns.staging():
            return await self._stage(target, layout, in_use)

    async def changed(self, root: Digest, layout: Layout) -> tuple[str, ...]:
        tree = layout.version(root)
        return await asyncio.to_thread(differences, tree, root, layout.home / "verified" / tree.name)

    async def check(self, wanted: StageCheck, layout: Layout | None, in_use: frozenset[Digest]) -> StagedTree:
        async with self._turns.check(self._store, wanted.timeout_s) as store:
            artifact, _ = await self._describe(wanted, layout, store)
            bases: dict[str, Path] = {}
            if layout is not None:
                out = layout.version(wanted.root)
                if await self._is_sound(wanted.root, layout, in_use):
                    return StagedTree("present", 0, artifact.full.size)
                bases = {root: path for root, path in layout.present().items() if path != out}
            await asyncio.to_thread(self._checks.mkdir, parents=True, exist_ok=True, mode=0o700)
            require_room(self._checks, artifact.tree_size + artifact.full.size, artifact.files)
            await asyncio.to_thread(self._make_downloads)
            work = self._checks / clock.fresh_id()
            try:
                report = await rebuild_from_store(
                    artifact,
                    store,
                    bases=bases,
                    out_dir=work / "checked",
                    work_dir=work,
                    downloads=self._downloads,
                    decoding=self._decoder,
                )
            finally:
                await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
        return StagedTree(report.used, report.bytes_fetched, artifact.full.size, report.fell_back)

    async def _stage(self, target: Target, layout: Layout, in_use: frozenset[Digest]) -> StagedTree:
        out = layout.version(target.root)
        if not await asyncio.to_thread(out.is_dir):
            await asyncio.sleep(self._start_delay())
        artifact, envelope = await self._describe(target, layout, self._store)
        await asyncio.to_thread(write_file, layout.descriptions / hex_name(target.artifact), envelope)
        if await self._is_sound(target.root, layout, in_use):
            # Whoever made it may have been killed before its name was flushed.
            await asyncio.to_thread(sync_directory, layout.versions)
            return StagedTree("present", 0, artifact.full.size)
        if await asyncio.to_thread(out.exists):
            await asyncio.to_thread(layout.discard, out)
        require_room(layout.staging, artifact.tree_size + artifact.full.size, artifact.files)
        await asyncio.to_thread(self._make_downloads)
        report = await self._rebuild(artifact, layout, out)
        # Read back, all of it; and what shares files with it, whose change times have moved.
        for root in (target.root, *(layout.present().keys() - {target.root})):
            if differs := await self.changed(root, layout):
                log.warning("a tree is not what it was", tree=root, differs=differs)
                if root == target.root:
                    raise Corrupt(f"the tree {root}", "; ".join(differs), str(out))
        return StagedTree(report.used, report.bytes_fetched, artifact.full.size, report.fell_back)

    async def _describe(
        self, target: Target | StageCheck, layout: Layout | None, store: BlobReader
    ) -> tuple[Artifact, bytes]:
        envelope: bytes | None = None
        if layout is not None:
            kept = layout.descriptions / hex_name(target.artifact)
            envelope = await asyncio.to_thread(_read, kept, target.artifact)
        if envelope is None:
            max_size = min(target.artifact_size, MAX_ENVELOPE_BYTES)
            envelope = await store.get(target.artifact, max_size=max_size)
        artifact = open_artifact(envelope, self._trust)
        found, wanted = (artifact.name, artifact.root), (target.component, target.root)
        if found != wanted:
            raise Refused(
                f"artifact {target.artifact} to describe {wanted[0]} with tree {wanted[1]}",
                f"{found[0]} with tree {found[1]}",
                "publish the release again; somebody mixed up two artifacts",
            )
        return artifact, envelope

    async def _is_sound(self, root: Digest, layout: Layout, in_use: frozenset[Digest]) -> bool:
        """Whether the tree is here and what it should be; a damaged one is made again, unless something runs from it.

        Raises: Corrupt, where that is so: what serves is left for a person.
        """
        tree = layout.version(root)
        if not await asyncio.to_thread(tree.is_dir):
            return False
        differs = await self.changed(root, layout)
        if differs and root in in_use:
            raise Corrupt(f"the tree {root}", "; ".join(differs), str(tree))
        if differs:
            log.warning("a tree is not what it was", tree=root, differs=differs)
        return not differs

    async def _rebuild(self, artifact: Artifact, layout: Layout, out: Path) -> StagedReport:
        bases: dict[str, Path] = {root: path for root, path in layout.present().items() if path != out}
        work = layout.staging / clock.fresh_id()
        try:
            return await rebuild_from_store(
                artifact,
                self._store,
                bases=bases,
                out_dir=out,
                work_dir=work,
                downloads=self._downloads,
                decoding=self._decoder,
            )
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @contextmanager
    def _decoder(self, codecs: Iterable[str], size: int) -> Iterator[SandboxedDecoder]:
        with SandboxedDecoder(codecs, SandboxLimits(output=size), require=self._require) as decoder:
            yield decoder
            log.info("unpacked", patcher=str(decoder.confinement))

    def _make_downloads(self) -> None:
        self._downloads.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_old(self._downloads, clock.now() - KEPT)


def _read(path: Path, digest: Digest) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None  # the store has it too
    return data if f"sha256:{hashlib.sha256(data).hexdigest()}" == digest else None
