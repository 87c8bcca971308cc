"""What the artifact commands take for a tree: everything of `inputs`, and artifacts of ours with their blobs beside."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bumpless.common.artifacts.errors import BlobMissing, Corrupt
from bumpless.common.artifacts.inputs.source import open_tree
from bumpless.common.artifacts.limits import Limits
from bumpless.common.artifacts.manifest import Artifact, BlobRef, open_artifact
from bumpless.common.artifacts.rebuild import rebuild
from bumpless.common.artifacts.signing import TrustStore
from bumpless.common.artifacts.stores.blobs import describe, hex_name
from bumpless.common.contract.envelope import MAX_ENVELOPE_BYTES
from bumpless.common.errors import Refused

SUFFIX = ".artifact.json"


def read_artifact(path: Path, trust: TrustStore) -> Artifact:
    """The artifact described at `path`.

    Raises:
        Refused: there is nothing, or something far too large.
        Untrusted: it is not signed by a trusted release key.
    """
    if not path.is_file():
        raise Refused(f"an artifact's description at {path}", "nothing")
    if path.stat().st_size > MAX_ENVELOPE_BYTES:
        raise Refused(
            f"a description of at most {MAX_ENVELOPE_BYTES} bytes", f"{path.stat().st_size} at {path}"
        )
    return open_artifact(path.read_bytes(), trust)


def package_of(path: Path, ref: BlobRef) -> Path:
    """The package `ref` beside the description at `path`. Raises: BlobMissing, Corrupt."""
    package = path.parent / "blobs" / hex_name(ref.digest)
    if not package.is_file():
        raise BlobMissing(ref.digest, str(package.parent))
    if (found := describe(package)) != BlobRef(digest=ref.digest, size=ref.size):
        raise Corrupt(f"{ref.digest} of {ref.size} bytes", f"{found.digest} of {found.size}", str(package))
    return package


@contextmanager
def rebuilt(path: Path, artifact: Artifact, work: Path) -> Iterator[Path]:
    """The artifact's tree, made in `work` from its full package and removed at the end."""
    package = package_of(path, artifact.full)
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=work, prefix=".rebuilt-"))
    try:
        limits = Limits().narrowed(tree=artifact.tree_size)
        rebuild(package, folder / "tree", expected_root=artifact.root, limits=limits)
        yield folder / "tree"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_source(
    source: str, work: Path, trust: TrustStore | None, subpath: str | None = None
) -> Iterator[Path]:
    """The tree that `source` names; an `.artifact.json` is checked with `trust`. Raises as `open_tree`, and above."""
    if not source.endswith(SUFFIX):
        with open_tree(source, work, subpath=subpath) as found:
            yield found
        return
    if trust is None:
        raise Refused("trusted keys, for an artifact", "none", "make keys with `bumpless keys generate`")
    path = Path(source)
    with rebuilt(path, read_artifact(path, trust), work) as found:
        yield found
