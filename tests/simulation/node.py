"""A node of the fleet: the production machine of every component, run by an executor that may be killed at any moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from bumpless.common.contract.base import Digest
from bumpless.common.contract.commands import SetAvailability
from bumpless.common.contract.events import NodeObserved
from bumpless.common.contract.subjects import Stream, commands_last
from bumpless.common.errors import Broken, Refused, Retryable
from bumpless.common.model.fleet import ComponentState, Drain, Node
from bumpless.common.model.plan import Target
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Received
from bumpless.executor import component
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.handlers import Intake
from bumpless.executor.record import ComponentRecord, Instance
from simulation.broker import Broker, SimConnection
from simulation.events import Decided, Moved, Performing
from simulation.life import Life
from simulation.loop import Signal
from simulation.machine import Disk, Machine, Process
from simulation.services import TRUST
from simulation.steps import SimSteps
from simulation.world import World

HEARTBEAT_S = 25.0
READ_AGAIN_S = 45.0


class SimNode:
    """The machine, and the executor on it while one lives."""

    def __init__(self, world: World, broker: Broker, name: str, bad: Callable[[str, str], str]) -> None:
        self.world, self.broker, self.name, self.bad = world, broker, name, bad
        self.machine = Machine(name, lambda: world.clock, self._moved)
        self.executor: Executor | None = None
        self.skew = 0.0
        self.broken: list[str] = []
        self.old: Disk | None = None
        self.reset = 0
        """How often its disk was replaced by an older one."""
        self.set_back: dict[str, Digest | None] = {}
        """What that one brought back, by component."""
        broker.hear[name] = self._hear
        broker.asked.append(self._asked)

    def _moved(self, name: str, what: str) -> None:
        self.world.happened(Moved(self, name, what), f"{self.name}/{name} {what}")

    def install(self, running: Mapping[str, Target | None]) -> None:
        """What is there before the simulation begins."""
        for name, target in running.items():
            record = ComponentRecord(node=self.name, component=name)
            if target is not None:
                instance = Instance(id=f"first {self.name} {name}", target=target)
                self.machine.disk.trees[name] = frozenset({target.root})
                self.machine.disk.links[name] = (target.root, None)
                process = Process(instance.id, name, target, 1, 0.0, "working")
                self.machine.processes[instance.id] = process
                serving = instance.model_copy(update={"pid": 1})
                record = record.model_copy(
                    update={
                        "state": ComponentState.SERVING,
                        "rest": ComponentState.SERVING,
                        "current": target,
                        "serving": serving,
                        "lineage": (instance.id,),
                    }
                )
            self.machine.disk.records[name] = record

    def boot(self) -> None:
        self.machine.up = True
        self.executor = Executor(self)

    def executor_died(self) -> None:
        self.executor = None
        self.world.say(f"executor of {self.name} is killed")
        self.world.loop.call_later(self.world.stream("restart").choice((0.3, 2.0)), self._again)

    def _again(self) -> None:
        if self.machine.up and self.executor is None:
            self.boot()

    def lose_power(self, seconds: float, old_disk: bool = False) -> None:
        if not self.machine.up:
            return
        self.machine.lose_power()
        if self.executor is not None:
            self.executor.life.dead = True
            self.executor = None
        if old_disk and self.old is not None:
            self.machine.disk = self.old.copy()
            self.set_back = {name: roots[0] for name, roots in self.old.links.items()}
            self.reset += 1
        self.world.loop.call_later(seconds, self._again_up)

    def _again_up(self) -> None:
        self.machine.up = True
        self._again()

    def _hear(self, received: Received) -> None:
        if self.executor is not None:
            self.executor.take(received)

    def _asked(self) -> None:
        if self.executor is not None:
            self.executor.report(results=True)


class Executor:
    """One life of the executor."""

    def __init__(self, node: SimNode) -> None:
        self.node, self.world, self.machine = node, node.world, node.machine
        self.life = Life(node.world, f"executor-{node.name}", "executor-crash", lambda: node.skew, self._died)
        self._intake = Intake(node.name, TRUST)
        self._connection = SimConnection(node.broker, self.life)
        self.actors: dict[str, Actor] = {}
        self._changed = Signal(node.world.loop)
        self._started = False
        self.life.task(self._start())

    def _died(self) -> None:
        self.node.executor_died()

    def _now(self) -> datetime:
        return self.world.now() + timedelta(seconds=self.node.skew)

    @property
    def drain(self) -> Drain | None:
        word = self.machine.disk.word
        if word is None or not word.drained or (word.until is not None and word.until <= self._now()):
            return None
        return Drain(by=word.by, reason=word.reason, since=word.since, until=word.until)

    async def _start(self) -> None:
        self.life.recovering = True
        await self.life.reach("start")
        for name in sorted(self.machine.disk.records):
            self.actors[name] = Actor(self, name)
        known = {i.id for r in self.machine.disk.records.values() for i in r.instances}
        alive = {name: self._alive(name) for name in self.actors}
        for process in list(self.machine.processes.values()):
            if process.alive and process.instance not in known:
                self.machine.end(process.instance, "was killed: no journal knows it")
        for name, actor in self.actors.items():
            await actor.handle(heard.Observed(alive[name]))
            self.life.task(actor.run())
        self.life.recovering = False
        self._started = True
        self._availability()
        self.life.task(self._report())
        self.life.task(self._read())

    def _alive(self, name: str) -> tuple[Instance, ...]:
        found = []
        for instance in self.machine.disk.records[name].instances:
            process = self.machine.processes.get(instance.id)
            if process is not None and process.alive:
                found.append(instance.model_copy(update={"pid": process.pid}))
        return tuple(found)

    def take(self, received: Received) -> None:
        if not self._started:  # it listens once it knows its journals
            return
        try:
            command = self._intake.read(received)
        except Refused as error:
            self.node.broken.append(str(error))
            return
        if isinstance(command, SetAvailability):
            word = self.machine.disk.word
            if command.sequence > (word.sequence if word else 0):
                self.machine.disk.word = command
                self._availability()
                self.report()
            return
        actor = self.actors.get(command.component)
        if actor is None:
            self.machine.disk.records[command.component] = ComponentRecord(
                node=self.node.name, component=command.component
            )
            actor = self.actors[command.component] = Actor(self, command.component)
            self.life.task(actor.run())
            self._availability()
        actor.tell(heard.Commanded(command, live=received.sequence == 0))

    def _availability(self) -> None:
        drained = self.drain is not None
        for actor in self.actors.values():
            if drained or actor.record.out:  # to any other it is nothing new
                actor.tell(heard.Availability(drained))

    def report(self, *, results: bool = False) -> None:
        if results:
            for actor in self.actors.values():
                actor.tell(heard.Asked())
        self._changed.set()

    async def _read(self) -> None:
        """The standing commands, at the start and again and again."""
        while True:
            with contextlib.suppress(Retryable):
                for item in await self._connection.last(Stream.CMD, commands_last(self.node.name)):
                    self.take(item)
            await asyncio.sleep(READ_AGAIN_S * (0.7 + 0.6 * self.world.stream("read").random()))

    async def _report(self) -> None:
        """What is observed, and outboxes until they are acknowledged."""
        while True:
            self._changed.clear()
            wait = HEARTBEAT_S
            try:
                results = [(actor, said) for actor in self.actors.values() for said in actor.record.outbox]
                observed = NodeObserved(id=clock.fresh_id(), at=clock.now(), node=self._observe())
                await self._connection.publish(observed, source="executor")
                for actor, result in results:
                    if result in actor.record.outbox:
                        await self._connection.publish(result, source="executor")
                        actor.tell(heard.Acknowledged(result.id))
            except Retryable:
                wait = 1.0
            await self._changed.wait(wait)
            self._availability()

    def _observe(self) -> Node:
        trees = self.machine.disk.trees
        word = self.machine.disk.word
        return Node(
            name=self.node.name,
            address="10.0.0.1",
            components={
                name: actor.record.observed(tuple(sorted(trees.get(name, ()))))
                for name, actor in sorted(self.actors.items())
            },
            observed_at=clock.now(),
            drain=self.drain,
            ordered=word.sequence if word else 0,
        )


class Actor:
    """One component: decide, write the journal, perform. In that order."""

    def __init__(self, executor: Executor, name: str) -> None:
        self._executor, self._name = executor, name
        self._world, self._machine, self._life = executor.world, executor.machine, executor.life
        self._inputs: deque[heard.Input] = deque()
        self._more = asyncio.Event()
        self._watched: set[str] = set()
        self.steps = SimSteps(
            executor.world,
            executor.machine,
            executor.life,
            name,
            lambda: self.record,
            self.tell,
            executor.node.bad,
        )

    @property
    def record(self) -> ComponentRecord:
        return self._machine.disk.records[self._name]

    def tell(self, given: heard.Input) -> None:
        self._inputs.append(given)
        self._more.set()

    async def run(self) -> None:
        while True:
            while self._inputs:
                await self.handle(self._inputs.popleft())
            self._more.clear()
            await self._more.wait()

    async def handle(self, given: heard.Input) -> None:
        await self._life.reach(f"{self._name} hears {type(given).__name__}")
        before = self.record
        try:
            decision = component.decide(before, given, clock.now())
        except Broken as error:
            self._executor.node.broken.append(str(error))
            self._world.say(f"BROKEN {self._executor.node.name}: {error}")
            return
        if decision.state is not before:
            self._machine.disk.records[self._name] = decision.state
        if decision.state is not before or decision.effects:
            self._world.happened(
                Decided(self._executor.node, before, given, decision.state, decision.effects),
                f"{self._executor.node.name}/{self._name} {type(given).__name__}: {before.state} -> {decision.state.state}"
                f" {decision.state.number} {[type(x).__name__ for x in decision.effects]} {'; '.join(decision.notes)[:120]}",
            )
        for effect in decision.effects:
            if self._world.strikes(
                "executor-crash", f"{self._executor.node.name} before {type(effect).__name__}"
            ):
                self._life.kill()
                await asyncio.get_running_loop().create_future()
            match effect:
                case do.Report():
                    self._executor.report()
                case do.Progress():
                    pass
                case do.Park():
                    self._executor.node.broken.append(effect.reason)
                case _:
                    self._world.happened(
                        Performing(self._executor.node, self._name, effect),
                        f"{self._executor.node.name}/{self._name} does {type(effect).__name__}",
                    )
                    self.steps.perform(effect)
        self._watch()

    def _watch(self) -> None:
        if self.record.failing is not None:
            return
        for instance in self.record.instances:
            if instance.pid and instance.id not in self._watched:
                self._watched.add(instance.id)
                self._life.task(self._wait_for(instance))

    async def _wait_for(self, instance: Instance) -> None:
        process = self._machine.processes.get(instance.id)
        if process is not None and process.alive:
            await process.gone.wait()
        self._watched.discard(instance.id)
        reason = "exited" if process is None else process.reason
        lived = 0.0 if process is None else self._world.clock - process.born
        self.tell(heard.Died(instance, reason, lived))
