"""`status` and `rollout list|status|watch|history|replay|compare|report`: looking, not touching."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import Annotated, Any

import typer

from bumpless.cli.client import Client
from bumpless.cli.comparing import compare
from bumpless.cli.completing import RolloutArg
from bumpless.cli.context import Context
from bumpless.cli.output import Format, records, table
from bumpless.cli.replaying import replay
from bumpless.cli.reporting import report
from bumpless.cli.watched import Watched
from bumpless.cli.watching import TIMED_OUT, follow
from bumpless.common import render
from bumpless.common.contract import events as e
from bumpless.common.contract import wire
from bumpless.common.errors import Refused
from bumpless.common.shell import clock
from bumpless.common.shell.reading import read


def register(app: typer.Typer) -> None:
    rollout = typer.Typer(no_args_is_help=True, help="Rollouts: what goes on, what went on.")
    rollout.command("list")(list_rollouts)
    rollout.command("status")(status)
    rollout.command("watch")(watch)
    rollout.command("history")(history)
    rollout.command("replay")(replay)
    rollout.command("compare")(compare)
    rollout.command("report")(report)
    app.add_typer(rollout, name="rollout")
    app.command("status")(status)


def list_rollouts(ctx: typer.Context) -> None:
    """Every rollout and revert, oldest first.

    Example: bumpless rollout list
    """
    context: Context = ctx.obj
    found = context.with_client(lambda client: client.rollouts())
    columns = ["Rollout", "Product", "Version", "Direction", "Status", "Since", "Reason"]
    rows = [
        [
            r.rollout,
            r.product,
            r.release_version,
            r.direction.value,
            r.status,
            f"{r.since:%Y-%m-%d %H:%M:%S}",
            r.reason,
        ]
        for r in found
    ]
    context.output.data(records(columns, rows), table(columns, rows))


def status(
    ctx: typer.Context,
    rollout: RolloutArg = None,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Wait for the end.")] = True,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for the end.")] = None,
) -> int:
    """Where a rollout is, why, since when and until when; waits for its end, an automatic revert included.

    Example: bumpless status --no-watch

    Example: bumpless rollout status 3f2a --timeout 600
    """
    context: Context = ctx.obj

    async def work(client: Client) -> int:
        chosen = await client.find(rollout)
        known = await client.rollouts()
        watched = Watched(chosen)
        for progress in known:
            watched.take(progress)
        if watched.forward is None:
            raise Refused("a forward rollout", f"the revert {chosen}", "ask for the rollout it takes back")
        if watch and not watched.ended:
            if context.output.format is Format.TABLE:
                return await follow(client, context.output, chosen, timeout)
            watched = await _to_its_end(client, watched, timeout)
        shown = [p for p in (watched.forward, watched.revert) if p is not None]
        text = "".join(render.status(p, clock.now()) + "\n" for p in shown)
        batches = "".join(f"  {name}: {state}\n" for p in shown for name, state in p.batches.items())
        raw = [p.model_dump(mode="json") for p in shown]
        context.output.data(raw, text + batches)
        if watch and not watched.ended:
            return TIMED_OUT
        return watched.exit_code if watched.ended or watched.exit_code == 4 else 0

    return context.with_client(work)


async def _to_its_end(client: Client, known: Watched, timeout: float | None) -> Watched:
    """Without a word, for who wants one document; what was known last where the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout), aclosing(client.watch(known.rollout)) as changes:
            async for watched, _ in changes:
                if watched.forward is not None:
                    known = watched
    return known


def watch(
    ctx: typer.Context,
    rollout: RolloutArg = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to watch.")] = None,
) -> int:
    """Follow a rollout live, to the end of an automatic revert.

    Example: bumpless rollout watch
    """
    context: Context = ctx.obj

    async def work(client: Client) -> int:
        return await follow(client, context.output, await client.find(rollout), timeout)

    return context.with_client(work)


def history(ctx: typer.Context, rollout: RolloutArg = None) -> None:
    """Everything that was logged about a rollout: decisions, verdicts, commands, who acted.

    Example: bumpless rollout history --output json
    """
    context: Context = ctx.obj

    async def work(client: Client) -> list[Any]:
        items = await client.history(await client.find(rollout))
        return [message for item in items if (message := read(item)) is not None]

    messages = context.with_client(work)
    lines = []
    for message in messages:
        if isinstance(message, e.RolloutAdvanced):
            lines += render.log_entry(message)
        else:
            lines.append(f"{message.at:%H:%M:%S} {wire.type_of(message)}" + _brief(message))
    context.output.data([m.model_dump(mode="json") for m in messages], "\n".join(lines) + "\n")


def _brief(message: Any) -> str:
    said = [
        str(getattr(message, key))
        for key in ("batch", "verdict", "reason", "detail", "text")
        if getattr(message, key, None)
    ]
    return ": " + ", ".join(said) if said else ""
