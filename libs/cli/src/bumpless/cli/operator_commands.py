"""`pause`, `resume`, `promote`, `abort`, `approve`, `deny`, `retry`: each is answered by the one service that owns the
rollout. `rollback` is in `rollback_command`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from bumpless.cli.client import Client, whoami
from bumpless.cli.completing import RolloutArg, rollouts
from bumpless.cli.context import Context
from bumpless.cli.hashes import plan_hash as hash_of
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, RolloutId
from bumpless.common.errors import Refused
from bumpless.common.model.plan import Direction
from bumpless.common.shell import clock

ReasonOpt = Annotated[str, typer.Option(help="Why, for the log.")]
WhichOpt = Annotated[
    str | None, typer.Option(help="A rollout's id; the latest by default.", autocompletion=rollouts)
]


def register(app: typer.Typer) -> None:
    for command in (pause, resume, promote, abort, approve, deny, retry):
        app.command()(command)


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
    rollout: WhichOpt = None,
    batch: Annotated[str | None, typer.Option(help="Only this batch.")] = None,
    reason: ReasonOpt = "",
) -> int:
    """Let a rollout start that waits for approval of its plan, or one batch of it.

    Example: bumpless approve sha256:...
    """
    return _simple(ctx.obj, c.Approve, rollout, reason, plan_hash=hash_of(plan_hash), batch=batch)


def deny(
    ctx: typer.Context,
    plan_hash: Annotated[str, typer.Argument(help="The hash of the plan you saw.")],
    rollout: WhichOpt = None,
    batch: Annotated[str | None, typer.Option(help="Only this batch.")] = None,
    reason: ReasonOpt = "",
) -> int:
    """Refuse what waits for approval: the rollout is cancelled; a batch fails, and the rollback policy decides.

    Example: bumpless deny sha256:... --reason "not before the weekend"
    """
    if not reason.strip():
        raise Refused("a --reason", "none", "whoever released it reads it")
    return _simple(ctx.obj, c.Deny, rollout, reason, plan_hash=hash_of(plan_hash), batch=batch)


def retry(ctx: typer.Context, rollout: RolloutArg = None, reason: ReasonOpt = "") -> int:
    """Plan the same release again, from what the fleet runs now.

    Example: bumpless retry
    """
    return _simple(ctx.obj, c.Retry, rollout, reason)
