"""`stage --check`: every node that a release would reach tries whether it can take it. Announces and changes nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import ValidationError

from bumpless.cli.client import Client, whoami
from bumpless.cli.context import Context
from bumpless.cli.output import records, table
from bumpless.cli.publishing import upload
from bumpless.cli.release_commands import FileArg, KeyOpt, build
from bumpless.common.contract.stage_check import MAX_CHECK_S, StageCheck, StageChecked
from bumpless.common.contract.subjects import api_stage_check
from bumpless.common.errors import Refused, Retryable
from bumpless.common.model.plan import Plan, Target
from bumpless.common.shell.broker import Connection

NODES_AT_ONCE = 16
GRACE_S = 2.0
"""For the way to the node and back: a node that ran out of time says so."""
COLUMNS = ("Node", "Component", "Version", "Answer", "By", "Fetched", "Free", "Reason")


class Answer(StrEnum):
    READY = "ready"
    NOT_READY = "not ready"
    NO_ANSWER = "no answer"


@dataclass(frozen=True)
class Checked:
    """What is known of one component on one node; `said` is None where the node did not answer."""

    node: str
    target: Target
    answer: Answer
    said: StageChecked | None
    reason: str | None

    def row(self) -> Sequence[object]:
        said = self.said
        found = (said.used, said.bytes_fetched, said.free_bytes) if said is not None else (None, None, None)
        return (self.node, self.target.component, self.target.version, self.answer.value, *found, self.reason)


def register(app: typer.Typer) -> None:
    app.command("stage")(stage)


def stage(
    ctx: typer.Context,
    file: FileArg,
    check: Annotated[
        bool, typer.Option("--check", help="Try it out, and leave no trace on the nodes.")
    ] = False,
    node: Annotated[list[str] | None, typer.Option(help="Only this node; may be repeated.")] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds a node has for all its components.", min=1, max=MAX_CHECK_S)
    ] = 300,
    key: KeyOpt = None,
) -> int:
    """Prove that every node a release would reach can take it: fetch, rebuild and verify there, and remove it again.

    Example: bumpless stage release.yaml --check
    """
    if not check:
        raise Refused(
            "--check",
            "no option",
            "a rollout stages by itself before its first switch; to try that out, run "
            f"`bumpless stage {file} --check`",
        )
    context: Context = ctx.obj

    async def work(client: Client) -> int:
        built = await build(context, client, file, key)
        await upload(built, client.artifacts, lambda text: None)
        attempt = await client.attempt(built.release.product, built.digest)
        answer = await client.plan(built.announcement(by=whoami(), attempt=attempt))
        if answer.plan is None:
            raise Refused("a release that can run on this fleet", "; ".join(answer.reasons))
        wanted = reached(answer.plan, node or ())
        found = await ask_fleet(client.connection, wanted, timeout)
        rows = [one.row() for one in found]
        context.output.data(records(COLUMNS, rows), table(COLUMNS, rows))
        bad = sum(one.answer is not Answer.READY for one in found)
        ready = f"{len(found) - bad} of {len(found)} ready; nothing was announced"
        context.output.say(ready if found else "nothing to change")
        return 1 if bad else 0

    return context.with_client(work)


def reached(plan: Plan, only: Sequence[str]) -> Mapping[str, Sequence[Target]]:
    """What `plan` brings to each of its nodes, in the plan's order; with `only`, to these.

    Raises: Refused, for a node that the plan does not reach.
    """
    found: defaultdict[str, list[Target]] = defaultdict(list)
    for step in plan.steps():
        if step.after is not None:
            found[step.node].append(plan.targets[step.after])
    if strange := sorted(set(only) - found.keys()):
        raise Refused(
            f"nodes that this release would reach: {', '.join(sorted(found)) or 'none'}", ", ".join(strange)
        )
    return {name: found[name] for name in sorted(set(only) or found)}


async def ask_fleet(
    connection: Connection, wanted: Mapping[str, Sequence[Target]], timeout_s: float
) -> Sequence[Checked]:
    """Ask every node for each of its targets; one answer for each, in the order of `wanted`."""
    places = asyncio.Semaphore(NODES_AT_ONCE)

    async def ask(node: str, targets: Sequence[Target]) -> Sequence[Checked]:
        async with places:
            return await _ask(connection, node, targets, timeout_s)

    found = await asyncio.gather(*(ask(node, targets) for node, targets in wanted.items()))
    return [one for of_node in found for one in of_node]


async def _ask(
    connection: Connection, node: str, targets: Sequence[Target], timeout_s: float
) -> Sequence[Checked]:
    """One component after the other: a node checks one at a time. After a silence the rest is not asked for."""
    now = asyncio.get_running_loop().time
    deadline = now() + timeout_s
    found: list[Checked] = []
    for target in targets:
        question = StageCheck(
            component=target.component,
            root=target.root,
            artifact=target.artifact,
            artifact_size=target.artifact_size,
            timeout_s=max(deadline - now(), 0.001),
        )
        try:
            body = await connection.request(
                api_stage_check(node), question.model_dump_json().encode(), question.timeout_s + GRACE_S
            )
            said = StageChecked.model_validate_json(body)
            answer = Answer.READY if said.ready else Answer.NOT_READY
            found.append(Checked(node, target, answer, said, said.reason))
        except (Retryable, ValidationError):
            why = (
                f"expected an answer of {node} within {timeout_s:g} s, found none; see that its executor runs and "
                "knows this command, or give it more time with --timeout"
            )
            left = targets[len(found) :]
            return [*found, *(Checked(node, one, Answer.NO_ANSWER, None, why) for one in left)]
    return found
