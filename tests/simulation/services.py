"""The control plane: planner, rollback and health gate, their production handlers and runners, as processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.contract.base import Message
from bumpless.common.contract.subjects import Stream
from bumpless.common.engine.decision import Deadline
from bumpless.common.errors import Retryable
from bumpless.common.shell import clock, service
from bumpless.common.shell.places import Places
from bumpless.common.shell.relay import Relay
from bumpless.common.shell.rollouts import Plans, RolloutKind
from bumpless.common.shell.run import Runner
from bumpless.common.shell.service import Active
from bumpless.common.shell.service_manager import ServiceManager
from bumpless.common.shell.topology import Durable
from bumpless.common.shell.turn import Turn
from bumpless.health_gate.handlers import GateKind, HealthGate
from bumpless.health_gate.judge import Judgement
from bumpless.planner.availability import NodeOrders
from bumpless.planner.budget import Budget
from bumpless.planner.handlers import Planner
from bumpless.rollback.handlers import Rollbacker
from bumpless.service.contract import Contract
from simulation.broker import Broker, SimBlobs, SimConnection
from simulation.events import Began
from simulation.life import Life
from simulation.store import SimState, SimStore
from simulation.world import World

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"simulated deploy key 0123456789."))
RELEASE_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"simulated release key 012345678."))
TRUST = TrustStore.of(deploy=KEY.public, release=RELEASE_KEY.public)
LEASE_S = 50.0
"""Longer than in production, so that less is spent on renewing it; everything else waits in proportion."""
Judge = Callable[[Any], Judgement]


@dataclass
class Working:
    """A service while it holds the lease."""

    runner: Runner[Any]
    handlers: dict[Stream, Callable[[Any], Awaitable[None]]]
    on_deadline: Callable[[str, Deadline], Awaitable[None]]
    close: Callable[[], None] = lambda: None


class SimSources:
    """Where gates get their judgement: from what runs on the simulated nodes."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def judged(self, gate: Any, now: datetime) -> Judgement:
        return self._judge(gate)

    async def end(self, gate: str) -> None:
        """Nothing is kept for a gate."""


SAME_PLACE = 0.5
"""How often the next process of a service knows that the one before has ended."""


class _Subscribers:
    """In place of the broker with every subscriber: from its start to its stop messages are handled."""

    _connection = None
    """There is none that could be lost with them."""

    def __init__(self, service: Service, life: Life, working: Working) -> None:
        self._service, self._life, self._working = service, life, working

    async def start(self) -> None:
        self._service.working, self._life.recovering = self._working, False
        self._service.world.happened(
            Began(self._service.owner, self._life.born), f"{self._service.name} works"
        )

    async def stop(self) -> None:
        if not self._life.dead:
            self._service.world.say(f"{self._service.name} stands back")
            self._service.working = None

    async def close(self) -> None:
        self._working.close()


class Service:
    """One process of a service; it is started again when it was killed."""

    def __init__(
        self, world: World, broker: Broker, memory: SimStore, owner: str, name: str, judge: Judge
    ) -> None:
        self.world, self.broker, self.memory = world, broker, memory
        self.owner, self.name, self.judge = owner, name, judge
        self.skew = 0.0
        self.working: Working | None = None
        self._before: str | None = None
        self.life = self._born()

    def _born(self) -> Life:
        life = Life(self.world, self.name, "crash", lambda: self.skew, self._killed)
        life.task(self._run(life))
        return life

    def _killed(self) -> None:
        self.working = None
        self.world.say(f"{self.name} is killed")
        same_place = self.world.stream("place").random() < SAME_PLACE
        self._before = self.life.token if same_place else None
        pause = self.world.stream("restart").choice((0.2, 1.0, 15.0))
        self.world.loop.call_later(pause, self._again)

    def _again(self) -> None:
        if self.owner not in self.broker.gone:
            self.life = self._born()

    def leave(self) -> None:
        """For good."""
        self.broker.gone.add(self.owner)
        self.life.kill()

    def handle(self, durable: Durable, message: Message) -> asyncio.Task[None] | None:
        if self.working is None or self.life.dead:
            return None
        return self.life.task(self.working.handlers[durable.stream](message))

    async def _run(self, life: Life) -> None:
        """As `shell.service.run_service`, whose work while it leads is what runs here."""
        store = SimState(self.memory, life, self.owner, self._token(life))
        connection = SimConnection(self.broker, life)
        turn = Turn(Contract(managed=False), ServiceManager(None))  # nobody ends or pauses it
        before = self._before
        while True:
            with contextlib.suppress(Retryable):
                if await store.acquire(service.LEASE_S, before):
                    life.recovering = True
                    term, store = store, store.next_term(self._token(life))
                    await service._term(self.owner, connection, term, self._active, turn)  # type: ignore[arg-type]
            life.recovering = False
            await asyncio.sleep(service.LEASE_S / 3)

    def _token(self, life: Life) -> str:
        """As `shell.predecessor` makes them."""
        return f"{life.token}.{self.world.fresh_id()}"

    async def _active(self, connection: Any, store: Any, fenced: Callable[[], None]) -> Active:
        life = self.life
        working = await self._build(life, connection, store, fenced)
        subscribers: Any = _Subscribers(self, life, working)
        return Active(working.runner, subscribers, working.on_deadline, subscribers.close)

    async def _build(
        self, life: Life, connection: Any, store: SimState, fenced: Callable[[], None]
    ) -> Working:
        plans = Plans(SimBlobs(self.broker, life))  # type: ignore[arg-type]
        relay = Relay(
            connection, self.owner, key=KEY, plans=plans.get, trust=TRUST, places=Places(connection, plans)
        )
        now = lambda: clock.now()  # noqa: E731 - the clock is replaced while the simulation runs
        if self.owner == "health-gate":
            gates = Runner(GateKind(connection), store, relay, now, fenced)
            gate = HealthGate(gates, SimSources(self.judge), now)  # type: ignore[arg-type]
            return Working(gates, {Stream.RO: gate.command}, gate.on_deadline)
        if self.owner == "rollback":
            runner = Runner(RolloutKind("rollback", plans, connection), store, relay, now, fenced)
            forward = RolloutKind("planner", plans, connection)
            back = Rollbacker(connection, runner, forward, plans, relay)
            handlers = {Stream.RO: back.failed, Stream.OPS: back.operator, Stream.EVT: back.result}
            return Working(runner, handlers, runner.expire)
        budget = Budget(plans.known)
        runner = Runner(RolloutKind("planner", plans, connection), store, relay, now, fenced, budget)
        orders = NodeOrders(connection, KEY, TRUST)
        planner = Planner(connection, runner, plans, TRUST, None, orders, budget)  # type: ignore[arg-type]
        await planner.load()
        keeping = life.task(planner.keep())
        return Working(
            runner,
            {
                Stream.REL: planner.announced,
                Stream.OPS: planner.operator,
                Stream.EVT: planner.result,
                Stream.RO: planner.event,
            },
            runner.expire,
            lambda: keeping.cancel() and None,
        )
