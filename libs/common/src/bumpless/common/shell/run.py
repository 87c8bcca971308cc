"""The one loop around every `decide`: load, decide, save with the outbox, publish, acknowledge.

Invariants: a message is acknowledged only after the state it led to is saved and everything that follows from it
is published; messages that wait for the same aggregate are decided together and saved once; a stale store is
noticed by the log, which is written by compare-and-set, and rebuilt from it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Generic, TypeVar

from bumpless.common.contract import wire
from bumpless.common.contract.base import Message
from bumpless.common.engine.decision import Deadline
from bumpless.common.errors import Broken, Retryable
from bumpless.common.shell import tracing
from bumpless.common.shell.broker import StaleSequence
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.deadlines import deadline_message
from bumpless.common.shell.kind import Kind, Outbound, Surroundings
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.state import Conflict, Fenced, StateStore, Stored
from bumpless.common.shell.taken import Taken
from bumpless.common.telemetry import DECISIONS, TRANSITIONS

log = get_logger(__name__)
S = TypeVar("S")

NOTES_LOGGED = 20
"""Of one decision, in the service's own log; all of them are in the log of the aggregate."""
STATES_KEPT = 32
"""In memory, as they were stored last; the one that was used longest ago goes first."""
MOST_TOGETHER = 1_000
"""Messages of one decision: all of them stand in one entry of the log, which the broker must take."""
TRIES = 5
"""Conflicts in a row after which a message is handed back; each means that somebody else made progress."""


@dataclass
class _Box:
    waiting: list[tuple[Message, asyncio.Future[None]]] = field(default_factory=list)
    worker: asyncio.Task[None] | None = None


