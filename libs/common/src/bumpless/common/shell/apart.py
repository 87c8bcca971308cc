"""Long arithmetic beside the event loop: a lease has to be renewed while a plan of 10,000 nodes is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LARGE = 1_000
"""Nodes or messages from which on work goes to a thread."""


async def apart(size: int, work: Callable[[], T]) -> T:
    """What `work` gives. It is pure: where `size` is large, a thread does it."""
    return work() if size < LARGE else await asyncio.to_thread(work)
