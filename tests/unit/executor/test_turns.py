"""Stagings go before checks, and checks go one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from bumpless.common.artifacts.stores.blobs import describe
from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.errors import Refused
from bumpless.executor.drivers.turns import Turns

LONG_S, PATIENCE_S = 60.0, 10.0
DATA = b"a package"
DIGEST = describe(DATA).digest


class Held(DirectoryBlobs):
    """Gives one byte, and no more before `gate` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.write(DATA)
        self.gate, self.asked = asyncio.Event(), asyncio.Event()

    async def read(self, digest: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        yield DATA[start : start + 1]
        self.asked.set()
        await self.gate.wait()
        yield DATA[start + 1 :]


@pytest.fixture
def store(tmp_path: Path) -> Held:
    return Held(tmp_path / "store")


async def fetch(turns: Turns, store: Held, into: Path, timeout_s: float = LONG_S) -> int:
    async with turns.check(store, timeout_s) as limited:
        return await limited.fetch(DIGEST, into, size=len(DATA))


async def ended(task: asyncio.Task[int]) -> str:
    with pytest.raises(Refused) as refused:
        await asyncio.wait_for(task, PATIENCE_S)
    return str(refused.value)


async def test_a_check_that_fetches_ends_when_a_staging_comes(store: Held, tmp_path: Path) -> None:
    turns = Turns()
    check = asyncio.create_task(fetch(turns, store, tmp_path / "blob"))
    await store.asked.wait()
    async with asyncio.timeout(PATIENCE_S), turns.staging():
        assert "no rollout at work" in await ended(check)
    store.gate.set()
    assert await fetch(turns, store, tmp_path / "blob") == len(DATA) - 1, "what had arrived was not kept"


async def test_a_check_that_unpacks_is_waited_for_and_may_fetch_no_more(store: Held, tmp_path: Path) -> None:
    turns, entered = Turns(), asyncio.Event()
    store.gate.set()

    async def stage() -> None:
        async with turns.staging():
            entered.set()

    async with turns.check(store, LONG_S) as limited:
        assert await limited.get(DIGEST, max_size=100) == DATA
        staging = asyncio.create_task(stage())
        await asyncio.sleep(0)
        assert not entered.is_set()
        with pytest.raises(Refused, match="no rollout at work"):
            await limited.fetch(DIGEST, tmp_path / "blob", size=len(DATA))
        assert not entered.is_set()
    await asyncio.wait_for(staging, PATIENCE_S)
    assert entered.is_set()


async def test_no_check_begins_while_anything_is_staged(store: Held, tmp_path: Path) -> None:
    turns = Turns()
    store.gate.set()
    async with turns.staging(), turns.staging():
        late = asyncio.create_task(fetch(turns, store, tmp_path / "blob", timeout_s=0.05))
        assert "a turn within 0.05 s" in await ended(late)
        waiting = asyncio.create_task(fetch(turns, store, tmp_path / "blob"))
        await asyncio.sleep(0)
        assert not store.asked.is_set()
    assert await asyncio.wait_for(waiting, PATIENCE_S) == len(DATA)


async def test_checks_go_one_by_one(store: Held, tmp_path: Path) -> None:
    turns = Turns()
    first = asyncio.create_task(fetch(turns, store, tmp_path / "first"))
    await store.asked.wait()
    store.asked.clear()
    second = asyncio.create_task(fetch(turns, store, tmp_path / "second"))
    assert "a turn within" in await ended(
        asyncio.create_task(fetch(turns, store, tmp_path / "late", timeout_s=0.05))
    )
    assert not store.asked.is_set()
    store.gate.set()
    assert await asyncio.wait_for(asyncio.gather(first, second), PATIENCE_S) == [len(DATA)] * 2


async def test_a_check_stops_fetching_when_nobody_waits_any_more(store: Held, tmp_path: Path) -> None:
    turns = Turns()
    said = await ended(asyncio.create_task(fetch(turns, store, tmp_path / "blob", timeout_s=0.05)))
    assert "part of it, which is kept for a day" in said
    assert (tmp_path / "blob.part").read_bytes() == DATA[:1]
