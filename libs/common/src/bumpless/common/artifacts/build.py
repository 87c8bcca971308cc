"""The builder's end: packs one tree, with deltas from earlier trees, and signs the description.

Output under `out`: `blobs/<sha256 hex>` for every package and `<name>-<version>.artifact.json`, the signed envelope.
The description is written last, so a directory that has it has its blobs. Publishing is another step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .delta import build_delta, build_full
from .manifest import Artifact, BlobRef, DeltaRef, sign_artifact
from .package import FORMAT
from .signing import SigningKey
from .store import DirectoryBlobs
from .tree import scan

FULL_FORMAT = 1
"""The full package stays readable for every node: it is the way out of a delta of a format that is too new."""

Progress = Callable[[str, int, int], None]
"""Called with what is done ("full", or "from <version>"), the packages done and all of them."""


@dataclass(frozen=True)
class PreviousTree:
    version: str
    path: Path


@dataclass(frozen=True)
class BuiltArtifact:
    """`dropped` names the versions whose delta was no smaller than the full package."""

    artifact: Artifact
    envelope: bytes
    envelope_path: Path
    blobs: Path
    dropped: tuple[str, ...]


def build_artifact(
    tree_dir: Path,
    *,
    name: str,
    version: str,
    previous: Sequence[PreviousTree],
    out: Path,
    key: SigningKey,
    on_progress: Progress | None = None,
    format_version: int = FORMAT,
) -> BuiltArtifact:
    """Pack `tree_dir` and sign it. Same trees, same packages, byte for byte. Takes minutes for large trees.

    `format_version` is the highest format of deltas that the nodes know.

    Raises:
        UnsafePath: a tree holds something a tree may not.
        Corrupt: a file changed while it was packed.
        pydantic.ValidationError: `name` or `version` cannot name an artifact.
    """
    total = 1 + len(previous)
    progress = on_progress or (lambda what, done, all_: None)
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
    full = store.write(build_full(tree_dir, format_version=FULL_FORMAT))
    progress("full", 1, total)
    deltas: list[DeltaRef] = []
    dropped: list[str] = []
    for done, earlier in enumerate(previous, start=2):
        package = build_delta(earlier.path, tree_dir, format_version=format_version)
        if len(package) < full.size:
            ref = store.write(package)
            from_root = scan(earlier.path, bytecode=False).root
            deltas.append(
                DeltaRef(digest=ref.digest, size=ref.size, from_root=from_root, from_version=earlier.version)
            )
        else:
            dropped.append(earlier.version)
        progress(f"from {earlier.version}", done, total)
    artifact = described.model_copy(update={"full": full, "deltas": tuple(deltas)})
    envelope = sign_artifact(artifact, key).to_bytes()
    path = out / f"{name}-{version}.artifact.json"
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        file.write(envelope)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return BuiltArtifact(artifact, envelope, path, out / "blobs", tuple(dropped))
