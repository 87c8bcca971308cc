"""The right to work is kept while something takes longer than it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import pytest
from redis.asyncio import Redis

from bumpless.common.errors import Refused, Retryable
from bumpless.common.settings import BrokerSettings
from bumpless.common.shell import service
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.deployment import Weakness
from bumpless.common.shell.service import Active, Lease, run_service
from bumpless.common.shell.state import RedisState
from bumpless.common.shell.topology import ensure_topology
from support.memory_state import MemoryState, MemoryStore
from support.waiting import comes_true


async def test_a_lease_is_renewed_while_a_log_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LEASE_S", 3.0)
    store = MemoryStore()
    mine = MemoryState(store, "mine")
    assert await mine.acquire(3.0)
    lease, taken = Lease(mine), store.lease
    async with lease.kept():
        await comes_true(lambda: store.lease != taken, "it to be renewed")
    assert not lease.ran_out


async def test_a_lease_that_was_lost_is_not_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LEASE_S", 0.5)
    store = MemoryStore()
    lease = Lease(MemoryState(store, "mine"))
    async with lease.kept():
        await comes_true(lambda: lease.ran_out, "the lease to run out")
    assert not await lease.renew()
    assert await MemoryState(store, "other").acquire(600)


async def test_a_process_that_stands_by_works_soon_after_the_other_is_gone(
    nats_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LEASE_S", 3600.0)  # what waits for a part of it is not seen again
    other, asked, working = RedisState(redis_url, "tried", "other"), asyncio.Event(), asyncio.Event()
    assert await other.acquire(3600)

    class Watched(RedisState):
        async def acquire(self, ttl_s: float, ended: str | None = None) -> bool:
            found = await super().acquire(ttl_s, ended)
            asked.set()
            return found

    async def build(*_: object) -> Active:
        working.set()
        raise Retryable("that was all")

    monkeypatch.setattr(service, "RedisState", Watched)
    settings = BrokerSettings(nats_url=nats_url, redis_url=redis_url)
    keeper = await Connection.connect(nats_url, name="keeper")
    await ensure_topology(keeper)
    await keeper.close()
    running = asyncio.create_task(run_service("tried", settings, build))
    try:
        async with asyncio.timeout(60):
            await asked.wait()
            assert not working.is_set()
            await other.release()
            await working.wait()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await other.close()


async def test_a_store_that_loses_what_it_said_it_has_is_refused_unless_asked_for(
    nats_url: str, redis_url: str
) -> None:
    keeper = await Connection.connect(nats_url, name="keeper")
    await ensure_topology(keeper)
    await keeper.close()
    async with Redis.from_url(redis_url) as people:
        await people.config_set("appendonly", "no")
    working = asyncio.Event()

    async def build(*_: object) -> Active:
        working.set()
        raise Retryable("that was all")

    settings = BrokerSettings(nats_url=nats_url, redis_url=redis_url)
    with pytest.raises(Refused, match=r"append-only file.*volatile-redis"):
        await asyncio.wait_for(run_service("tried", settings, build), 60)
    assert not working.is_set()
    accepted = settings.model_copy(update={"accept": frozenset({Weakness.VOLATILE_REDIS})})
    running = asyncio.create_task(run_service("tried", accepted, build))
    await asyncio.wait_for(working.wait(), 60)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(running, 60)
