"""`rollback`: what a rollout did is taken back, or a product is brought back to a version before that."""

from __future__ import annotations

from typing import Annotated

import typer

from bumpless.cli.client import Client, whoami
from bumpless.cli.completing import RolloutArg
from bumpless.cli.context import Context
from bumpless.cli.operator_commands import ReasonOpt
from bumpless.cli.output import Format
from bumpless.cli.watching import TIMED_OUT, follow, started
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Refused
from bumpless.common.model.plan import Direction, StepKey
from bumpless.common.model.rollout import RolloutStatus, rollout_id
from bumpless.common.shell import clock
from bumpless.common.shell.reading import readable
from bumpless.common.shell.rollouts import Plans

NOT_BACK = 2


def register(app: typer.Typer) -> None:
    app.command()(rollback)


def rollback(
    ctx: typer.Context,
    rollout: RolloutArg = None,
    to: Annotated[str | None, typer.Option(help="The version of the release that shall run again.")] = None,
    component: Annotated[list[str] | None, typer.Option(help="Only this component (repeatable).")] = None,
    node: Annotated[list[str] | None, typer.Option(help="Only this node (repeatable).")] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Every node of a component at once, beyond max_unavailable too.")
    ] = False,
    reason: ReasonOpt = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end.")] = True,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for the end.")] = None,
) -> int:
    """Take back what a rollout did, in reverse order; works while the planner is down.

    With --to, the version before it is such a rollback too; one further back is released again, as a rollout of its
    own.

    Example: bumpless rollback --component api

    Example: bumpless rollback --to 1.4.0 --reason "1.5 and 1.6 lose orders"
    """
    context: Context = ctx.obj
    parts = (component or [], node or [])

    async def work(client: Client) -> int:
        chosen = await client.find(rollout)
        if to is not None and (earlier := await _further_back(client, chosen, to)) is not None:
            if any(parts) or now:
                raise Refused(
                    f"--to {to} alone", "--component, --node or --now", "it is released again, as a whole"
                )
            return await _release_again(context, client, earlier, wait, timeout)
        command = c.Rollback(
            id=clock.fresh_id(),
            at=clock.now(),
            rollout=chosen,
            by=whoami(),
            reason=reason,
            only=await _only(client, chosen, *parts),
            now=now,
        )
        return await _take_back(context, client, command, wait, timeout)

    return context.with_client(work)


async def _take_back(
    context: Context, client: Client, command: c.Rollback, wait: bool, timeout: float | None
) -> int:
    chosen = command.rollout
    earlier = frozenset(r.rollout for r in await client.rollouts() if r.of == chosen)
    answer = await client.command(command)
    told = f"{'accepted' if answer.accepted else 'refused'}: {answer.text}"
    if context.output.format is Format.TABLE:
        context.output.say(told)
    else:
        context.output.item(answer.model_dump(mode="json"), told)
    if not answer.accepted:
        return 1
    begun = {r.rollout for r in await client.rollouts() if r.of == chosen} - earlier
    if not wait or not begun:  # nothing of it was switched, so there is nothing to follow
        return 0
    if await follow(client, context.output, chosen, timeout, earlier) == TIMED_OUT:
        return TIMED_OUT
    known = [r for r in await client.rollouts() if r.rollout in begun]
    return 0 if known and known[-1].status == RolloutStatus.REVERTED else NOT_BACK


async def _further_back(client: Client, chosen: RolloutId, to: str) -> e.RolloutProgressed | None:
    """The rollout that brought `to`; None where taking `chosen` back comes to the same.

    Raises: Refused: no rollout of the product before `chosen` brought that version and stands.
    """
    known = await client.rollouts()
    forward = next((r for r in known if r.rollout == chosen and r.direction is Direction.FORWARD), None)
    if forward is None:
        raise Refused("a forward rollout", f"the revert {chosen}", "name the rollout that it takes back")
    before = known[: known.index(forward)]
    stand = [r for r in before if r.product == forward.product and r.status == RolloutStatus.SUCCEEDED]
    brought = [r for r in stand if r.release_version == to]
    if not brought:
        names = ", ".join(dict.fromkeys(r.release_version for r in reversed(stand))) or "none"
        raise Refused(
            f"a version of {forward.product} that ran before {forward.release_version} ({names})", to
        )
    return None if brought[-1] is stand[-1] else brought[-1]


async def _release_again(
    context: Context, client: Client, earlier: e.RolloutProgressed, wait: bool, timeout: float | None
) -> int:
    """Announce the release of `earlier` as its next attempt."""
    filters = subjects.subject_for(e.ReleaseAnnounced, product=earlier.product)
    announced = readable(
        await client.connection.snapshot(Stream.REL, filters, history=True), e.ReleaseAnnounced
    )
    mine = [m for m in announced if rollout_id(m.product, m.digest, m.attempt) == earlier.rollout]
    if not mine:
        found = "nothing; it is no longer kept"
        raise Refused(
            f"the release {earlier.release_version} of {earlier.product}", found, "publish it again"
        )
    same = [m.attempt for m in announced if m.digest == mine[-1].digest]
    again = mine[-1].model_copy(
        update={
            "id": clock.fresh_id(),
            "at": clock.now(),
            "attempt": max(same) + 1,
            "expected_plan": None,
            "by": whoami(),
        }
    )
    rollout = rollout_id(again.product, again.digest, again.attempt)
    await client.connection.publish(again, source="ci")
    context.output.say(f"released {earlier.product} {earlier.release_version} again as rollout {rollout}")
    return await started(client, context.output, rollout, again.digest, wait=wait, timeout_s=timeout)


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
