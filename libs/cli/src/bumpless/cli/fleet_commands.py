"""`fleet list|show|drain|undrain` and `events tail`."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any

import typer

from bumpless.cli.client import Client
from bumpless.cli.context import Context
from bumpless.cli.drain_commands import drain, undrain
from bumpless.cli.output import records, table
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Refused
from bumpless.common.model.fleet import ComponentObserved, ComponentState, Node
from bumpless.common.model.release import ITSELF
from bumpless.common.shell import clock

SHOWN_STREAMS = {
    "rollouts": Stream.RO,
    "progress": Stream.PROG,
    "results": Stream.EVT,
    "releases": Stream.REL,
    "operators": Stream.OPS,
    "alerts": Stream.ALR,
    "delivery": Stream.CDE,
    "parked": Stream.DLQ,
}


def register(app: typer.Typer) -> None:
    fleet = typer.Typer(no_args_is_help=True, help="Nodes, and what runs on them.")
    fleet.command("list")(list_nodes)
    fleet.command("show")(show)
    fleet.command("drain")(drain)
    fleet.command("undrain")(undrain)
    app.add_typer(fleet, name="fleet")
    events = typer.Typer(no_args_is_help=True, help="Events from the broker.")
    events.command("tail")(tail)
    app.add_typer(events, name="events")


def list_nodes(ctx: typer.Context) -> None:
    """Every node with the version and digest that it observed running.

    Example: bumpless fleet list
    """
    context: Context = ctx.obj
    fleet = context.with_client(lambda client: client.fleet())
    columns = ["Node", "Address", "Component", "Version", "Digest", "State", "Restarts", "Seen", "Drained"]
    rows: list[list[Any]] = []
    for node in fleet.nodes:
        seen = f"{max(0, (clock.now() - node.observed_at).total_seconds()):.0f} s ago"
        out = None if node.drain is None else str(node.drain).removeprefix("drained ")
        if not node.components:
            rows.append([node.name, node.address, None, None, None, None, None, seen, out])
        for name, component in sorted(node.components.items()):
            target = component.target
            rows.append(
                [
                    node.name,
                    node.address,
                    name,
                    None if target is None else target.version,
                    None if component.root is None else component.root.removeprefix("sha256:")[:12],
                    _state(node, component),
                    component.restarts,
                    seen,
                    out,
                ]
            )
    # Most of the time nothing is drained, and a row should fit on a line.
    shown = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
    context.output.data(records(columns, rows), table(columns[:shown], [row[:shown] for row in rows]))


def _state(node: Node, component: ComponentObserved) -> str:
    """What a person is told: of a drained node, whether it still works."""
    state = component.state.value
    if node.drain is not None and component.state is ComponentState.SERVING and component.component != ITSELF:
        state = "draining" if component.instances else "drained"
    left = f", left {component.returned_from}" if component.returned_from else ""
    return state + left + (f", holds {component.held}" if component.held else "")


def show(ctx: typer.Context, node: Annotated[str, typer.Argument(help="The node's name.")]) -> None:
    """Everything one node last said about itself.

    Example: bumpless fleet show node-1
    """
    context: Context = ctx.obj
    fleet = context.with_client(lambda client: client.fleet())
    found = fleet.node(node)
    if found is None:
        raise Refused("a node of the fleet", node, "known are " + ", ".join(n.name for n in fleet.nodes))
    raw = found.model_dump(mode="json")
    context.output.data(raw, json.dumps(raw, indent=2) + "\n")


def tail(
    ctx: typer.Context,
    which: Annotated[str, typer.Argument(help="One of: " + ", ".join(SHOWN_STREAMS))] = "rollouts",
    rollout: Annotated[str | None, typer.Option(help="Only this rollout's.")] = None,
    since: Annotated[float, typer.Option(help="Start this many seconds ago.")] = 0,
    count: Annotated[int, typer.Option(help="Stop after this many; 0 never stops.")] = 0,
) -> None:
    """Print events as they come, one JSON object a line.

    Example: bumpless events tail rollouts --since 600
    """
    context: Context = ctx.obj
    if which not in SHOWN_STREAMS:
        raise Refused("one of " + ", ".join(SHOWN_STREAMS), which)
    stream = SHOWN_STREAMS[which]

    async def work(client: Client) -> None:
        left = count
        start = clock.now() - timedelta(seconds=since) if since else None
        async for item in client.connection.follow(stream, subjects.STREAM_SUBJECTS[stream], since=start):
            body = json.loads(item.data)
            named = body.get("rollout") or body.get("context", {}).get("chainId") or ""
            if rollout is not None and not str(named).startswith(rollout):
                continue
            print(json.dumps({"subject": item.subject, "sequence": item.sequence, "data": body}), flush=True)
            left -= 1
            if left == 0:
                return

    context.with_client(work)
