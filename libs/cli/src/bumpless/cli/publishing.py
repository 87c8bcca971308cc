"""From a release file to a signed, announced release: build what is a tree, upload what is new, sign, announce."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bumpless.cli.configuring import FilesRefused, config_findings, rendered, signed_records
from bumpless.cli.contracting import signed_contracts
from bumpless.cli.interfaces import signed_interfaces
from bumpless.cli.migrating import signed_migrations
from bumpless.cli.scenarios import with_scenarios
from bumpless.common.artifacts.build import PreviousTree, build_artifact
from bumpless.common.artifacts.errors import ArtifactError, Corrupt
from bumpless.common.artifacts.manifest import Artifact, BlobRef, open_artifact
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.artifacts.stage import rebuild_from_store
from bumpless.common.artifacts.stores.blobs import hex_name
from bumpless.common.artifacts.stores.open_store import writable
from bumpless.common.artifacts.stores.store import BlobReader
from bumpless.common.compat import written
from bumpless.common.contract.announcing import announcement
from bumpless.common.contract.base import Digest, canonical_json
from bumpless.common.contract.envelope import MAX_ENVELOPE_BYTES, RELEASE_TYPE, Envelope
from bumpless.common.contract.events import ReleaseAnnounced
from bumpless.common.errors import Refused
from bumpless.common.model.finding import Finding
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Component, ComponentFile, Release, ReleaseFile, Run, Through
from bumpless.common.release_file import parse_release_file
from bumpless.common.scans import with_reports
from bumpless.common.shell import clock

Tell = Callable[[str], None]
KEEP_LAST = 3
"""From how many versions that run somewhere in the fleet a delta is built."""


@dataclass(frozen=True)
class BuiltComponent:
    """An artifact on this machine: its description, the signed bytes of it, and the folder with its blobs."""

    artifact: Artifact
    envelope: bytes
    blobs: Path

    @property
    def root(self) -> Digest:
        return Digest(self.artifact.root)

    @property
    def digest(self) -> Digest:
        """That of the signed description."""
        return Digest("sha256:" + hashlib.sha256(self.envelope).hexdigest())


@dataclass(frozen=True)
class BuiltRelease:
    release: Release
    envelope: Envelope
    components: dict[str, BuiltComponent]

    @property
    def digest(self) -> Digest:
        return self.release.digest

    def announcement(
        self, *, by: str, attempt: int = 0, expected_plan: str | None = None, statements: Sequence[str] = ()
    ) -> ReleaseAnnounced:
        """The event; the same release and attempt give the same id, so repeats are dropped."""
        return announcement(
            self.release.product,
            self.digest,
            self.envelope,
            at=clock.now(),
            by=by,
            attempt=attempt,
            expected_plan=expected_plan,
            statements=statements,
        )


def read_release(path: Path) -> ReleaseFile:
    """Read and check a release file.

    Raises:
        Refused: it is not there, or a scenario that it names.
        ReleaseInvalid: see `release_file`.
    """
    try:
        return with_scenarios(parse_release_file(path.read_text(), str(path)), path.parent)
    except FileNotFoundError as error:
        raise Refused("a release file", f"nothing at {path}") from error
    except UnicodeDecodeError as error:
        raise Refused("a release file in UTF-8", f"other bytes in {path}: {error}") from error


async def build_release(
    path: Path,
    *,
    key: SigningKey,
    trust: TrustStore,
    work: Path,
    fleet: Fleet,
    store: BlobReader | None,
    tell: Tell,
) -> BuiltRelease:
    """Build and sign the release in `path`. Trees are packed with deltas from what `fleet` runs, fetched from `store`.

    Raises:
        Refused, ReleaseInvalid: something is missing or wrong; says where.
    """
    file = read_release(path)
    check_files(path.parent, file)
    packer = _Packer(path.parent, key, trust, work, fleet, store, tell)
    built: dict[str, BuiltComponent] = {}
    lifecycle = written.lifecycle(file.lifecycle)
    components = []
    for item in file.components:
        if item.run is None:
            raise Refused(f"{item.name}: a `run` section with a command", "none", f"in {path}")
        if item.artifact is None:
            raise Refused(
                f"{item.name}: an `artifact` (a folder, or what `bumpless artifact build` wrote)", "none"
            )
        through = []
        for part in item.through:
            passed = built[f"{item.name} {part.version}"] = await packer.pack(
                item.name, part.version, part.artifact
            )
            through.append(
                Through(
                    version=part.version,
                    root=passed.root,
                    artifact=passed.digest,
                    artifact_size=len(passed.envelope),
                    run=_with_config(path.parent, item, part.run or item.run, part.version),
                )
            )
        found = built[item.name] = await packer.pack(item.name, item.version or file.version, item.artifact)
        component_version = item.version or file.version or found.artifact.version
        components.append(
            Component(
                name=item.name,
                version=component_version,
                depends_on=item.depends_on,
                produces=item.produces,
                consumes=item.consumes,
                root=found.root,
                artifact=found.digest,
                artifact_size=len(found.envelope),
                tree_bytes=found.artifact.tree_size,
                tree_files=found.artifact.files,
                through=tuple(through),
                place=item.place,
                run=_with_config(path.parent, item, item.run, component_version),
                hooks=item.hooks,
                needs=item.needs,
                strategy=item.strategy or file.strategy,
                gate=item.gate or (file.gate and file.gate.for_depending(bool(item.depends_on))),
                found=config_findings(path.parent, item, component_version, lifecycle),
                migrations=signed_migrations(path.parent, item),
            )
        )
    version = file.version or max(component.version for component in components)
    release = Release(
        product=file.product,
        version=version,
        rollback_policy=file.rollback_policy,
        max_unavailable=file.max_unavailable,
        approval=file.approval,
        limits=file.limits,
        components=tuple(components),
        compat=file.compat,
        lifecycle=file.lifecycle,
        preflight=with_reports(file.preflight, path.parent),
        records=signed_records(path.parent, file),
        contracts=signed_contracts(path.parent, file.contracts, trust),
        interfaces=signed_interfaces(path.parent, file),
    )
    envelope = key.sign(RELEASE_TYPE, canonical_json(release.model_dump(mode="json")))
    if len(envelope.to_bytes()) > MAX_ENVELOPE_BYTES:
        raise Refused(f"a release of at most {MAX_ENVELOPE_BYTES} bytes", str(len(envelope.to_bytes())))
    return BuiltRelease(release, envelope, built)


def check_files(base: Path, file: ReleaseFile) -> None:
    """Configuration files and record types, before anything is packed. Raises: FilesRefused, with all faults."""
    faults: list[Finding] = []
    for item in file.components:
        # Without a version here that of the artifact counts, which is not known yet.
        versions = [item.version or file.version, *(part.version for part in item.through)]
        for version in filter(None, versions):
            try:
                rendered(base, item, version)
            except FilesRefused as error:
                faults += error.findings
    try:
        signed_records(base, file)
    except FilesRefused as error:
        faults += error.findings
    if faults:
        raise FilesRefused("configuration files and record types that hold", tuple(dict.fromkeys(faults)))


def _with_config(base: Path, item: ComponentFile, run: Run, version: str) -> Run:
    """How a version is run, with its configuration files in the form of that version."""
    config = rendered(base, item, version)
    return run.model_copy(update={"config": config}) if config else run


async def upload(built: BuiltRelease, store: BlobReader, tell: Tell) -> int:
    """Store every blob that is not there yet; returns the bytes sent.

    The dates of those that are there are renewed: `artifact gc` leaves alone what was put lately, and until the
    release is announced nothing else says that they are needed.

    Raises:
        Refused: the store can only be read, or a package is neither there nor on this machine.
        Corrupt: a package on this machine is not the one that was signed.
    """
    target = writable(store)
    sent = 0
    for name, component in built.components.items():
        for ref in (component.artifact.full, *component.artifact.deltas):
            if await target.renew(ref.digest):
                continue
            file = component.blobs / hex_name(ref.digest)
            if not file.is_file():
                raise Refused(
                    f"{name}: a package at {file}",
                    "nothing",
                    "build the artifact again, or copy its blobs there",
                )
            if (stored := await target.put(file)) != BlobRef(digest=ref.digest, size=ref.size):
                raise Corrupt(ref.digest, stored.digest, str(file))
            sent += ref.size
        await target.put(component.envelope)
        tell(f"{name}: stored")
    return sent


class _Packer:
    """Packs the trees of one release. Versions of a component that were packed before are bases of the later ones.

    `base` is the folder that paths are relative to.
    """

    def __init__(
        self,
        base: Path,
        key: SigningKey,
        trust: TrustStore,
        work: Path,
        fleet: Fleet,
        store: BlobReader | None,
        tell: Tell,
    ) -> None:
        self._base, self._key, self._trust, self._work = base, key, trust, work
        self._fleet, self._store, self._tell = fleet, store, tell
        self._bases: dict[str, list[PreviousTree]] = {}

    async def pack(self, name: str, version: str | None, artifact: str) -> BuiltComponent:
        """Raises: Refused, where there is nothing to pack at `artifact`, or another component."""
        path = self._base / artifact
        if path.is_file():
            return _built(name, path, self._trust)
        if not path.is_dir():
            raise Refused(f"{name}: a folder or an artifact at {path}", "nothing")
        assert version is not None
        if name not in self._bases:
            self._bases[name] = await self._running(name)
        bases = self._bases[name]
        out = self._work / "artifacts"
        out.mkdir(parents=True, exist_ok=True)
        self._tell(f"{name} {version}: packing" + (f", deltas from {len(bases)} versions" if bases else ""))
        done = await asyncio.to_thread(
            build_artifact, path, name=name, version=version, previous=bases, out=out, key=self._key
        )
        self._bases[name] = [*bases, PreviousTree(version, path)]
        return BuiltComponent(done.artifact, done.envelope, done.blobs)

    async def _running(self, name: str) -> list[PreviousTree]:
        if self._store is None:
            return []
        return await _running(name, self._fleet, self._store, self._trust, self._work, self._tell)


def _built(name: str, path: Path, trust: TrustStore) -> BuiltComponent:
    data = path.read_bytes()
    try:
        artifact = open_artifact(data, trust)
    except ArtifactError as error:
        raise Refused(f"{name}: a signed artifact", str(error)) from error
    if artifact.name != name:
        raise Refused(f"{name}: an artifact of that name", f"{artifact.name} in {path}")
    return BuiltComponent(artifact, data, path.parent / "blobs")


async def _running(
    name: str, fleet: Fleet, store: BlobReader, trust: TrustStore, work: Path, tell: Tell
) -> list[PreviousTree]:
    """The trees that nodes run now, rebuilt here; the most common first."""
    count: dict[str, int] = {}
    targets: dict[str, Target] = {}
    for node in fleet.nodes:
        seen = node.components.get(name)
        if seen is not None and seen.target is not None:
            count[seen.target.root] = count.get(seen.target.root, 0) + 1
            targets[seen.target.root] = seen.target
    found = []
    for root in sorted(count, key=lambda r: (-count[r], r))[:KEEP_LAST]:
        target = targets[root]
        tree = work / "running" / root.removeprefix("sha256:")
        try:
            artifact = open_artifact(await store.get(target.artifact, max_size=target.artifact_size), trust)
            scratch = work / "scratch"
            await rebuild_from_store(artifact, store, bases={}, out_dir=tree, work_dir=scratch)
            shutil.rmtree(scratch, ignore_errors=True)
        except ArtifactError as error:
            tell(f"{name} {target.version}: no delta from it: {error}")
            continue
        found.append(PreviousTree(target.version, tree))
    return found
