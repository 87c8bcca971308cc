"""`status`, `rollout list|status|watch|history|replay|compare|report` and the operator's commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Annotated, Any

import typer

from bumpless.cli.client import Client, whoami
from bumpless.cli.comparing import compare
from bumpless.cli.completing import RolloutArg, rollouts
from bumpless.cli.context import Context
from bumpless.cli.output import Format, records, table
from bumpless.cli.replaying import replay
from bumpless.cli.reporting import report
from bumpless.cli.watched import Watched
from bumpless.cli.watching import TIMED_OUT, follow
from bumpless.common import render
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.errors import Refused
from bumpless.common.model.plan import Direction, StepKey
from bumpless.common.shell import clock
from bumpless.common.shell.reading import read, readable
from bumpless.common.shell.rollouts import Plans

ReasonOpt = Annotated[str, typer.Option(help="Why, for the log.")]


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
    for command in (pause, resume, promote, abort, approve, retry, rollback):
        app.command()(command)


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


def _operate(
    context: Context, rollout: str | None, make: Callable[[RolloutId, bool], c.OperatorCommand]
) -> int:
    async def work(client: Client) -> e.CommandAnswered:
        chosen = await client.find(rollout)
        reverts = {r.rollout for r in await client.rollouts() if r.direction is Direction.REVERT}
        return await client.command(make(chosen, chosen in reverts))

    answer = context.with_client(work)
    context.output.data(
        answer.model_dump(mode="json"), f"{'accepted' if answer.accepted else 'refused'}: {answer.text}\n"
    )
    return 0 if answer.accepted else 1


def _simple(
    context: Context, kind: type[c.OperatorCommand], rollout: str | None, reason: str, **more: Any
) -> int:
    def make(chosen: RolloutId, revert: bool) -> c.OperatorCommand:
        fields = {
            "id": clock.fresh_id(),
            "at": clock.now(),
            "rollout": chosen,
            "by": whoami(),
            "reason": reason,
        }
        owner = "rollback" if revert or kind is c.Rollback else "planner"
        return kind.model_validate({**fields, "to": owner, **more})

    return _operate(context, rollout, make)


def pause(ctx: typer.Context, rollout: RolloutArg = None, reason: ReasonOpt = "") -> int:
    """Start no further batch; those under way come to rest.

    Example: bumpless pause --reason "looking at latency"
    """
    return _simple(ctx.obj, c.Pause, rollout, reason)


def resume(ctx: typer.Context, rollout: RolloutArg = None, reason: ReasonOpt = "") -> int:
    """Go on after a pause.

    Example: bumpless resume
    """
    return _simple(ctx.obj, c.Resume, rollout, reason)


def promote(
    ctx: typer.Context,
    rollout: RolloutArg = None,
    batch: Annotated[str | None, typer.Option(help="Only this batch.")] = None,
    reason: ReasonOpt = "",
) -> int:
    """Take a baking batch as passed, without waiting for its gate.

    Example: bumpless promote --batch api-1
    """
    return _simple(ctx.obj, c.Promote, rollout, reason, batch=None if batch is None else BatchId(batch))


def abort(ctx: typer.Context, rollout: RolloutArg = None, reason: ReasonOpt = "") -> int:
    """Stop a rollout as failed; its rollback policy decides what follows.

    Example: bumpless abort --reason "wrong release"
    """
    return _simple(ctx.obj, c.Abort, rollout, reason)


def approve(
    ctx: typer.Context,
    plan_hash: Annotated[str, typer.Argument(help="The hash of the plan you saw.")],
    rollout: Annotated[
        str | None, typer.Option(help="A rollout's id; the latest by default.", autocompletion=rollouts)
    ] = None,
    batch: Annotated[str | None, typer.Option(help="Only this batch.")] = None,
    reason: ReasonOpt = "",
) -> int:
    """Let a rollout start that waits for approval of its plan, or one batch of it.

    Example: bumpless approve sha256:...
    """
    return _simple(ctx.obj, c.Approve, rollout, reason, plan_hash=plan_hash, batch=batch)


def retry(ctx: typer.Context, rollout: RolloutArg = None, reason: ReasonOpt = "") -> int:
    """Plan the same release again, from what the fleet runs now.

    Example: bumpless retry
    """
    return _simple(ctx.obj, c.Retry, rollout, reason)


def rollback(
    ctx: typer.Context,
    rollout: RolloutArg = None,
    component: Annotated[list[str] | None, typer.Option(help="Only this component (repeatable).")] = None,
    node: Annotated[list[str] | None, typer.Option(help="Only this node (repeatable).")] = None,
    reason: ReasonOpt = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end.")] = True,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for the end.")] = None,
) -> int:
    """Take back what a rollout did, in reverse order; works while the planner is down.

    Example: bumpless rollback --component api
    """
    context: Context = ctx.obj

    async def work(client: Client) -> int:
        chosen = await client.find(rollout)
        command = c.Rollback(
            id=clock.fresh_id(),
            at=clock.now(),
            rollout=chosen,
            by=whoami(),
            reason=reason,
            only=await _only(client, chosen, component or [], node or []),
        )
        earlier = frozenset(r.rollout for r in await client.rollouts() if r.of == chosen)
        answer = await client.command(command)
        told = f"{'accepted' if answer.accepted else 'refused'}: {answer.text}"
        if context.output.format is Format.TABLE:
            context.output.say(told)
        else:
            context.output.item(answer.model_dump(mode="json"), told)
        if not answer.accepted:
            return 1
        if not wait:
            return 0
        if await follow(client, context.output, chosen, timeout, earlier) == TIMED_OUT:
            return TIMED_OUT
        known = [r for r in await client.rollouts() if r.of == chosen]
        return 0 if known and known[-1].status == "reverted" else 2

    return context.with_client(work)


async def _only(
    client: Client, rollout: RolloutId, components: list[str], nodes: list[str]
) -> tuple[StepKey, ...]:
    if not components and not nodes:
        return ()
    planned = readable(await client.history(rollout), e.RolloutPlanned)[0]
    plan = await Plans(JetStreamBlobs(client.connection.js, subjects.PLAN_BUCKET)).get(planned.plan_hash)
    found = tuple(
        dict.fromkeys(
            step.place
            for step in plan.steps()
            if (not components or step.component in components) and (not nodes or step.node in nodes)
        )
    )
    if not found:
        raise Refused(
            "steps of this rollout", f"none on {nodes or 'any node'} for {components or 'any component'}"
        )
    return found
