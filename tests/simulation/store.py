"""The state store of one owner, seen by one process: the fake that the tests of the shell use, with faults."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime
from typing import Any, TypeVar

from bumpless.common.engine.decision import Deadline
from bumpless.common.shell import clock
from bumpless.common.shell.state import Stored
from simulation.events import Saved
from simulation.life import Life
from simulation.loop import Signal, VirtualLoop
from support.memory_state import MemoryState, MemoryStore

T = TypeVar("T")
LOOK_AGAIN_S = 60.0
"""How often it is looked for what is due while no deadline changes: clocks may."""


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("expected a coroutine that never waits")


class SimStore(MemoryStore):
    """`changed`: a deadline may have."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self.changed = Signal(loop)

    def empty(self) -> None:
        super().empty()
        self.changed.set()


class SimState:
    """Implements `StateStore`."""

    def __init__(self, memory: SimStore, life: Life, owner: str, token: str) -> None:
        self._memory, self._life, self._owner = memory, life, owner
        # The lease runs out by the clock of the store.
        self._state = MemoryState(memory, token, life.world.now)

    def next_term(self, token: str) -> SimState:
        return SimState(self._memory, self._life, self._owner, token)

    async def _act(self, what: str, work: Any) -> Any:
        return await self._life.act(f"{what} {self._owner}", lambda: at_once(work()))

    async def _read(self, what: str, work: Any) -> Any:
        return await self._life.read(f"{what} {self._owner}", lambda: at_once(work()))

    async def _at_once(self, what: str, work: Any) -> bool:
        return bool(await self._life.at_once(f"{what} {self._owner}", lambda: at_once(work())))

    async def load(self, aggregate: str) -> Stored | None:
        found: Stored | None = await self._read("load", lambda: self._state.load(aggregate))
        return found

    async def save(self, aggregate: str, value: Stored, deadline: Deadline | None) -> None:
        def write() -> None:
            at_once(self._state.save(aggregate, value, deadline))
            self._memory.changed.set()
            self._life.world.happened(
                Saved(self._owner, aggregate, value, self._life.name),
                f"{self._life.name} saved {aggregate[:8]} version {value.version} revision {value.revision}"
                f" outbox {len(value.outbox)}",
            )

        await self._life.act(f"save {self._owner}", write)

    async def forget(self, aggregate: str) -> None:
        await self._act("forget", lambda: self._state.forget(aggregate))

    async def discard(self, aggregate: str) -> None:
        await self._act("discard", lambda: self._state.discard(aggregate))

    async def unpublished(self) -> list[str]:
        found: list[str] = await self._read("unpublished", self._state.unpublished)
        return found

    async def due(self, now: datetime) -> list[tuple[str, Deadline]]:
        """Returns once something is due: what it stands for asks four times a second."""
        while not self._life.dead:
            dues = [deadline.due for deadline in self._memory.deadlines.values()]
            wait = (min(dues) - clock.now()).total_seconds() if dues else LOOK_AGAIN_S
            if wait <= 0:
                break
            self._memory.changed.clear()
            await self._memory.changed.wait(min(wait + 0.01, LOOK_AGAIN_S))
        found: list[tuple[str, Deadline]] = await self._read("due", lambda: self._state.due(clock.now()))
        return found

    async def waiting(self) -> list[str]:
        found: list[str] = await self._read("waiting", self._state.waiting)
        return found

    async def acquire(self, ttl_s: float, ended: str | None = None) -> bool:
        return await self._at_once("acquire", lambda: self._state.acquire(ttl_s, ended))

    async def renew(self, ttl_s: float) -> bool:
        return await self._at_once("renew", lambda: self._state.renew(ttl_s))

    async def release(self) -> None:
        await self._act("release", self._state.release)

    async def known(self) -> bool:
        return await self._at_once("known", self._state.known)

    async def mark(self) -> None:
        await self._act("mark", self._state.mark)


def copy_of(memory: MemoryStore) -> MemoryStore:
    """As it is now, for a later restore."""
    return MemoryStore(
        values=dict(memory.values),
        deadlines=dict(memory.deadlines),
        unpublished=set(memory.unpublished),
        marked=memory.marked,
    )


def restore(memory: SimStore, copy: MemoryStore) -> None:
    """Let the store be what it was. Whoever held the lease has to take it again."""
    memory.values = dict(copy.values)
    memory.deadlines = dict(copy.deadlines)
    memory.unpublished = set(copy.unpublished)
    memory.lease, memory.marked = None, copy.marked
    memory.changed.set()
