"""A state store of either kind, seen by two processes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from bumpless.common.shell.broker import Connection
from bumpless.common.shell.state import RedisState, StateStore
from bumpless.common.shell.topology import ensure_topology
from support.memory_state import MemoryState, MemoryStore


@dataclass(frozen=True)
class Stores:
    """`mine` and `other` are two processes of one owner; `empty` loses everything that was stored."""

    mine: StateStore
    other: StateStore
    foreign: StateStore
    empty: Callable[[], Awaitable[None]]


@pytest.fixture(params=["memory", "redis"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "memory":
        store = MemoryStore()

        async def empty() -> None:
            store.empty()

        yield Stores(
            MemoryState(store, "mine"), MemoryState(store, "other"), MemoryState(MemoryStore(), "mine"), empty
        )
        return
    url = request.getfixturevalue("redis_url")
    async with contextlib.AsyncExitStack() as stack:
        raw = Redis.from_url(url)
        stack.push_async_callback(raw.aclose)
        made = [RedisState(url, owner, token) for owner, token in (("a", "m"), ("a", "o"), ("b", "m"))]
        for state in made:
            stack.push_async_callback(state.close)

        async def flush() -> None:
            await raw.flushall()

        yield Stores(*made, flush)


@pytest.fixture
async def connection(nats_url: str) -> AsyncIterator[Connection]:
    """A connection to a broker with every stream."""
    found = await Connection.connect(nats_url, name="test")
    await ensure_topology(found)
    yield found
    await found.close()
