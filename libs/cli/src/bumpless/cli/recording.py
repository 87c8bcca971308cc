"""`gate record`: what nodes told a gate, out of the broker and on as they tell more, as lines of a trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from bumpless.cli.client import Client
from bumpless.cli.context import Context
from bumpless.common.contract import subjects
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.commands import CloseGate, OpenGate
from bumpless.common.contract.events import MetricsSampled, VerdictReached
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Refused
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Received
from bumpless.common.shell.reading import read, readable
from bumpless.health_gate.offline.record import Recorder

QUIET = timedelta(seconds=10)
"""So long after the end of a gate nothing more is waited for; nodes that go on reporting end it sooner."""
EARLIER = timedelta(seconds=60)
"""Before the first sample that is wanted: the broker's clock and the nodes' need not be the same."""


def record(
    ctx: typer.Context,
    rollout: Annotated[
        str | None, typer.Argument(help="A rollout's id, or the start of it; the latest by default.")
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(help="The batch whose gate is recorded; the last one that was judged by default."),
    ] = None,
    history: Annotated[
        float,
        typer.Option(min=0.0, help="Seconds before the switch that are recorded, where the broker has them."),
    ] = 1800.0,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on until an open gate has decided.")
    ] = True,
) -> None:
    """Print what the nodes told a gate, as a trace that `gate replay` judges.

    Example: bumpless gate record --batch api-1 > trace.jsonl
    """
    context: Context = ctx.obj

    async def work(client: Client) -> int:
        gate, end = await _gate(client, await client.find(rollout), batch)
        recorder, count = Recorder(gate), 0
        if gate.spec.source is not None:
            context.output.say(
                f"this gate read its metrics from {gate.spec.source.title}; recorded is what the nodes themselves told"
            )
        async for sample in _samples(client, gate, end, timedelta(seconds=history), follow):
            for row in recorder.rows([sample]):
                print(row.as_json(), flush=True)
                count += 1
        return count

    if context.with_client(work) == 0:
        raise Refused(
            "samples of the gate's nodes",
            "none",
            "the broker keeps them for seven days, and only where nodes export metrics",
        )


async def _gate(client: Client, rollout: RolloutId, batch: str | None) -> tuple[OpenGate, datetime | None]:
    """The gate, and when it ended; None: it is open."""
    wanted = [subjects.subject_for(kind, rollout=rollout) for kind in (OpenGate, CloseGate, VerdictReached)]
    items = await client.connection.snapshot(Stream.RO, wanted, history=True)
    opened = readable(items, OpenGate)
    found = [gate for gate in opened if batch in (None, gate.batch)]
    if not found:
        names = ", ".join(dict.fromkeys(gate.batch for gate in opened)) or "no batch of it was judged"
        raise Refused(f"a gate of {batch or rollout}", "none", f"judged: {names}")
    gate = found[-1]
    ends: list[CloseGate | VerdictReached] = [*readable(items, CloseGate), *readable(items, VerdictReached)]
    return gate, min((end.at for end in ends if end.gate == gate.gate), default=None)


async def _samples(
    client: Client, gate: OpenGate, end: datetime | None, history: timedelta, follow: bool
) -> AsyncIterator[MetricsSampled]:
    """From `history` before the switch to the end of the gate, each as the broker has it."""
    since = gate.switched_at - history
    heard = until = end or (None if follow else clock.now())
    ended: asyncio.Future[datetime] = asyncio.get_running_loop().create_future()
    if until is None:
        ended = asyncio.ensure_future(_end(client, gate))
    else:
        ended.set_result(until)
    wanted = subjects.subject_for(MetricsSampled)
    stored = client.connection.follow(Stream.EVT, wanted, since=since - EARLIER)
    try:
        async with aclosing(stored) as items:
            while (item := await _next(items, ended)) is not None:
                sample = read(item)
                if not isinstance(sample, MetricsSampled):
                    continue
                over = ended.done() and sample.at > ended.result()
                if sample.at >= since and not over:
                    yield sample
                if not ended.done():
                    continue
                # Not the end's own moment: samples from before it may be on their way.
                heard = heard or clock.now()
                if item.pending == 0 and (over or clock.now() > heard + QUIET):
                    return
    finally:
        ended.cancel()


async def _next(items: AsyncGenerator[Received, None], ended: asyncio.Future[datetime]) -> Received | None:
    """The next item; None: the gate has ended, and nothing more came for `QUIET`."""
    step = asyncio.ensure_future(anext(items))
    waiting: set[asyncio.Future[Any]] = {step, ended}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not step.done():
            await asyncio.wait({step}, timeout=QUIET.total_seconds())
        return step.result() if step.done() else None
    finally:
        if not step.done():
            step.cancel()
            await asyncio.wait({step})  # the generator cannot be closed while it runs


async def _end(client: Client, gate: OpenGate) -> datetime:
    """When the gate decides or is closed."""
    wanted = [subjects.subject_for(kind, rollout=gate.rollout) for kind in (CloseGate, VerdictReached)]
    async with aclosing(client.connection.follow(Stream.RO, wanted, since=gate.at - EARLIER)) as items:
        async for item in items:
            message = read(item)
            if isinstance(message, CloseGate | VerdictReached) and message.gate == gate.gate:
                return message.at
    raise AssertionError("a stream that is followed has no end")
