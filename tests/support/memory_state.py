"""The state store in memory: the same port as Redis, several processes sharing one `MemoryStore`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bumpless.common.engine.decision import Deadline
from bumpless.common.shell import clock
from bumpless.common.shell.state import Conflict, Fenced, Stored, may_take


@dataclass
class MemoryStore:
    """What all processes of one owner share."""

    values: dict[str, Stored] = field(default_factory=dict)
    deadlines: dict[str, Deadline] = field(default_factory=dict)
    unpublished: set[str] = field(default_factory=set)
    lease: tuple[str, datetime] | None = None
    marked: bool = False

    def empty(self) -> None:
        self.values.clear()
        self.deadlines.clear()
        self.unpublished.clear()
        self.lease, self.marked = None, False


class MemoryState:
    """One process's view of a `MemoryStore`; `token` names the process in the lease."""

    def __init__(self, store: MemoryStore, token: str, now: Callable[[], datetime] = clock.now) -> None:
        self._store, self._token, self._now = store, token, now

    def next_term(self, token: str) -> MemoryState:
        return MemoryState(self._store, token, self._now)

    def _holder(self) -> str | None:
        lease = self._store.lease
        return lease[0] if lease is not None and lease[1] > self._now() else None

    def _fence(self, aggregate: str) -> None:
        if self._holder() != self._token:
            raise Fenced(aggregate)

    async def load(self, aggregate: str) -> Stored | None:
        return self._store.values.get(aggregate)

    async def save(self, aggregate: str, value: Stored, deadline: Deadline | None) -> None:
        self._fence(aggregate)
        found = self._store.values.get(aggregate)
        if (0 if found is None else found.revision) != value.revision - 1:
            raise Conflict(aggregate)
        self._store.values[aggregate] = value
        if value.outbox:
            self._store.unpublished.add(aggregate)
        else:
            self._store.unpublished.discard(aggregate)
        if deadline is None:
            self._store.deadlines.pop(aggregate, None)
        else:
            due = deadline.due.replace(microsecond=deadline.due.microsecond // 1000 * 1000)
            self._store.deadlines[aggregate] = Deadline(deadline.name, due)

    async def forget(self, aggregate: str) -> None:
        self._fence(aggregate)
        self._store.values.pop(aggregate, None)

    async def discard(self, aggregate: str) -> None:
        self._fence(aggregate)
        self._store.values.pop(aggregate, None)
        self._store.unpublished.discard(aggregate)
        self._store.deadlines.pop(aggregate, None)

    async def unpublished(self) -> list[str]:
        return sorted(self._store.unpublished)

    async def due(self, now: datetime) -> list[tuple[str, Deadline]]:
        found = [(name, deadline) for name, deadline in self._store.deadlines.items() if deadline.due <= now]
        return sorted(found, key=lambda row: (row[1].due, row[0]))

    async def waiting(self) -> list[str]:
        return sorted(self._store.deadlines, key=lambda name: (self._store.deadlines[name].due, name))

    async def acquire(self, ttl_s: float, ended: str | None = None) -> bool:
        holder = self._holder()
        if not may_take(self._token, holder, ended):
            return False
        if holder != self._token:
            self._store.marked = False
        self._store.lease = (self._token, self._now() + timedelta(seconds=ttl_s))
        return True

    async def renew(self, ttl_s: float) -> bool:
        return self._holder() == self._token and await self.acquire(ttl_s)

    async def release(self) -> None:
        if self._holder() == self._token:
            self._store.lease = None

    async def known(self) -> bool:
        return self._store.marked

    async def mark(self) -> None:
        self._store.marked = True
