"""Following a rollout: a live tree with bars on a terminal, plain lines everywhere else."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from rich.console import Group
from rich.live import Live
from rich.text import Text

from bumpless.cli.client import Client
from bumpless.cli.forecast import Forecast
from bumpless.cli.output import Output
from bumpless.cli.picture import picture
from bumpless.cli.telling import telling
from bumpless.cli.watched import Watched
from bumpless.common import render
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, RolloutId
from bumpless.common.model.finding import Code
from bumpless.common.model.plan import Plan
from bumpless.common.shell import clock

TIMED_OUT = 3
LOCKED = 5


async def follow(
    client: Client,
    output: Output,
    rollout: RolloutId,
    timeout_s: float | None,
    earlier: frozenset[RolloutId] | None = None,
) -> int:
    """Show a rollout until it has ended (see `Watched`); the exit code says how."""
    try:
        async with asyncio.timeout(timeout_s):
            return await (_live if output.live else _lines)(client, output, rollout, earlier)
    except TimeoutError:
        output.say(f"still going after {timeout_s:g} s; `bumpless rollout watch {rollout}` goes on watching")
        return TIMED_OUT


async def started(
    client: Client, output: Output, rollout: RolloutId, digest: str, *, wait: bool, timeout_s: float | None
) -> int:
    """What came of an announcement: the planner's answer, or with `wait` the whole rollout; the exit code."""
    if wait:
        return await follow(client, output, rollout, timeout_s)
    answer = await client.planned(rollout)
    if isinstance(answer, e.ReleaseRefused):
        return refused(output, answer)
    found(output, answer)
    output.item({"rollout": rollout, "release_digest": digest}, rollout)
    return 0


async def _lines(
    client: Client, output: Output, rollout: RolloutId, earlier: frozenset[RolloutId] | None
) -> int:
    watched = Watched(rollout)
    forecast = Forecast(client)
    told = telling(output)
    async with aclosing(client.watch(rollout, earlier)) as changes:
        async for seen, message in changes:
            watched = seen
            if isinstance(message, e.RolloutPlanned):
                found(output, message)
            line = _line(message)
            if isinstance(message, e.RolloutProgressed):
                line += await forecast.words(message)
            told.tell(message, line)
    told.end(watched)
    return _end(output, watched)


async def _live(
    client: Client, output: Output, rollout: RolloutId, earlier: frozenset[RolloutId] | None
) -> int:
    watched = Watched(rollout)
    forecast = Forecast(client)
    left = ""
    plans: dict[str, Plan] = {}
    with Live(console=output.out, refresh_per_second=8, transient=False) as live:
        async with aclosing(client.watch(rollout, earlier)) as changes:
            async for seen, message in changes:
                watched = seen
                if isinstance(message, e.RolloutPlanned):
                    for finding in message.findings:
                        live.console.print(str(finding), markup=False)
                    continue
                if isinstance(message, e.RolloutProgressed):
                    left = await forecast.words(message)
                    if (plan := await forecast.plan(message)) is not None:
                        plans[message.rollout] = plan
                live.update(Group(picture(watched, plans, clock.now()), Text(left.removeprefix(", "))))
    return _end(output, watched)


def _end(output: Output, watched: Watched) -> int:
    return watched.exit_code if watched.refused is None else refused(output, watched.refused)


def found(output: Output, planned: e.RolloutPlanned) -> None:
    """Say what was found before the rollout began."""
    for finding in planned.findings:
        output.say(f"found: {finding}")


def refused(output: Output, answer: e.ReleaseRefused) -> int:
    """Say why a release was refused; the exit code: 5 where something holds a lock, else 1."""
    output.say("refused:")
    for reason in answer.reasons:
        output.say(f"  {reason}")
    for finding in answer.findings:
        if not finding.blocks:
            output.say(f"  {finding}")
    if any(finding.blocks and finding.waivable for finding in answer.findings):
        output.say(
            f"one who may lets a block pass with: bumpless waive CODE SUBJECT --release {answer.digest} "
            "--reason ... --until ..., and apply --waiver FILE"
        )
    locked = any(finding.code is Code.LOCKED for finding in answer.findings)
    return LOCKED if locked or any(reason.startswith("locked") for reason in answer.reasons) else 1


def _line(message: Message) -> str:
    match message:
        case e.RolloutProgressed():
            return f"{message.at:%H:%M:%S} " + render.status(message, message.at)
        case e.StepProgressed():
            detail = f" ({message.detail})" if message.detail else ""
            return f"{message.at:%H:%M:%S}   {message.node}/{message.component}: {message.state}{detail}"
        case e.GateProgressed():
            verdict = message.verdict or "judging"
            return f"{message.at:%H:%M:%S}   gate {message.batch}: {verdict} {message.detail}"
        case e.ReleaseRefused():
            return f"{message.at:%H:%M:%S} refused: " + "; ".join(message.reasons)
        case _:
            return ""
