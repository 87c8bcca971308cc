"""`artifact apply`, with all its options. `applying` does it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli import applying
from bumpless.cli.context import Context


def register(app: typer.Typer) -> None:
    app.command()(apply)


def apply(
    ctx: typer.Context,
    old: Annotated[
        str, typer.Argument(help="The old tree, in any form that `build` takes; - for a full package.")
    ],
    package: Annotated[Path, typer.Argument(help="The package: of `diff --out`, or from a `blobs` folder.")],
    out: Annotated[Path, typer.Argument(help="The new directory.")],
    root: Annotated[str | None, typer.Option(help="The root that the new tree must have.")] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox/--no-sandbox", help="Decode in a process that is locked down.")
    ] = True,
    share: Annotated[
        bool,
        typer.Option(
            "--share",
            help="Unchanged files may be the same files as OLD's (hard links), and all of them become read-only.",
        ),
    ] = False,
) -> None:
    """Make a tree from a package by hand: from a delta and the old tree, or from a full package.

    The old tree is only read, and shares no file with the new one unless --share is given. Everything is hashed and
    flushed.

    Example: bumpless artifact apply build/api-v1 api.patch restored --root sha256:...
    """
    context: Context = ctx.obj
    wanted = applying.Wanted(old, str(package), str(out), root, sandbox, share)
    found = applying.apply(wanted)
    context.output.data({"root": found, "path": str(out)}, applying.told(wanted, found))
