"""`artifact verify`: whether what lies here is what was signed."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.applying import check_root
from bumpless.cli.artifact_sources import SUFFIX, package_of, read_artifact, rebuilt
from bumpless.cli.context import Context
from bumpless.cli.output import records, table
from bumpless.common.artifacts.errors import ArtifactError, Corrupt
from bumpless.common.artifacts.extent import Extent
from bumpless.common.artifacts.limits import Limits
from bumpless.common.artifacts.manifest import Artifact, DeltaRef
from bumpless.common.artifacts.package import open_manifest, parse
from bumpless.common.artifacts.rebuild import rebuild
from bumpless.common.artifacts.signing import TrustStore
from bumpless.common.artifacts.tree import NO_ROOT, Tree, scan
from bumpless.common.errors import Refused

FAILED = 1
COLUMNS = ["Path", "Result", "Reason"]


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    ctx: typer.Context,
    paths: Annotated[
        list[Path], typer.Argument(help="An .artifact.json with its blobs beside, or a folder.")
    ],
    root: Annotated[str | None, typer.Option(help="The root that a folder must have.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="The .artifact.json whose tree a folder must hold.")
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also rebuild every package whose base is here, in a temporary folder."),
    ] = False,
) -> int:
    """Check artifacts with their packages, or a folder against the tree it should hold.

    Exits with 1 if anything is wrong.

    Example: bumpless artifact verify dist/*.artifact.json --deep
    """
    context: Context = ctx.obj
    check_root(root)
    if against is not None:
        said = read_artifact(against, context.trust()).root
        if root not in (None, said):
            raise Refused(f"--root {said}, as {against} says", str(root))
        root = said
    rows: list[list[str]] = []
    for path in paths:
        try:
            rows.append([str(path), "ok", _verified(context, path, root, deep)])
        except ArtifactError as error:
            rows.append([str(path), "wrong", str(error)])
    context.output.data(records(COLUMNS, rows), table(COLUMNS, rows))
    return FAILED if any(row[1] != "ok" for row in rows) else 0


def _verified(context: Context, path: Path, root: str | None, deep: bool) -> str:
    if path.is_dir():
        if root is None:
            raise Refused(f"--root or --against, for the folder {path}", "neither")
        return _folder(path, root)
    if not path.name.endswith(SUFFIX):
        raise Refused(f"a folder or an {SUFFIX}", f"{path}", "`artifact inspect` looks into a package")
    trust = context.trust()
    artifact = read_artifact(path, trust)
    _package(path, artifact, None)
    for delta in artifact.deltas:
        _package(path, artifact, delta)
    found = f"{1 + len(artifact.deltas)} packages"
    return found + (f", {_rebuilt(path, artifact, trust)} rebuilt" if deep else "")


def _folder(path: Path, root: str) -> str:
    tree = scan(path)
    if tree.root == root:
        return f"{len(tree.files)} files"
    caches = tree.without_bytecode().root == root
    raise Corrupt(
        f"the tree {root}", f"{tree.root}{' (the same but for bytecode caches)' if caches else ''}", str(path)
    )


def _package(path: Path, artifact: Artifact, delta: DeltaRef | None) -> None:
    """Raises: ArtifactError, unless the package is whole, well-formed and between the promised trees."""
    package = package_of(path, delta or artifact.full)
    fd = os.open(package, os.O_RDONLY | os.O_CLOEXEC)
    try:
        whole = Extent(fd, 0, os.fstat(fd).st_size, str(package))
        head = parse(whole.read, whole.size, Limits(), whole.name)
        promised = (delta.from_root if delta else NO_ROOT, artifact.root)
        if (head.old_root, head.new_root) != promised:
            raise Corrupt(
                f"a package from {promised[0]} to {promised[1]}",
                f"{head.old_root} to {head.new_root}",
                whole.name,
            )
        if head.is_full:
            open_manifest(head, Tree(()), whole.read, Limits())
    finally:
        os.close(fd)


def _rebuilt(path: Path, artifact: Artifact, trust: TrustStore) -> int:
    """How many packages made the tree: the full one, and deltas from versions that lie beside with theirs."""
    with rebuilt(path, artifact, path.parent):
        count = 1
    for delta in artifact.deltas:
        older = path.with_name(f"{artifact.name}-{delta.from_version}{SUFFIX}")
        if not older.is_file():
            continue
        with ExitStack() as opened:
            base = read_artifact(older, trust)
            if base.root != delta.from_root:
                continue
            folder = opened.enter_context(rebuilt(older, base, path.parent))
            rebuild(
                package_of(path, delta), folder.with_name("new"), expected_root=artifact.root, base_dir=folder
            )
            count += 1
    return count
