"""A node with real processes, for every suite about what an executor does with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from support.real_node import RealNode


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[RealNode]:
    found = RealNode(tmp_path)
    await found.start()
    yield found
    await found.close()
