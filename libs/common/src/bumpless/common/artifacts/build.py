"""The builder's end: packs one tree, with deltas from earlier trees, and signs the description.

Output under `out`: `blobs/<sha256 hex>` for every package and `<name>-<version>.artifact.json`, the signed envelope.
The description is written last, so a directory that has it has its blobs. Publishing is another step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .delta import PackageInfo, Packed, build_delta, build_full
from .manifest import Artifact, BlobRef, DeltaRef, sign_artifact
from .signing import SigningKey
from .stores.store import DirectoryBlobs
from .tree import scan
from .workers import Workers

PAYS = 0.9
"""A delta of more than this share of the full package is left out: it saves too little for what it costs to store."""

Progress = Callable[[str, int, int], None]
"""Called with what is being packed ("full", or "from <version>"), the bytes done and all of them; from any thread."""


@dataclass(frozen=True)
class PreviousTree:
    version: str
    path: Path


@dataclass(frozen=True)
class BuiltArtifact:
    """`reports` has what is in each package, by what it is called in `Progress`; `dropped` names the versions whose
    delta did not pay. Of versions with one tree, the first counts."""

    artifact: Artifact
    envelope: bytes
    envelope_path: Path
    blobs: Path
    dropped: tuple[str, ...]
    reports: dict[str, PackageInfo]


def build_artifact(
    tree_dir: Path,
    *,
    name: str,
    version: str,
    previous: Sequence[PreviousTree],
    out: Path,
    key: SigningKey,
    on_progress: Progress | None = None,
    workers: Workers | None = None,
    predict: bool = True,
) -> BuiltArtifact:
    """Pack `tree_dir` and sign it. Same trees, same packages, byte for byte. Takes minutes for large trees.

    `workers` bounds threads and memory; `predict=False` makes deltas without prediction of references.

    Raises:
        UnsafePath: a tree holds something a tree may not.
        Corrupt: a file changed while it was packed.
        pydantic.ValidationError: `name` or `version` cannot name an artifact.
    """
    if workers is None:
        with Workers() as own:
            return build_artifact(
                tree_dir, name=name, version=version, previous=previous, out=out, key=key,
                on_progress=on_progress, workers=own, predict=predict,
            )  # fmt: skip
    store = DirectoryBlobs(out / "blobs")
    tree = scan(tree_dir, bytecode=False)
    described = Artifact(
        name=name,
        version=version,
        root=tree.root,
        full=BlobRef(digest=tree.root, size=0),
        tree_size=tree.size,
        files=len(tree.files),
    )
    reports: dict[str, PackageInfo] = {}

    def pack(what: str, build: Callable[[Callable[[int, int], None]], Packed]) -> bytes:
        packed = build(lambda done, total: on_progress(what, done, total) if on_progress else None)
        reports[what] = packed.info
        return packed.package

    full = store.write(pack("full", lambda tell: build_full(tree_dir, workers=workers, progress=tell)))
    deltas: list[DeltaRef] = []
    dropped: list[str] = []
    roots = {tree.root}
    for earlier in previous:
        from_root = scan(earlier.path, bytecode=False).root
        # Two versions may have one tree, and a node that has this one needs nothing.
        if from_root in roots:
            continue
        roots.add(from_root)

        def delta(tell: Callable[[int, int], None], base: Path = earlier.path) -> Packed:
            return build_delta(base, tree_dir, predict=predict, workers=workers, progress=tell)

        what = f"from {earlier.version}"
        package = pack(what, delta)
        if len(package) > PAYS * full.size:
            dropped.append(earlier.version)
            del reports[what]
            continue
        ref = store.write(package)
        deltas.append(
            DeltaRef(digest=ref.digest, size=ref.size, from_root=from_root, from_version=earlier.version)
        )
    artifact = described.model_copy(update={"full": full, "deltas": tuple(deltas)})
    envelope = sign_artifact(artifact, key).to_bytes()
    path = out / f"{name}-{version}.artifact.json"
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        file.write(envelope)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return BuiltArtifact(artifact, envelope, path, out / "blobs", tuple(dropped), reports)
