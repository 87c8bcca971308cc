"""Waiting for something that will come about by itself, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT_S = 60.0


async def eventually(
    read: Callable[[], Awaitable[T]], until: Callable[[T], object], what: str, limit_s: float = LIMIT_S
) -> T:
    """Read again and again until `until` holds for what was read.

    Raises:
        AssertionError: it did not within `limit_s`; says what was expected and what was last read.
    """
    deadline = asyncio.get_running_loop().time() + limit_s
    while True:
        found = await read()
        if until(found):
            return found
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"expected {what} within {limit_s:g} s, last found {found!r}")
        await asyncio.sleep(0.02)


async def comes_true(holds: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
    """Look again and again until `holds`. Raises: AssertionError, if it does not within `limit_s`."""
    deadline = asyncio.get_running_loop().time() + limit_s
    while not holds():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"expected {what} within {limit_s:g} s")
        await asyncio.sleep(0.02)
