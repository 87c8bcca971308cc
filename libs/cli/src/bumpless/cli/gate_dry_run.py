"""`gate dry-run`: which series the gates of a release would read now, so that a misspelled metric is found before."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from bumpless.cli.client import Client
from bumpless.cli.context import Context
from bumpless.cli.output import records, table
from bumpless.cli.publishing import read_release
from bumpless.cli.release_commands import FileArg
from bumpless.common.contract.gate_dry_run import GateDryRun, GateDryRunAnswer
from bumpless.common.contract.subjects import API_GATE_DRY_RUN
from bumpless.common.errors import Refused, Retryable
from bumpless.common.model.fleet import Fleet
from bumpless.common.model.gate import GateSpec

ANSWER_S = 60.0
COLUMNS = ("Component", "Rule", "Metric", "Node", "Series", "Value", "Note")
MISSING = "missing"


def dry_run(
    ctx: typer.Context,
    file: FileArg,
    component: Annotated[str | None, typer.Option(help="Only the gate of this component.")] = None,
) -> int:
    """Show which series the gates of a release would read now, with their values, and what is missing. Changes nothing.

    Example: bumpless gate dry-run release.yaml --component api
    """
    context: Context = ctx.obj
    gates = gates_of(file, component)

    async def work(client: Client) -> int:
        fleet = await client.fleet()
        rows: list[tuple[object, ...]] = []
        lacking = 0
        for name, spec in gates.items():
            nodes = running(fleet, name)
            if not nodes:
                context.output.say(f"{name}: no node runs it yet, so there is nothing to read")
                continue
            answer = await ask(client, GateDryRun(component=name, nodes=nodes, spec=spec))
            if answer.trouble:
                context.output.say(f"{name}: {answer.source}: {answer.trouble}")
            lacking += sum(metric.lacking for metric in answer.metrics)
            rows += rows_of(name, answer)
        context.output.data(records(COLUMNS, rows), table(COLUMNS, rows))
        context.output.say(
            f"{lacking} metrics are missing on some node: misspelled, or not exported, or not shipped by the version that "
            "runs now (docs/metric-sources.md)"
            if lacking
            else "every metric is there"
        )
        return 1 if lacking else 0

    return context.with_client(work)


def gates_of(file: FileArg, component: str | None) -> dict[str, GateSpec]:
    """The gate of every component that has one. Raises: Refused, ReleaseInvalid."""
    release = read_release(file)
    found = {
        one.name: gate.for_depending(bool(one.depends_on))
        for one in release.components
        if (gate := one.gate or release.gate) is not None and component in (None, one.name)
    }
    if not found:
        raise Refused("a component with a gate", component or "none in the release")
    return found


def running(fleet: Fleet, component: str) -> tuple[str, ...]:
    """The nodes on which the component runs."""
    return tuple(
        node.name
        for node in fleet.nodes
        if (seen := node.components.get(component)) is not None and seen.target is not None
    )


async def ask(client: Client, question: GateDryRun) -> GateDryRunAnswer:
    body = question.model_dump_json().encode()
    try:
        return GateDryRunAnswer.model_validate_json(
            await client.connection.request(API_GATE_DRY_RUN, body, ANSWER_S)
        )
    except ValidationError as error:
        raise Retryable(
            "expected an answer of the health gate, found something else: is it of an earlier version?"
        ) from error


def rows_of(component: str, answer: GateDryRunAnswer) -> list[tuple[object, ...]]:
    """One row for each series, and one for each node that has none."""
    rows: list[tuple[object, ...]] = []
    for metric in answer.metrics:
        head = (component, metric.rule, metric.metric)
        rows += [(*head, one.node, one.series, one.value, "") for one in metric.series]
        if metric.more:
            rows.append((*head, "", f"and {metric.more} more", None, ""))
        rows += [
            (*head, node, "", None, MISSING if metric.needed else metric.note) for node in metric.missing
        ]
    return rows
