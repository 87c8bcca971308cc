"""`rollout compare`: whether a rollout, and what took it back, did what was shown."""

from __future__ import annotations

from typing import Annotated

import typer

from bumpless.cli.client import Client
from bumpless.cli.completing import RolloutArg
from bumpless.cli.context import Context
from bumpless.cli.hashes import plan_hash as checked
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import PlanHash, RolloutId
from bumpless.common.contract.envelope import Envelope
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Refused, Retryable
from bumpless.common.model.plan import Plan, StepKey
from bumpless.common.render.compared import Comparison, Turn
from bumpless.common.render.comparison import compare as held_against
from bumpless.common.render.comparison import in_words, taken_back
from bumpless.common.shell.broker import Received
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.reading import readable
from bumpless.common.shell.rollouts import Plans, RolloutKind

log = get_logger(__name__)
DIFFERS = 1


def compare(
    ctx: typer.Context,
    rollout: RolloutArg = None,
    plan_hash: Annotated[
        str | None, typer.Option(help="The plan that was shown; by default the one that the rollout names.")
    ] = None,
) -> int:
    """Hold what a rollout did against the plan that was shown: every step once, in order, gates, nothing else.

    Example: bumpless rollout compare --plan-hash sha256:...
    """
    context: Context = ctx.obj

    async def work(client: Client) -> list[Comparison]:
        chosen = await client.find(rollout)
        return await compared(client, chosen, None if plan_hash is None else checked(plan_hash))

    found = context.with_client(work)
    text = "".join(line + "\n" for one in found for line in in_words(one))
    context.output.data([one.model_dump(mode="json") for one in found], text)
    return DIFFERS if any(one.discrepancies for one in found) else 0


async def compared(client: Client, rollout: RolloutId, plan_hash: str | None = None) -> list[Comparison]:
    """The rollout first, then every revert of it, each against its own plan.

    Raises:
        Refused: no such plan, or a log without one.
        Broken: the log is not this engine's.
    """
    plans = Plans(JetStreamBlobs(client.connection.js, subjects.PLAN_BUCKET))
    standing = _commands(
        await client.connection.snapshot(Stream.CMD, subjects.STREAM_SUBJECTS[Stream.CMD][0])
    )
    plan = await _plan(client, plans, plan_hash or await _planned(client, rollout))
    found, commanded = await _one(client, plans, plan, rollout, standing)
    others = [r.rollout for r in await client.rollouts() if r.of == rollout]
    reverts = [await _plan(client, plans, await _planned(client, other)) for other in others]
    missed = taken_back(plan, commanded, reverts)
    found = found.model_copy(update={"discrepancies": (*found.discrepancies, *missed)})
    back = [(await _one(client, plans, p, p.rollout, standing))[0] for p in reverts]
    return [found, *back]


async def _one(
    client: Client, plans: Plans, plan: Plan, rollout: RolloutId, standing: list[c.NodeCommand]
) -> tuple[Comparison, frozenset[StepKey]]:
    """The comparison, and the steps that were commanded."""
    entries = await client.connection.snapshot(
        Stream.RO, subjects.subject_for(e.RolloutAdvanced, rollout=rollout), history=True
    )
    first = next(iter(readable(entries, e.RolloutAdvanced)), None)
    if first is None:
        raise Refused(f"a log of rollout {rollout}", "none", "it is kept for 90 days")
    turns: list[Turn] = []
    status, commanded = "nothing", frozenset[StepKey]()
    async for entry, inputs, state, sent in RolloutKind(first.owner, plans, client.connection).turns(entries):
        turns.append(Turn(entry.at, inputs, sent))
        status, commanded = str(state.status), state.commanded & {step.key for step in plan.steps()}
    return held_against(plan, turns, status, standing), commanded


async def _planned(client: Client, rollout: RolloutId) -> PlanHash:
    items = await client.connection.last(Stream.RO, subjects.subject_for(e.RolloutPlanned, rollout=rollout))
    planned = next(iter(readable(items, e.RolloutPlanned)), None)
    if planned is None:
        raise Refused(f"a plan of rollout {rollout}", "none in the log", "it is kept for 90 days")
    return planned.plan_hash


async def _plan(client: Client, plans: Plans, plan_hash: str) -> Plan:
    """The plan by its hash: one that ran, or one that was only shown."""
    shown = Plans(JetStreamBlobs(client.connection.js, subjects.SHOWN_BUCKET))
    for known in (plans, shown):
        try:
            return await known.get(plan_hash)
        except Retryable:
            continue
    raise Refused(f"a plan with the hash {plan_hash}", "none", "shown plans are kept for 7 days")


def _commands(items: list[Received]) -> list[c.NodeCommand]:
    """The commands that stand. Who signed them is the nodes' business; here is asked what they say."""
    found = []
    for item in items:
        try:
            message = wire.decode(Envelope.from_bytes(item.data).payload)
        except ValueError as error:
            log.warning("left out", subject=item.subject, reason=str(error))
            continue
        if isinstance(message, c.NodeCommand):
            found.append(message)
    return found
