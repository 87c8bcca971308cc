"""`plan`: what a release would do, as words, pictures and JSON."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.client import Client, whoami
from bumpless.cli.configuring import FilesRefused
from bumpless.cli.context import Context
from bumpless.cli.output import Format
from bumpless.cli.release_commands import FileArg, KeyOpt, WaiverOpt, build
from bumpless.cli.statement_commands import read_statements
from bumpless.common import render
from bumpless.common.contract.plan_answer import PlanAnswer
from bumpless.common.errors import Refused
from bumpless.common.model.finding import Code, Finding, blocking
from bumpless.common.model.plan import Plan
from bumpless.common.release_file import ReleaseInvalid

CHANGES = 2
_GLOBAL = {"home": "--home", "nats": "--nats", "store": "--store"}


class Picture(StrEnum):
    TEXT = "text"
    TREE = "tree"
    GRAPH = "graph"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


_DRAW: dict[Picture, Callable[[Plan], str]] = {
    Picture.GRAPH: render.graph,
    Picture.MERMAID: render.mermaid,
    Picture.DOT: render.dot,
    Picture.SVG: render.svg,
}


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)


def plan(
    ctx: typer.Context,
    file: FileArg,
    key: KeyOpt = None,
    waiver: WaiverOpt = None,
    picture: Annotated[Picture, typer.Option(help="How to draw it.")] = Picture.TEXT,
    out: Annotated[Path | None, typer.Option(help="Write the picture to this file.")] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option(help="Exit 2 when there is something to change.")
    ] = False,
) -> int:
    """Show what a release would do on the fleet as it is now, without doing it.

    Exit codes: 0 the plan could run, 1 there is none or something blocks it; with --detailed-exitcode 0 nothing to
    change, 2 something to change.

    Example: bumpless plan release.yaml --picture svg --out plan.svg
    """
    context: Context = ctx.obj
    statements = read_statements(waiver)

    async def ask(client: Client) -> PlanAnswer:
        try:
            built = await build(context, client, file, key)
        except (ReleaseInvalid, Refused) as error:
            return PlanAnswer(findings=tuple(_faults(file, error)))
        attempt = await client.attempt(built.release.product, built.digest)
        return await client.plan(built.announcement(by=whoami(), attempt=attempt, statements=statements))

    shown = render.view(context.with_client(ask), _command(ctx, file, key, waiver))
    drawn = picture is not Picture.TEXT and shown.plan is not None
    text = _drawn(picture, shown)
    _show(context, shown, text, out)
    if drawn or out is not None:
        for line in render.ending(shown):
            context.output.say(line)
    if not shown.runs:
        why = len(shown.reasons) + sum(1 for found in shown.findings if found.severity == "block")
        context.output.say(
            f"error: this release does not run on this fleet: {why} thing{'s'[: why != 1]} to mend"
        )
        return 1
    return CHANGES if detailed_exitcode and shown.changes else 0


def _faults(file: Path, error: ReleaseInvalid | Refused) -> Iterator[Finding]:
    """What keeps the release from being built, as findings like all others."""
    if isinstance(error, ReleaseInvalid):
        for problem in error.problems:
            where = f"{file}:{problem.line}: {problem.where}"
            yield blocking(
                Code.RELEASE_UNREADABLE, where, problem.text, "correct this line of the release file"
            )
    elif isinstance(error, FilesRefused):
        yield from error.findings
    else:
        evidence = f"expected {error.expected}, found {error.found}"
        advice = error.hint or "correct the release file, or the file that it names"
        yield blocking(Code.RELEASE_UNREADABLE, str(file), evidence, advice)


def _drawn(picture: Picture, shown: render.PlanView) -> str:
    """The picture; the page where there is no plan to draw."""
    if picture is Picture.TEXT or shown.plan is None:
        return render.page(shown)
    if picture is Picture.TREE:
        return "".join(line + "\n" for line in render.tree(shown.plan, shown.capacity))
    return _DRAW[picture](shown.plan)


def _show(context: Context, shown: render.PlanView, text: str, out: Path | None) -> None:
    """The picture goes to the file, or to standard output unless a program asked for data."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # lines and dots, where the terminal knows only ASCII
    if out is not None:
        out.write_text(text, encoding="utf-8")
        context.output.say(f"written to {out}")
    if out is None or context.output.format is not Format.TABLE:
        context.output.data(shown.model_dump(mode="json"), text)


def _command(ctx: typer.Context, file: Path, key: Path | None, waivers: list[Path] | None) -> str:
    """The command that applies a plan, up to its hash, with what this one was told about where everything is."""
    words = ["bumpless"]
    root = ctx.find_root()
    for name, flag in _GLOBAL.items():
        source = root.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            words += [flag, str(root.params[name])]
    words += ["apply", str(file)]
    if key is not None:
        words += ["--key", str(key)]
    for waiver in waivers or ():
        words += ["--waiver", str(waiver)]
    return shlex.join([*words, "--plan-hash"])
