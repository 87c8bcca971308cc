"""`artifact build` and `artifact inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.context import Context
from bumpless.cli.output import table
from bumpless.common.artifacts.build import PreviousTree, build_artifact
from bumpless.common.artifacts.delta import inspect as inspect_package
from bumpless.common.artifacts.manifest import Artifact, open_artifact
from bumpless.common.errors import Refused


def register(app: typer.Typer) -> None:
    artifact = typer.Typer(no_args_is_help=True, help="Signed, content-addressed artifacts.")
    artifact.command("build")(build)
    artifact.command("inspect")(inspect)
    app.add_typer(artifact, name="artifact")


def build(
    ctx: typer.Context,
    tree: Annotated[Path, typer.Argument(help="The folder to pack.")],
    name: Annotated[str, typer.Option(help="The component's name.")],
    version: Annotated[str, typer.Option(help="Its version.")],
    earlier: Annotated[
        list[str] | None,
        typer.Option("--from", help="VERSION=FOLDER, an earlier version to make a delta from."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path("dist"),
    key: Annotated[Path | None, typer.Option(help="The release key.")] = None,
) -> None:
    """Pack a folder into a signed artifact, with deltas from earlier versions.

    Example: bumpless artifact build build/api --name api --version v2 --from v1=build/api-v1
    """
    context: Context = ctx.obj
    if not tree.is_dir():
        raise Refused("a folder to pack", f"nothing at {tree}")
    previous = []
    for item in earlier or []:
        known, equals, folder = item.partition("=")
        if not equals or not Path(folder).is_dir():
            raise Refused("--from VERSION=FOLDER with a folder that exists", item)
        previous.append(PreviousTree(known, Path(folder)))
    out.mkdir(parents=True, exist_ok=True)
    built = build_artifact(
        tree,
        name=name,
        version=version,
        previous=previous,
        out=out,
        key=context.release_key(key),
        on_progress=lambda what, done, total: context.output.say(f"[{done}/{total}] {what}"),
    )
    for dropped in built.dropped:
        context.output.say(f"no delta from {dropped}: it would be as large as the full package")
    _show(context, built.artifact, built.envelope_path)


def inspect(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="An .artifact.json file, or a package from its blobs folder.")],
) -> None:
    """Show what is in an artifact or a package, after checking its signature.

    Example: bumpless artifact inspect dist/api-v2.artifact.json
    """
    context: Context = ctx.obj
    data = path.read_bytes()
    if data[:1] == b"{":
        _show(context, open_artifact(data, context.trust()), path)
        return
    info = inspect_package(data)
    rows = [[op.path, op.op, op.codec, op.size, op.blob] for op in info.files]
    raw = {"old_root": info.old_root, "new_root": info.new_root, "kept": info.kept, "files": len(info.files)}
    context.output.data(raw, table(["path", "operation", "codec", "size", "stored"], rows))


def _show(context: Context, artifact: Artifact, path: Path) -> None:
    full = artifact.full.size
    rows = [["full", "", full, "100 %"]]
    rows += [
        ["delta", d.from_version, d.size, f"{100 * d.size / max(1, full):.1f} %"] for d in artifact.deltas
    ]
    context.output.say(
        f"{artifact.name} {artifact.version}: {artifact.files} files, {artifact.tree_size} bytes, root {artifact.root}"
    )
    context.output.data(
        {**json.loads(artifact.model_dump_json()), "path": str(path)},
        table(["package", "from", "bytes", "share"], rows),
    )
