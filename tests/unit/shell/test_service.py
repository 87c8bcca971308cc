"""The right to work is kept while something takes longer than it lasts."""

from __future__ import annotations

import pytest

from bumpless.common.shell import service
from bumpless.common.shell.service import Lease
from support.memory_state import MemoryState, MemoryStore
from support.waiting import comes_true


async def test_a_lease_is_renewed_while_a_log_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LEASE_S", 0.5)
    lease = Lease(MemoryState(MemoryStore(), "mine"))
    await comes_true(lambda: lease.ran_out, "the lease to run out where nobody renews it")
    async with lease.kept():
        await comes_true(lambda: not lease.ran_out, "it to be renewed")


async def test_a_lease_that_another_process_has_is_not_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LEASE_S", 0.5)
    store = MemoryStore()
    assert await MemoryState(store, "other").acquire(600)
    lease = Lease(MemoryState(store, "mine"))
    async with lease.kept():
        await comes_true(lambda: lease.ran_out, "the lease to run out")
    assert not await lease.renew()
