"""The one place where time becomes a message: looks for due deadlines and hands each to its aggregate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bumpless.common.contract.base import derive_id
from bumpless.common.contract.events import DeadlineReached
from bumpless.common.engine.decision import Deadline
from bumpless.common.errors import Retryable
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.state import StateStore

log = get_logger(__name__)


def deadline_message(aggregate: str, deadline: Deadline) -> DeadlineReached:
    """The message for a deadline; the same deadline gives the same id."""
    return DeadlineReached(
        id=derive_id(aggregate, "deadline", deadline.name, deadline.due.isoformat()),
        at=deadline.due,
        aggregate=aggregate,
        name=deadline.name,
        due=deadline.due,
    )


async def watch_deadlines(
    store: StateStore,
    fire: Callable[[str, Deadline], Awaitable[None]],
    clock: Clock,
    tick_s: float = 0.25,
) -> None:
    """For ever: fire what is due, at most once at a time per aggregate; a failure is tried again at the next tick."""
    running: dict[str, asyncio.Task[None]] = {}

    async def one(aggregate: str, deadline: Deadline) -> None:
        try:
            await fire(aggregate, deadline)
        except Retryable as error:
            log.warning(
                "deadline not handled yet", aggregate=aggregate, deadline=deadline.name, reason=str(error)
            )
        except Exception:
            log.exception("deadline failed", aggregate=aggregate, deadline=deadline.name)

    while True:
        try:
            for aggregate, deadline in await store.due(clock()):
                if aggregate not in running or running[aggregate].done():
                    running[aggregate] = asyncio.create_task(one(aggregate, deadline))
        except Retryable as error:
            log.warning("deadlines cannot be read", reason=str(error))
        await asyncio.sleep(tick_s)
