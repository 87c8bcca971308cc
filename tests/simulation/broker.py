"""The broker in memory, with what this house relies on: message ids, expected sequences, last values, redelivery."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Message, PlanHash
from bumpless.common.contract.envelope import Envelope
from bumpless.common.contract.subjects import ROUTES, Stream
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Plan
from bumpless.common.shell.broker import Headers, Received, StaleSequence
from bumpless.common.shell.topology import ALERTS_OPERATORS, DURABLES, PLANNER_RELEASES, Durable
from simulation.events import Appended
from simulation.world import World

LAST_ONLY = frozenset({Stream.CMD, Stream.INV})
SIMULATED = frozenset({"planner", "rollback", "health-gate"})
"""The services that are simulated; what others consume is not delivered."""
CONSUMERS = {stream: [d for d in DURABLES if d.name in SIMULATED and d.stream is stream] for stream in Stream}
HANGS_AT_MOST_S = 10.0
HANGS_S = {PLANNER_RELEASES: 60.0, ALERTS_OPERATORS: 90.0}
"""After so long a message is delivered again though its handler may still work: sooner than in truth, where handlers
say that they do."""
AGAIN_S = 1.0
LOOK_AGAIN_S = 2.0
"""How often a message asks whether somebody is there to handle it."""
COPIES_S = (0.0, 5.0, 40.0)
"""After how long a copy of a message comes, beyond its way."""
TRIES = 5
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
AMONG = "Nats-Expected-Last-Subject-Sequence-Subject"


def matches(pattern: str, subject: str) -> bool:
    wanted, found = pattern.split("."), subject.split(".")
    return len(wanted) == len(found) and all(w in ("*", f) for w, f in zip(wanted, found, strict=True))


@dataclass
class Log:
    """One stream."""

    sequence: int = 0
    items: dict[int, Received] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)


class Broker:
    """What all connections share. `handlers` finds who handles what a durable consumer delivers, None: nobody is up."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.logs = {stream: Log() for stream in Stream}
        self.plans: dict[str, bytes] = {}
        self.hear: dict[str, Callable[[Received], None]] = {}
        self.asked: list[Callable[[], None]] = []
        self.handlers: Callable[[Durable], Any] = lambda _: None
        self.parked: list[tuple[str, Message, str]] = []
        self._pending: Counter[str] = Counter()
        self.gone: set[str] = set()
        """Services that never come back."""
        self.messages: dict[int, Message] = {}

    @property
    def pending(self) -> int:
        """How many messages are not delivered to services that are there."""
        return sum(number for owner, number in self._pending.items() if owner not in self.gone)

    # storing ------------------------------------------------------------------------------------------

    def check(self, stream: Stream, subject: str, headers: Headers) -> None:
        expected, among = headers.get(EXPECTED), headers.get(AMONG, subject)
        if expected is None:
            return
        last = max((n for name, n in self.logs[stream].last.items() if matches(among, name)), default=0)
        if last != int(expected):
            raise StaleSequence(f"{subject}: expected to follow {expected}")

    def append(
        self,
        stream: Stream,
        subject: str,
        body: bytes,
        headers: Headers,
        by: str,
        known: Message | None = None,
    ) -> int:
        log = self.logs[stream]
        copy = log.ids.get(headers.get(wire.MSG_ID_HEADER, "")) if stream not in LAST_ONLY else None
        if copy is not None:
            return copy
        self.check(stream, subject, headers)
        log.sequence += 1
        number = log.sequence
        if stream in LAST_ONLY and subject in log.last:
            del log.items[log.last[subject]]
        item = Received(subject, body, number, dict(headers), self.world.now())
        log.items[number] = item
        log.last[subject] = number
        log.ids[headers.get(wire.MSG_ID_HEADER, "")] = number
        message = known or wire.decode(Envelope.from_bytes(body).payload if stream is Stream.CMD else body)
        if stream is Stream.INV:
            return number
        text = describe(message)
        self.world.happened(
            Appended(stream.value, subject, number, message, by), f"{by} -> {stream.value}:{number} {text}"
        )
        if stream is Stream.CMD:
            node = subject.split(".")[1]
            live = Received("live." + subject.partition(".")[2], body, 0, dict(headers))
            self._to_node(node, live)
        for durable in CONSUMERS[stream]:
            if any(matches(f, subject) for f in durable.filters):
                self._pending[durable.name] += 1
                self.world.loop.create_task(self._deliver(durable, message, text))
        return number

    def _to_node(self, node: str, live: Received) -> None:
        world = self.world
        times = (
            0
            if world.strikes("drop", f"{live.subject}")
            else 2
            if world.strikes("duplicate", live.subject)
            else 1
        )
        for number in range(times):
            copy = world.stream("copies").choice(COPIES_S) if number else 0.0
            world.loop.call_later(world.lag() + copy + world.late(live.subject), self._hear, node, live)

    def _hear(self, node: str, live: Received) -> None:
        if node in self.hear:
            self.hear[node](live)

    def ask_all(self) -> None:
        for ask in self.asked:
            if not self.world.strikes("drop", "report.all"):
                self.world.loop.call_later(self.world.lag(), ask)

    # delivering ---------------------------------------------------------------------------------------

    async def _deliver(self, durable: Durable, message: Message, text: str) -> None:
        """Until somebody has acknowledged it."""
        world, tries = self.world, 0
        await asyncio.sleep(world.lag() + world.late(f"{durable.name} {text}"))
        while True:
            handle = self.handlers(durable)
            if handle is None:
                await asyncio.sleep(LOOK_AGAIN_S + world.lag())
                continue
            outcome = await self._once(handle, durable, message)
            if outcome == "handled":
                if world.strikes("duplicate", f"to {durable.name} {text}"):
                    await asyncio.sleep(world.lag() + world.stream("copies").choice(COPIES_S))
                    continue
                self._pending[durable.name] -= 1
                return
            if outcome == "silent":
                world.say(f"not answered by {durable.name}: {text[:60]}")
            if outcome in ("again", "silent"):
                await asyncio.sleep(AGAIN_S + world.lag())
                continue
            tries += 1
            if tries >= TRIES:
                self.parked.append((durable.name, message, outcome))
                world.say(f"PARKED {durable.name} {text}: {outcome}")
                self._pending[durable.name] -= 1
                return
            await asyncio.sleep(AGAIN_S)

    async def _once(self, handle: Any, durable: Durable, message: Message) -> str:
        work = handle(message)
        done, _ = await asyncio.wait({work}, timeout=HANGS_S.get(durable, HANGS_AT_MOST_S))
        if not done:
            return "silent"
        if work.cancelled():
            return "silent"
        error = work.exception()
        if error is None:
            return "handled"
        if isinstance(error, Retryable):
            self.world.say(f"handed back by {durable.name}: {describe(message)[:60]}: {error}")
            return "again"
        return repr(error)

    # reading ------------------------------------------------------------------------------------------

    def read_last(self, stream: Stream, filters: str | Sequence[str]) -> list[Received]:
        wanted = [filters] if isinstance(filters, str) else list(filters)
        log = self.logs[stream]
        if all("*" not in pattern for pattern in wanted):
            numbers = {log.last[name] for name in wanted if name in log.last}
        else:
            numbers = {n for name, n in log.last.items() if any(matches(p, name) for p in wanted)}
        return [log.items[n] for n in sorted(numbers) if n in log.items]

    def read_all(self, stream: Stream, filters: str | Sequence[str]) -> list[Received]:
        wanted = [filters] if isinstance(filters, str) else list(filters)
        return [i for i in self.logs[stream].items.values() if any(matches(p, i.subject) for p in wanted)]


