"""One broker, dashboard and browser for everything about pages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from support.dashboard_lab import Dashboard, browser
from support.dashboard_room import Room
from support.servers import NatsServer


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    folder = tmp_path_factory.mktemp("dashboard")
    with NatsServer(folder / "nats") as nats:
        connection = await Connection.connect(nats.url, name="test")
        try:
            await ensure_topology(connection)
            with Dashboard(folder, nats.url) as dashboard:
                await dashboard.answers()
                async with browser() as chromium:
                    yield Room(nats, connection, dashboard, chromium)
        finally:
            await connection.close()


@pytest_asyncio.fixture(loop_scope="package")
async def room(shared: Room) -> AsyncIterator[Room]:
    """No page of an earlier test is open; no script of ours failed and the content security policy was never broken."""
    shared.faults.clear()
    yield shared
    await shared.close_pages()
    assert shared.faults == []
