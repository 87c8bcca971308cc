"""`artifact inspect`: what an artifact or a package says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.artifact_build import VerboseOpt
from bumpless.cli.artifact_report import as_json, described, package_table, renderable
from bumpless.cli.artifact_sources import SUFFIX, open_source, read_artifact
from bumpless.cli.context import Context
from bumpless.cli.output import table
from bumpless.common.artifacts.delta import inspect as inspect_package
from bumpless.common.artifacts.limits import Limits
from bumpless.common.artifacts.package import parse
from bumpless.common.artifacts.tree import scan
from bumpless.common.errors import Refused


def register(app: typer.Typer) -> None:
    app.command()(inspect)


def inspect(
    ctx: typer.Context,
    path: Annotated[
        Path, typer.Argument(help="An .artifact.json, or a package: of `diff`, or from a `blobs` folder.")
    ],
    base: Annotated[
        str | None, typer.Option(help="The old tree, which the content of a delta can only be read with.")
    ] = None,
    verbose: VerboseOpt = False,
) -> None:
    """Show what is in an artifact, after checking its signature, or in a package.

    Example: bumpless artifact inspect dist/api-v2.artifact.json
    """
    context: Context = ctx.obj
    if not path.is_file():
        raise Refused("an .artifact.json or a package", f"nothing at {path}")
    with open(path, "rb") as file:
        described_here = file.read(1) == b"{"
    if described_here:
        artifact = read_artifact(path, context.trust())
        context.output.say(described(artifact))
        raw = {**artifact.model_dump(mode="json"), "path": str(path)}
        context.output.data(raw, package_table(artifact))
        return
    data = path.read_bytes()
    head = parse(lambda at, count: data[at : at + count], len(data), Limits(), str(path))
    if not head.is_full and base is None:
        known = {
            "format": head.format,
            "old_root": head.old_root,
            "new_root": head.new_root,
            "size": head.size,
        }
        context.output.data({**known, "path": str(path)}, table(["Field", "Value"], list(known.items())))
        context.output.say("a delta: --base OLD shows what is in it")
        return
    if head.is_full or base is None:
        info = inspect_package(data)
    else:
        trust = context.trust() if base.endswith(SUFFIX) else None
        with open_source(base, path.parent, trust) as folder:
            tree = scan(folder)
        info = inspect_package(data, tree if tree.root == head.old_root else tree.without_bytecode())
    what = "full package" if head.is_full else f"delta from {head.old_root}"
    context.output.data({**as_json(info), "path": str(path)}, renderable(what, info, everything=verbose))
