"""`fleet drain` and `fleet undrain`: a node out of service, and back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated, Any

import typer

from bumpless.cli.client import Client, whoami
from bumpless.cli.context import Context
from bumpless.cli.statement_commands import moment
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Refused
from bumpless.common.model.fleet import ComponentState, Node
from bumpless.common.model.release import ITSELF
from bumpless.common.shell import clock
from bumpless.common.shell.reading import read

TIMED_OUT = 3
SETTLE_S = 600.0

NodeArg = Annotated[str, typer.Argument(help="The node's name.")]
ReasonOpt = Annotated[str, typer.Option(help="Why; everybody sees it.")]
WaitOpt = Annotated[bool, typer.Option(help="Wait until the node has done it.")]
TimeoutOpt = Annotated[float, typer.Option(help="Seconds to wait; then the exit code is 3.")]


def drain(
    ctx: typer.Context,
    node: NodeArg,
    reason: ReasonOpt = "",
    for_: Annotated[
        str | None, typer.Option("--for", help="Come back by itself after 90s, 30m, 2h or 1d.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where no other node serves one of its components.")
    ] = False,
    wait: WaitOpt = True,
    timeout: TimeoutOpt = SETTLE_S,
) -> None:
    """Take a node out of service: its components finish what they do, take nothing new, and stop.

    Example: bumpless fleet drain node-3 --reason "new disk" --for 2h
    """
    now = clock.now()
    for_s = None if for_ is None else (moment(for_, now) - now).total_seconds()
    if for_s is not None and for_s <= 0:
        raise Refused("--for longer than nothing, such as 30m, 2h or 1d", str(for_))
    order = c.DrainNode(
        id=clock.fresh_id(), at=now, node=_named(node), by=whoami(), reason=reason, for_s=for_s, force=force
    )
    _give(ctx.obj, order, wait, timeout)


def undrain(
    ctx: typer.Context,
    node: NodeArg,
    reason: ReasonOpt = "",
    wait: WaitOpt = True,
    timeout: TimeoutOpt = SETTLE_S,
) -> None:
    """Bring a node back into service: its components start in the version that is in place by now.

    Example: bumpless fleet undrain node-3
    """
    order = c.UndrainNode(id=clock.fresh_id(), at=clock.now(), node=_named(node), by=whoami(), reason=reason)
    _give(ctx.obj, order, wait, timeout)


def _named(node: str) -> str:
    """It becomes part of a subject. Raises: Refused."""
    if not node or not set(node) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_"):
        raise Refused("the name of a node", node or "nothing", "`bumpless fleet list` shows them")
    return node


def _give(context: Context, order: c.DrainNode | c.UndrainNode, wait: bool, timeout_s: float) -> None:
    drained = isinstance(order, c.DrainNode)

    async def work(client: Client) -> tuple[e.NodeOrderAnswered, Node | None]:
        answer = await client.order(order)
        if not answer.accepted or not wait:
            return answer, None
        context.output.say(answer.text)
        return answer, await _settled(client, order.node, drained, timeout_s)

    answer, found = context.with_client(work)
    result = "accepted" if answer.accepted else "refused"
    raw: dict[str, Any] = {"node": order.node, "answer": result, "text": answer.text}
    if answer.accepted and wait:
        unheard = [f"{order.node} was not heard within {timeout_s:g} s"]
        left = unheard if found is None else unsettled(found, drained)
        drain = None if found is None else found.drain
        raw["drain"] = None if drain is None else drain.model_dump(mode="json")
        raw["left"] = left
        done = "is drained" if drained else "serves"
        text = f"{order.node} {done}" if not left else f"not yet: {'; '.join(left)}"
        context.output.data(raw, text + "\n")
        if left:
            raise typer.Exit(TIMED_OUT)
        return
    context.output.data(raw, f"{result}: {answer.text}\n")
    if not answer.accepted:
        raise typer.Exit(1)


async def _settled(client: Client, name: str, drained: bool, timeout_s: float) -> Node | None:
    """The node as it is when it has obeyed, or when the time is over."""
    last: Node | None = None
    subject = subjects.subject_for(e.NodeObserved, name=name)
    try:
        async with (
            asyncio.timeout(timeout_s),
            aclosing(client.connection.follow(Stream.INV, subject, last_values=True)) as items,
        ):
            async for item in items:
                message = read(item)
                if isinstance(message, e.NodeObserved):
                    last = message.node
                    if not unsettled(last, drained):
                        break
    except TimeoutError:
        pass
    return last


def unsettled(node: Node, drained: bool) -> list[str]:
    """What is still to be done until `node` is drained, or back; empty: nothing."""
    if (node.drain is not None) is not drained:
        return [f"{node.name} has not heard of it"]
    parts = [component for name, component in sorted(node.components.items()) if name != ITSELF]
    if drained:
        return [
            f"{part.component} has {part.instances} {'process' if part.instances == 1 else 'processes'} left"
            for part in parts
            if part.instances
        ]
    stuck = (ComponentState.STUCK, ComponentState.ABSENT)
    return [
        f"{part.component} does not serve" + (f" ({part.reason})" if part.reason else "")
        for part in parts
        if not part.instances and (part.root is not None or part.state not in stuck)
    ]
