"""`artifact diff`: what differs between two trees, and the delta between them."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bumpless.cli.artifact_build import MEMORY, JobsOpt, MemoryOpt, PredictOpt, VerboseOpt
from bumpless.cli.artifact_progress import packing
from bumpless.cli.artifact_report import LARGEST, as_json, renderable
from bumpless.cli.artifact_sources import SUFFIX, open_source
from bumpless.cli.context import Context
from bumpless.cli.output import table
from bumpless.common.artifacts.beneath import fsync_directory
from bumpless.common.artifacts.delta import build_delta
from bumpless.common.artifacts.limits import MIB
from bumpless.common.artifacts.tree import Entry, Kind, Tree, scan
from bumpless.common.artifacts.workers import Workers

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Change:
    """`what` is added, removed, changed, mode or moved; sizes in bytes, modes in octal; `moved_from` is a path."""

    what: str
    path: str
    old_size: int | None = None
    size: int | None = None
    old_mode: str | None = None
    mode: str | None = None
    moved_from: str | None = None


def register(app: typer.Typer) -> None:
    app.command()(diff)


def diff(
    ctx: typer.Context,
    old: Annotated[str, typer.Argument(help="A tree, in any form that `build` takes, or an .artifact.json.")],
    new: Annotated[str, typer.Argument(help="Another one.")],
    out: Annotated[Path | None, typer.Option(help="Write the delta there.")] = None,
    jobs: JobsOpt = None,
    memory: MemoryOpt = MEMORY,
    predict: PredictOpt = True,
    verbose: VerboseOpt = False,
) -> None:
    """Show what differs between two trees, and how large a delta between them is.

    Example: bumpless artifact diff build/api-v1 build/api-v2 --out api.patch
    """
    context: Context = ctx.obj
    work = out.parent if out is not None else Path(tempfile.gettempdir())
    work.mkdir(parents=True, exist_ok=True)
    trust = context.trust() if any(source.endswith(SUFFIX) for source in (old, new)) else None
    with ExitStack() as opened:
        old_dir, new_dir = (opened.enter_context(open_source(source, work, trust)) for source in (old, new))
        found = changes(scan(old_dir, bytecode=False), scan(new_dir, bytecode=False))
        workers = opened.enter_context(Workers(jobs, memory * MIB))
        with packing(context.output) as tell:
            packed = build_delta(
                old_dir,
                new_dir,
                predict=predict,
                workers=workers,
                progress=lambda done, total: tell("delta", done, total),
            )
    if out is not None:
        _write(out, packed.package)
    _show(
        context,
        found,
        as_json(packed.info),
        renderable("delta", packed.info, everything=verbose),
        out,
        verbose,
    )


def changes(old: Tree, new: Tree) -> list[Change]:
    """What makes `new` of `old`, by path. A file that vanished and came back elsewhere with its content is moved."""
    before, after = ({e.path: e for e in tree.entries} for tree in (old, new))
    gone: defaultdict[tuple[Kind, str], list[Entry]] = defaultdict(list)
    for path in before.keys() - after.keys():
        if before[path].kind is not Kind.DIRECTORY and before[path].size:
            gone[before[path].kind, before[path].content].append(before[path])
    found: list[Change] = []
    moved: set[str] = set()
    for path, e in sorted(after.items()):
        was = before.get(path)
        if was is None:
            candidates = gone.get((e.kind, e.content))
            if candidates:
                # Its own name first: build tools rename directories.
                source = min(candidates, key=lambda c: (_name(c) != _name(e), c.path))
                candidates.remove(source)
                moved.add(source.path)
                found.append(Change("moved", path, source.size, e.size, moved_from=source.path))
            else:
                found.append(Change("added", path, size=e.size))
        elif (was.kind, was.content) != (e.kind, e.content):
            found.append(Change("changed", path, was.size, e.size))
        elif was.mode != e.mode:
            found.append(Change("mode", path, was.size, e.size, f"{was.mode:04o}", f"{e.mode:04o}"))
    for path in before.keys() - after.keys() - moved:
        found.append(Change("removed", path, old_size=before[path].size))
    return sorted(found, key=lambda change: change.path)


def _name(e: Entry) -> str:
    return e.path.rpartition("/")[2]


def _write(out: Path, package: bytes) -> None:
    part = out.with_name(out.name + ".part")
    with open(part, "wb") as file:
        file.write(package)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, out)
    fsync_directory(out.parent)


def _show(
    context: Context,
    found: list[Change],
    delta: dict[str, object],
    report: RenderableType,
    out: Path | None,
    verbose: bool,
) -> None:
    from rich.console import Group

    counts = {
        what: sum(c.what == what for c in found) for what in ("added", "removed", "changed", "mode", "moved")
    }
    shown = found if verbose else found[:LARGEST]
    rows = [
        [c.what, c.path, c.moved_from or (f"{c.old_mode} to {c.mode}" if c.mode else ""), c.old_size, c.size]
        for c in shown
    ]
    more = [f"and {len(found) - len(shown)} more (--verbose shows all)"] if len(shown) < len(found) else []
    summary = (
        ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "the trees are the same"
    )
    raw = {
        "changes": [{k: v for k, v in asdict(c).items() if v is not None} for c in found],
        "counts": counts,
        "delta": delta,
        "path": str(out) if out else None,
    }
    context.output.data(
        raw, Group(table(["Change", "Path", "From", "Old size", "Size"], rows), *more, "", summary, report)
    )