class Runner(Generic[S]):
    """Handles messages for the aggregates of one kind, many aggregates at once, each in order."""

    def __init__(
        self,
        kind: Kind[S],
        store: StateStore,
        outbound: Outbound,
        clock: Clock,
        on_fenced: Callable[[], None] | None = None,
        surroundings: Surroundings[S] | None = None,
    ) -> None:
        self._surroundings = surroundings
        self._kind = kind
        self._store = store
        self._outbound = outbound
        self._clock = clock
        self._boxes: dict[str, _Box] = {}
        self._on_fenced = on_fenced
        self._read: OrderedDict[str, tuple[bytes, S]] = OrderedDict()
        """States as they were stored last, beside the bytes: reading a great one back costs more than deciding."""
        self._left: set[str] = set()
        """Given up while the store or the broker was away: there may be messages of them that did not leave."""
        self.statuses: dict[str, str] = {}
        """The state of what this process knows not to be at rest."""

    async def handle(self, aggregate: str, message: Message) -> None:
        """Return once `message` is decided, saved and its consequences are published.

        Raises:
            Taken: it is the first of an aggregate that cannot begin now; nothing is kept of it.
            Retryable: store or broker away; hand the message back and try again.
        """
        box = self._boxes.setdefault(aggregate, _Box())
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        box.waiting.append((message, done))
        if box.worker is None:
            box.worker = asyncio.create_task(self._work(aggregate, box))
        with tracing.decided(aggregate, message):
            await done

    async def drain(self, aggregate: str) -> S | None:
        """Publish what an earlier process saved and did not publish; its state, which the log has by now.

        Raises:
            Retryable: store or broker away, or the lease is lost.
        """
        try:
            return await self._handle_all(aggregate, [])
        except Fenced as fenced:
            raise self._lost(fenced) from fenced

    async def restore(self, aggregate: str) -> S | None:
        """Read an aggregate back from the log into an emptied store, and publish its last messages again.

        Raises:
            Retryable: store or broker away, or the lease is lost.
        """
        try:
            return await self._restore(aggregate)
        except Fenced as fenced:
            raise self._lost(fenced) from fenced

    async def _restore(self, aggregate: str) -> S | None:
        rebuilt = await self._kind.rebuild(aggregate)
        if rebuilt is None:
            return None
        found = await self._store.load(aggregate)
        if found is not None and found.version >= rebuilt.version:
            return rebuilt.state
        await self._outbound.send(rebuilt.messages)
        value = Stored(
            version=rebuilt.version,
            revision=(found.revision if found else 0) + 1,
            state=self._kind.dump(rebuilt.state),
            log_sequence=rebuilt.log_sequence,
        )
        try:
            await self._store.save(aggregate, value, self._kind.next_deadline(rebuilt.state))
        except Conflict:
            log.info("rebuilt by somebody else", aggregate=aggregate)
            return rebuilt.state
        if self._surroundings is not None:
            self._surroundings.decided(rebuilt.state)
        self._note(aggregate, rebuilt.state)
        log.info("rebuilt from the log", aggregate=aggregate, version=rebuilt.version)
        return rebuilt.state

    async def recover(self) -> None:
        """Fill an emptied store again with everything that the log does not show at rest."""
        for aggregate in await self._kind.unfinished():
            try:
                await self.restore(aggregate)
            except Broken as error:  # one unreadable log must not keep the others from going on
                log.error("cannot be rebuilt; it stays as it is", aggregate=aggregate, reason=str(error))

    async def count(self) -> None:
        """Find out in which states an earlier process left what is not at rest."""
        for aggregate in await self._store.waiting():
            if aggregate not in self.statuses:
                state = await self.peek(aggregate)
                if state is not None:
                    self._note(aggregate, state)

    def _note(self, aggregate: str, state: S) -> None:
        if self._kind.next_deadline(state) is None:
            self.statuses.pop(aggregate, None)
        else:
            self.statuses[aggregate] = self._kind.status(state)

    async def publish_left(self) -> None:
        """Publish whatever an earlier process saved and did not publish."""
        await self._drain_all(await self._store.unpublished())

    async def publish_again(self) -> None:
        """Publish what this process saved and could not publish: perhaps nobody hands in a message for it any more.

        Raises:
            Retryable: store or broker still away, or the lease is lost.
        """
        await self._drain_all(sorted(self._left))

    async def _drain_all(self, aggregates: Sequence[str]) -> None:
        for aggregate in aggregates:
            try:
                await self.drain(aggregate)
            except Broken as error:  # as in `recover`
                log.error("cannot be rebuilt; it stays as it is", aggregate=aggregate, reason=str(error))
            self._left.discard(aggregate)

    async def expire(self, aggregate: str, deadline: Deadline) -> None:
        """Tell an aggregate that its deadline is reached."""
        await self.handle(aggregate, deadline_message(aggregate, deadline))

    async def peek(self, aggregate: str) -> S | None:
        """The state as it is stored now."""
        stored = await self._store.load(aggregate)
        return None if stored is None else await self._kind.load(stored.state)

    async def look(self, aggregate: str) -> S | None:
        """As `peek`, and out of the log where the store has lost it.

        Raises:
            Retryable: store or broker away, or the lease is lost.
            Broken: its log cannot be read.
        """
        found = await self.peek(aggregate)
        return await self.restore(aggregate) if found is None else found

    async def unfinished(self) -> list[S]:
        """What store or log do not show at rest: either may be behind. What is saved of them is said first.

        Raises:
            Retryable: store or broker away, or the lease is lost.
        """
        found: list[S] = []
        for aggregate in sorted({*await self._store.waiting(), *await self._kind.unfinished()}):
            try:
                await self.drain(aggregate)
                state = await self.look(aggregate)
            except Broken as error:  # as in `recover`
                log.error("cannot be rebuilt; it stays as it is", aggregate=aggregate, reason=str(error))
                continue
            if state is not None:
                found.append(state)
        return found

    async def _work(self, aggregate: str, box: _Box) -> None:
        while box.waiting:
            taken, box.waiting = box.waiting[:MOST_TOGETHER], box.waiting[MOST_TOGETHER:]
            error = await self._try(aggregate, [message for message, _ in taken])
            if error is not None and not isinstance(error, Retryable) and len(taken) > 1:
                # One of them is at fault; the others must not be parked with it.
                for message, done in taken:
                    _settle(done, await self._try(aggregate, [message]))
                continue
            for _, done in taken:
                _settle(done, error)
        box.worker = None
        if not box.waiting:
            self._boxes.pop(aggregate, None)

    async def _try(self, aggregate: str, messages: list[Message]) -> BaseException | None:
        try:
            await self._handle_all(aggregate, messages)
        except Fenced as fenced:
            return self._lost(fenced)
        except BaseException as failure:  # noqa: BLE001 - carried to every caller that waits
            return failure
        return None

    def _lost(self, fenced: Fenced) -> Retryable:
        if self._on_fenced is not None:
            self._on_fenced()
        return Retryable(f"the lease is lost: {fenced}")

    async def _handle_all(self, aggregate: str, messages: list[Message]) -> S | None:
        try:
            return await self._attempts(aggregate, messages)
        except (Retryable, Fenced):  # the lease may be taken again before anybody else has it
            self._left.add(aggregate)
            raise

    async def _attempts(self, aggregate: str, messages: list[Message]) -> S | None:
        for _ in range(TRIES):
            try:
                return await self._once(aggregate, messages)
            except Conflict:
                continue
            except StaleSequence:
                log.warning("the store is behind the log; rebuilding", aggregate=aggregate)
                await self._store.forget(aggregate)
                await self._restore(aggregate)
        raise Retryable(f"{aggregate}: {TRIES} conflicts in a row")

    async def _once(self, aggregate: str, messages: list[Message]) -> S | None:
        stored = await self._store.load(aggregate)
        if stored is None and await self._restore(aggregate) is not None:
            stored = await self._store.load(aggregate)
        if stored is not None and stored.outbox:
            stored = await self._said(aggregate, stored)
        before = None if stored is None else await self._state(aggregate, stored.state)
        now = self._clock()
        state: S | None = before
        out: list[Message] = []
        notes: list[str] = []
        if messages and self._surroundings is not None:
            messages = self._informed(self._surroundings, before, messages, now)
        if messages:
            decision = self._kind.decide_all(before, messages, now)
            state = decision.state
            DECISIONS.labels(self._kind.owner).inc()
            out.extend(decision.messages)
            notes.extend(decision.notes)
            log.info(
                "decided",
                aggregate=aggregate,
                inputs=dict(Counter(type(message).__name__ for message in messages)),
                cause=messages[-1].id,
                status=None if state is None else self._kind.status(state),
                notes=notes[:NOTES_LOGGED],
            )
            if state is not None and self._surroundings is not None:
                self._surroundings.decided(state)
        if state is None or (state is before and not out):
            await self._outbound.send(out)
            return state
        if state is not before:
            out.extend(self._kind.told(state, messages[-1], now))
        version = (stored.version if stored else 0) + 1
        entry = self._kind.logged(aggregate, version, before, state, messages, tuple(notes), now)
        outbox = ([entry] if entry else []) + out
        value = Stored(
            version=version,
            revision=(stored.revision if stored else 0) + 1,
            state=self._kind.dump(state),
            outbox=tuple(wire.encode(m) for m in outbox),
            log_sequence=stored.log_sequence if stored else 0,
        )
        await self._store.save(aggregate, value, self._kind.next_deadline(state))
        self._note(aggregate, state)
        if before is None or self._kind.status(before) != self._kind.status(state):
            TRANSITIONS.labels(self._kind.owner, self._kind.status(state)).inc()
        self._keep(aggregate, value.state, state)
        try:
            await self._flush(aggregate, value, outbox)
        except Taken:
            await self._never_was(aggregate)
            raise
        return state

    async def _said(self, aggregate: str, stored: Stored) -> Stored | None:
        """Publish what was left of it. None: it was to begin, and others have begun meanwhile: whoever asks asks again."""
        try:
            return await self._flush(aggregate, stored)
        except Taken as taken:
            log.info("could not begin", aggregate=aggregate, reason=str(taken))
            await self._never_was(aggregate)
            return None

    async def _never_was(self, aggregate: str) -> None:
        await self._store.discard(aggregate)
        self._read.pop(aggregate, None)
        self.statuses.pop(aggregate, None)
        if self._surroundings is not None:
            self._surroundings.never_was(aggregate)

    async def _state(self, aggregate: str, data: bytes) -> S:
        known = self._read.get(aggregate)
        if known is None or known[0] != data:
            return self._keep(aggregate, data, await self._kind.load(data))
        return known[1]

    def _keep(self, aggregate: str, data: bytes, state: S) -> S:
        self._read[aggregate] = (data, state)
        self._read.move_to_end(aggregate)
        if len(self._read) > STATES_KEPT:
            self._read.popitem(last=False)
        return state

    @staticmethod
    def _informed(
        around: Surroundings[S], before: S | None, messages: list[Message], now: datetime
    ) -> list[Message]:
        if before is None:
            return [around.opening(messages[0]), *messages[1:]]
        # One that waited for its turn may say what was so before somebody else decided.
        others = [message for message in messages if not around.is_news(message)]
        news = around.news(before, now)
        return others if news is None else [news, *others]

    async def _flush(self, aggregate: str, value: Stored, messages: list[Message] | None = None) -> Stored:
        """Publish the outbox; `messages` are what it holds, where that is known."""
        if messages is None:
            messages = [wire.decode(data) for data in value.outbox]
        sequence = value.log_sequence
        if messages and self._is_log(messages[0]):
            sequence = await self._outbound.log(
                messages[0], sequence, lambda: self._is_saved(aggregate, value)
            )
            messages = messages[1:]
        await self._outbound.send(messages)
        state = await self._state(aggregate, value.state)
        flushed = replace(value, revision=value.revision + 1, outbox=(), log_sequence=sequence)
        await self._store.save(aggregate, flushed, self._kind.next_deadline(state))
        return flushed

    async def _is_saved(self, aggregate: str, value: Stored) -> None:
        """A process that was paused long enough may hold what another has given up meanwhile. Raises: Conflict."""
        found = await self._store.load(aggregate)
        if found is None or found.revision != value.revision:
            raise Conflict(aggregate)

    @staticmethod
    def _is_log(message: Message) -> bool:
        return wire.type_of(message) == "rollout-advanced"


def _settle(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