class SimConnection:
    """One service's or node's connection: the methods of `shell.broker.Connection` that this house uses."""

    def __init__(self, broker: Broker, life: Any) -> None:
        self._broker, self._life = broker, life

    async def publish(
        self, message: Message, *, source: str, expect_last: int | None = None, among: str | None = None
    ) -> int:
        route = ROUTES[type(message)]
        if route.stream is Stream.PROG:
            return 0
        if route.stream is Stream.CORE:
            await self._life.act("ask", self._broker.ask_all)
            return 0
        subject = subjects.subject_of(message)
        headers = wire.headers(message, source)
        if expect_last is not None:
            headers[EXPECTED] = str(expect_last)
        if among is not None:
            headers[AMONG] = among

        def store() -> int:
            return self._broker.append(
                route.stream, subject, wire.encode(message), headers, self._life.name, message
            )

        try:
            return int(await self._life.act(f"publish {wire.type_of(message)}", store))
        except StaleSequence:
            last = await self.last(route.stream, [subject])
            if last and last[-1].headers.get(wire.MSG_ID_HEADER) == message.id:
                return last[-1].sequence
            raise

    async def publish_batch(self, items: Sequence[tuple[str, bytes, Headers]]) -> None:
        def store() -> None:
            for subject, _, headers in items:
                self._broker.check(Stream.CMD, subject, headers)
            for subject, body, headers in items:
                self._broker.append(Stream.CMD, subject, body, headers, self._life.name)

        await self._life.act("publish commands", store)

    async def last(self, stream: Stream, filters: str | Sequence[str]) -> list[Received]:
        return list(await self._life.read("read", lambda: self._broker.read_last(stream, filters)))

    async def snapshot(
        self, stream: Stream, filters: str | Sequence[str], *, history: bool = False
    ) -> list[Received]:
        read = self._broker.read_all if history else self._broker.read_last
        return list(await self._life.read("read", lambda: read(stream, filters)))


class SimBlobs:
    """Plans, kept in the broker."""

    def __init__(self, broker: Broker, life: Any) -> None:
        self._broker, self._life = broker, life

    async def put(self, data: bytes) -> None:
        plan = Plan.from_stored(data)

        def store() -> None:
            self._broker.plans[PlanHash(plan.hash)] = data

        await self._life.act("put plan", store)

    async def get(self, digest: str, *, max_size: int) -> bytes:
        def read() -> bytes:
            if digest not in self._broker.plans:
                raise Retryable(f"no plan {digest}")
            return self._broker.plans[digest]

        return bytes(await self._life.read("get plan", read))


TOLD = (
    "rollout",
    "node",
    "component",
    "batch",
    "sequence",
    "version",
    "status",
    "outcome",
    "ok",
    "verdict",
    "accepted",
    "text",
    "reason",
    "name",
    "reasons",
    "of",
)


@functools.cache
def _told(kind: type[Message]) -> tuple[str, ...]:
    """Which fields the trace tells of messages of this kind."""
    return tuple(name for name in TOLD if name in kind.model_fields)


def describe(message: Message) -> str:
    """A message in one line of the trace."""
    said = [wire.type_of(message)]
    for name in _told(type(message)):
        value = getattr(message, name)
        if value is not None and value != "":
            text = str(value)
            said.append(f"{name}={text[:8] if name in ('rollout', 'of') else text[:100]}")
    notes = getattr(message, "notes", None)
    inputs = getattr(message, "inputs", None)
    if inputs:
        said.append("<-" + ",".join(str(i.message.get("type")) for i in inputs))
    if notes:
        said.append(f"notes={'; '.join(notes)[:160]}")
    return " ".join(said)
