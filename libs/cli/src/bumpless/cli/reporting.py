"""`rollout report`: a release report out of the logs of a rollout and its reverts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.client import Client
from bumpless.cli.completing import RolloutArg
from bumpless.cli.context import Context
from bumpless.cli.output import Format
from bumpless.cli.replaying import logs_of
from bumpless.common.contract.alerts import AlertChanged
from bumpless.common.contract.subjects import Stream, subject_for
from bumpless.common.errors import Refused
from bumpless.common.model.plan import Plan
from bumpless.common.render import report_pages
from bumpless.common.render.report import Report
from bumpless.common.render.report import report as made_of
from bumpless.common.shell.reading import readable


class Form(StrEnum):
    MARKDOWN = "markdown"
    HTML = "html"


_WRITTEN = {Form.MARKDOWN: report_pages.markdown, Form.HTML: report_pages.html}
_SUFFIXES = {".html": Form.HTML, ".htm": Form.HTML}


def report(
    ctx: typer.Context,
    rollout: RolloutArg = None,
    form: Annotated[
        Form | None, typer.Option("--format", help="How it is written; by default as --out ends.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
) -> None:
    """Write a release report: times, batches, gates with their evidence, incidents, who did what.

    Example: bumpless rollout report --out release.html

    Example: bumpless rollout report 3f2a --format markdown > release.md
    """
    context: Context = ctx.obj
    found, plan = context.with_client(lambda client: _reported(client, rollout))
    chosen = form or (Form.MARKDOWN if out is None else _SUFFIXES.get(out.suffix, Form.MARKDOWN))
    text = _WRITTEN[chosen](found, plan)
    if out is not None:
        out.write_text(text, encoding="utf-8")
        context.output.say(f"written to {out}")
    if out is None or context.output.format is not Format.TABLE:
        context.output.data(found.model_dump(mode="json"), text)


async def report_of(client: Client, rollout: str | None) -> Report:
    """Raises: Refused: there is no such rollout, or its log cannot be read."""
    return (await _reported(client, rollout))[0]


async def _reported(client: Client, rollout: str | None) -> tuple[Report, Plan]:
    chosen = await client.find(rollout)
    read = (await logs_of(client, chosen)).rollouts
    logs = [(one.plan, one.decided) for one in read if one.plan is not None]
    if read[0].plan is None:
        raise Refused(f"a log of rollout {chosen} that can be read", read[0].problem or "none")
    began = read[0].decided[0].at
    ended = max(one.decided[-1].at for one in read if one.decided)
    changed = await client.connection.snapshot(Stream.ALR, subject_for(AlertChanged), history=True)
    alerts = [m for m in readable(changed, AlertChanged) if began <= m.at <= ended]
    return made_of(logs, alerts), read[0].plan
