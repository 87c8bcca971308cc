"""What shells complete beside commands and options: ids of rollouts, as the broker knows them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from bumpless.common.access.entry import Entry
from bumpless.common.errors import ReleaseError

PATIENCE_S = 1.0
"""A person waits for each key; a broker that is away completes nothing."""
MOST = 30


def rollouts(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The latest rollouts whose id begins so, newest first, each with what it is."""
    from bumpless.cli.home import Home

    shared = ctx.find_root().params
    home, nats = shared.get("home"), shared.get("nats")
    try:
        broker = Home.find(None if home is None else Path(home)).entry(nats)
        return asyncio.run(_known(broker, incomplete))
    except (ReleaseError, OSError, TimeoutError, ValueError) as error:
        if "BUMPLESS_COMPLETION_DEBUG" in os.environ:
            typer.echo(f"no rollouts: {error}", err=True)
        return []


async def _known(broker: Entry, incomplete: str) -> list[tuple[str, str]]:
    from bumpless.cli.client import client
    from bumpless.common.shell.log import configure_logging

    configure_logging("cli", "critical")
    async with asyncio.timeout(2 * PATIENCE_S), client(broker, timeout_s=PATIENCE_S) as found:
        known = [r for r in reversed(await found.rollouts()) if r.rollout.startswith(incomplete)]
    return [(r.rollout, f"{r.product} {r.release_version} {r.direction} {r.status}") for r in known[:MOST]]


RolloutArg = Annotated[
    str | None,
    typer.Argument(
        help="A rollout's id, or the start of it; the latest by default.", autocompletion=rollouts
    ),
]
