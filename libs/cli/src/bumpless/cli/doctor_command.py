"""`doctor`: looks at a whole deployment, and says what is wrong and what to do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from bumpless.cli.context import Context
from bumpless.cli.doctor_checks import judged
from bumpless.cli.doctor_facts import State
from bumpless.cli.doctor_looking import Where, look
from bumpless.cli.output import records, table
from bumpless.common.access.redis_entry import RedisEntry
from bumpless.common.errors import Refused


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    ctx: typer.Context,
    redis: Annotated[
        str | None,
        typer.Option(
            help="The services' state store, where it is not the embedded one.", envvar="BUMPLESS_REDIS_URL"
        ),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Folder of the signing keys; the home directory's by default.")
    ] = None,
    ops: Annotated[
        list[str] | None,
        typer.Option(
            "--ops", help="NAME=URL of a process whose port is asked; all of an embedded control plane are."
        ),
    ] = None,
    broker_dir: Annotated[
        Path | None, typer.Option(help="The broker's directory, where it is on this machine.")
    ] = None,
    listen: Annotated[
        float,
        typer.Option(min=0, help="How many seconds nodes are listened to; they say something every 15."),
    ] = 16.0,
) -> int:
    """Look at the whole deployment: broker, state store, keys, services, nodes, clocks, parked messages, certificates.

    Exit code 1 where something is wrong; each finding says what was expected and what to do.

    Example: bumpless doctor

    Example: bumpless --nats tls://nats.site:4222 doctor --redis redis://redis.site:6379/0 --listen 0
    """
    context: Context = ctx.obj
    cluster = context.home.cluster() or {}
    own_broker = context.home.path / "nats"
    folder = keys or context.home.keys
    where = Where(
        entry=context.home.entry(context.nats),
        store=_store(context, redis),
        keys=folder,
        trust=folder / "trusted.json",
        health={**cluster.get("ops", {}), **dict(_pair(one) for one in ops or ())},
        broker_dir=broker_dir or (own_broker if own_broker.is_dir() else None),
        listen_s=listen,
    )
    findings = judged(asyncio.run(look(where)))
    columns = ["State", "Check", "Found", "Expected", "Do"]
    rows = [[one.state.value, one.check, one.found, one.expected, one.do] for one in findings]
    wrong = sum(one.state is State.WRONG for one in findings)
    context.output.data(records(columns, rows), table(columns, rows))
    context.output.say(f"{wrong} of {len(findings)} findings are wrong" if wrong else "nothing is wrong")
    return 1 if wrong else 0


def _store(context: Context, given: str | None) -> RedisEntry | None:
    try:
        return context.home.store(given)
    except Refused:
        return None


def _pair(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals or "://" not in url:
        raise Refused("NAME=URL after --ops, such as planner=http://10.0.0.1:9100", text)
    return name, url
