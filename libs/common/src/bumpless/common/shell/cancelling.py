"""Cancellation that gets lost: a task that is cancelled while the answer that it waits for has just come goes on.

`asyncio.wait_for` of Python 3.11 returns the answer then, and the NATS client waits with it everywhere.
"""

from __future__ import annotations

import asyncio


def end_if_cancelled() -> None:
    """For loops around such calls. Raises: CancelledError, where the task was told to end and goes on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel again and again until it is over."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)
