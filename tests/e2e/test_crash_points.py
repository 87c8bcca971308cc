"""Rows of the crash matrix (docs/crash-matrix.md): killed at each transition in turn, or cut off, and the rollout ends right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from support.crash_lab import CrashLab
from support.crash_rows import Row, rows
from support.crash_run import NODES, install, run_row

pytestmark = pytest.mark.timeout(420)

CHOSEN = (
    "health-gate, succeeded: before publish",
    "health-gate and nats: silent, old connections for ever",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[CrashLab]:
    with CrashLab(NODES) as lab:
        asyncio.run(install(lab))
        yield lab


@pytest.mark.parametrize("row", [row for row in rows() if row.name in CHOSEN], ids=lambda row: row.name)
async def test_row(lab: CrashLab, row: Row) -> None:
    shown = await run_row(lab, row)
    assert not shown.failure, shown
    assert shown.hits or row.armed is None, "expected to be killed at a transition, found none"
