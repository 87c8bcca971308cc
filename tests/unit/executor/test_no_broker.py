"""What an executor does that comes up before its broker: what it asks of a store in the broker waits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.errors import Retryable
from bumpless.common.shell.broker import Connection
from bumpless.executor import no_broker
from bumpless.executor.no_broker import LateBlobs, LateConnection


async def test_a_package_is_read_once_there_is_a_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(no_broker, "FIRST_WAIT_S", 0.01)
    store = DirectoryBlobs(tmp_path)
    digest = (await store.put(b"package")).digest
    tries = 0
    joined = cast(Connection, object())

    async def connect() -> Connection:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Retryable("the broker is away")
        return joined

    connection = LateConnection(connect)
    blobs = LateBlobs(
        connection, lambda found: store if found is joined else pytest.fail("another connection")
    )
    asked = [asyncio.create_task(blobs.get(digest, max_size=100)), asyncio.create_task(blobs.has(digest))]
    await asyncio.wait(asked, timeout=0.05)
    assert not any(task.done() for task in asked)
    await connection.join()
    assert await asyncio.wait_for(asyncio.gather(*asked), 10) == [b"package", True]
