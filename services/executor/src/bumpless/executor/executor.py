"""One node: its components, what it hears and what it says. Everything it touches comes in as a port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import TrustStore
from bumpless.common.contract import subjects
from bumpless.common.contract.commands import FaultAnswer, InjectFault, SetAvailability
from bumpless.common.contract.events import StepProgressed
from bumpless.common.contract.stage_check import StageCheck, StageChecked
from bumpless.common.errors import Refused, ReleaseError
from bumpless.common.model.fleet import Node
from bumpless.common.model.plan import Target
from bumpless.common.model.release import ITSELF
from bumpless.common.shell import clock, tracing
from bumpless.common.shell.broker import Received
from bumpless.common.shell.log import get_logger
from bumpless.executor import inputs as heard
from bumpless.executor import resources, rivals, telemetry
from bumpless.executor.actor import ComponentActor
from bumpless.executor.availability import Availability
from bumpless.executor.drivers.drill import DrilledSource, DrilledSwitch, Drills
from bumpless.executor.facts import FactBook
from bumpless.executor.handlers import Intake
from bumpless.executor.journal import Journal
from bumpless.executor.layout import Layout, free_bytes
from bumpless.executor.metrics import Sampler
from bumpless.executor.ports import ArtifactSource, ProcessSwitch, Reports
from bumpless.executor.prober import Prober
from bumpless.executor.record import Command, ComponentRecord
from bumpless.executor.reporter import Reporter
from bumpless.executor.reserve import Reserve
from bumpless.executor.tree_watch import TreeWatch

log = get_logger(__name__)

TIDY_S = 30.0


@dataclass(frozen=True)
class NodeConfig:
    """Who this node is and where its things lie. `identity` and `executor` are told with the inventory, see `rivals`."""

    node: str
    address: str
    data_dir: Path
    labels: Mapping[str, str] = field(default_factory=dict)
    drills: bool = False
    heartbeat_s: float = 15.0
    identity: str = ""
    executor: str = ""

    @property
    def components_dir(self) -> Path:
        return self.data_dir / "components"

    @property
    def run_dir(self) -> Path:
        return self.data_dir / "run"

    @property
    def checks_dir(self) -> Path:
        return self.data_dir / "checks"


class Executor:
    """Owns what runs on the node. `start`, then `take` what arrives, then `close`.

    `fault` is done when the executor cannot go on; a new one finds everything in the journals.
    """

    def __init__(
        self,
        config: NodeConfig,
        trust: TrustStore,
        switch: ProcessSwitch,
        source: ArtifactSource,
        reports: Reports,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._config, self._now = config, now
        self._drills = Drills()
        self._switch: ProcessSwitch = DrilledSwitch(switch, self._drills) if config.drills else switch
        self._source: ArtifactSource = DrilledSource(source, self._drills) if config.drills else source
        self._reports = reports
        self._intake = Intake(config.node, trust)
        self._actors: dict[str, ComponentActor] = {}
        self._reporter = Reporter(reports, self._actors.values, self.observe, now, config.heartbeat_s)
        self._tasks: list[asyncio.Task[None]] = []
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lock = -1
        self._reserve = Reserve(config.data_dir / "reserve")
        self._availability = Availability(config.data_dir / "availability.json", now)
        self._told_availability = asyncio.Event()
        self._samplers: dict[str, Sampler] = {}
        self._trees = TreeWatch(self._source, self._actors.values, self._reporter.report)
        self._facts = FactBook(
            config.data_dir,
            config.address,
            config.node,
            self._targets,
            self._item_calls,
            lambda: self._trees.changed,
        )

    async def start(self) -> None:
        """Read every journal, take over what is alive, go on where the last executor stopped.

        Raises:
            Refused: another executor works in the data directory, or a journal cannot be read.
        """
        self._lock = rivals.lock(self._config.data_dir, self._config.node)
        await asyncio.to_thread(self._reserve.fill)
        shutil.rmtree(self._config.checks_dir, ignore_errors=True)
        self._availability.load()
        self._config.components_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for home in sorted(self._config.components_dir.iterdir()):
            self._add(home.name)
        actors = tuple(self._actors.values())
        alive = [await actor.look() for actor in actors]
        lost = await self._switch.reap([i.id for a in actors for i in a.record.instances])
        if lost:
            log.warning("killed processes no journal knows", instances=lost)
        for actor, found in zip(actors, alive, strict=True):
            await actor.recover(found)
            self._keep(actor.run())
            self._sample(actor)
        self._keep(self._mind_availability())
        self._keep(self._reporter.run())
        self._keep(self._tidy())
        self._keep(self._trees.run())

    async def take(self, received: Received) -> None:
        """A command as it came from the broker, live or as the last value. Refused ones are parked."""
        try:
            command = self._intake.read(received)
        except Refused as error:
            self._park(received, str(error))
            return
        if isinstance(command, SetAvailability):
            await self._set(command)
            return
        actor = self._actors.get(command.component)
        if actor is None:
            try:
                actor = self._add(command.component)
            except OSError as error:
                # The command stands in the broker, and is read again.
                log.error("no room for a component", component=command.component, error=str(error))
                return
            self._tell_availability(actor)
            self._keep(actor.run())
            self._sample(actor)
        actor.traced(command, tracing.parent(command, received.headers))
        actor.tell(heard.Commanded(command, live=received.sequence == 0))

    async def check(self, wanted: StageCheck) -> StageChecked:
        """Whether this node could stage a tree, found out by doing it aside. No record and nothing that runs changes."""
        actor = self._actors.get(wanted.component)
        in_use = frozenset(i.target.root for i in actor.record.instances) if actor else frozenset()
        try:
            tree = await self._source.check(wanted, actor.layout if actor else None, in_use)
        except (ReleaseError, ArtifactError, OSError) as error:
            why = str(error) or repr(error)
            return StageChecked(ready=False, free_bytes=free_bytes(self._config.data_dir), reason=why)
        return StageChecked(
            ready=True,
            used=tree.used,
            bytes_fetched=tree.bytes_fetched,
            full_bytes=tree.full_bytes,
            free_bytes=free_bytes(self._config.data_dir),
            reason=tree.note,
        )

    @property
    def unreported(self) -> int:
        """How many answers the broker has not acknowledged."""
        return sum(len(actor.record.outbox) for actor in self._actors.values())

    def report(self, *, results: bool = False) -> None:
        """Say again what is observed; with `results`, also every component's last result."""
        if results:
            for actor in self._actors.values():
                actor.tell(heard.Asked())
        self._reporter.report()
        self._trees.moved()

    async def reported(self) -> None:
        """Return once the node's observation, and every result before it, has been acknowledged."""
        await self._reporter.heard.wait()

    def inject(self, fault: InjectFault) -> FaultAnswer:
        """Arm a fault, if this executor was started to obey drills."""
        if not self._config.drills or fault.node != self._config.node:
            log.warning("drill not obeyed", fault=fault.fault, by=fault.by, drills=self._config.drills)
            return FaultAnswer(armed=False, text=f"{self._config.node} does not obey drills")
        if fault.component not in self._actors:
            return FaultAnswer(armed=False, text=f"{self._config.node} runs no {fault.component}")
        log.warning("drill armed", component=fault.component, fault=fault.fault, by=fault.by)
        self._drills.arm(fault.component, fault.fault)
        return FaultAnswer(armed=True)

    def observe(self) -> Node:
        """What this node runs now."""
        return Node(
            name=self._config.node,
            address=self._config.address,
            labels=dict(self._config.labels),
            components={
                name: actor.record.observed(tuple(sorted(actor.layout.present())))
                for name, actor in sorted(self._actors.items())
            },
            observed_at=self._now(),
            free_bytes=free_bytes(self._config.data_dir),
            facts=self._facts.facts(),
            identity=self._config.identity,
            executor=self._config.executor,
            drain=self._availability.drain,
            ordered=self._availability.number,
        )

    def record(self, component: str) -> ComponentRecord | None:
        actor = self._actors.get(component)
        return actor.record if actor else None

    async def close(self, *, stop_services: bool = False) -> None:
        """Stop acting. Services go on, unless they shall be drained and stopped too."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        actors = tuple(self._actors.values())
        await asyncio.gather(*(actor.close() for actor in actors))
        if stop_services:
            await asyncio.gather(*(actor.stop_services() for actor in actors))
        if self._lock >= 0:
            os.close(self._lock)

    # what components say

    def progress(self, message: StepProgressed) -> None:
        self._reporter.tell(message)

    def park(self, command: Command, reason: str) -> None:
        subject = subjects.command_live(command.node, command.component)
        self._park(Received(subject=subject, data=command.model_dump_json().encode()), reason)

    def _park(self, received: Received, reason: str) -> None:
        telemetry.REFUSED.inc()
        parked = self._intake.park(received, reason, self._now())
        if parked is not None:
            log.warning("command refused", subject=received.subject, reason=reason)
            self._reporter.tell(parked)

    def _add(self, component: str) -> ComponentActor:
        layout = Layout(self._config.components_dir, component)
        record = Journal(layout.journal).load()
        if record is None:
            record = ComponentRecord(node=self._config.node, component=component)
        if (record.node, record.component) != (self._config.node, component):
            raise Refused(
                f"the journal of {self._config.node}/{component} in {layout.home}",
                f"that of {record.node}/{record.component}",
                "give every node its own data directory",
            )
        actor = ComponentActor(
            record,
            self._config.address,
            layout,
            self._switch,
            self._source,
            self,
            self._now,
            self._reserve.release,
        )
        self._actors[component] = actor
        return actor

    async def _set(self, word: SetAvailability) -> None:
        """The node is drained, or back. What cannot be written down is not acted on: the word stands and is read again."""
        try:
            taken = await asyncio.to_thread(self._availability.take, word)
        except OSError as error:
            log.error("whether the node is drained cannot be written", error=str(error))
            return
        if taken:
            log.warning(
                "availability", drained=word.drained, by=word.by, reason=word.reason, until=word.until
            )
            self._told_availability.set()

    async def _mind_availability(self) -> None:
        """For ever: every component hears what stands, also when a drain is over."""
        while True:
            self._told_availability.clear()
            for actor in tuple(self._actors.values()):
                self._tell_availability(actor)
            self._reporter.report()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told_availability.wait(), self._availability.ends_in_s)

    def _tell_availability(self, actor: ComponentActor) -> None:
        # The executor itself goes on: who else would bring the node back?
        if self._availability.known and actor.record.component != ITSELF:
            actor.tell(heard.Availability(self._availability.drain is not None))

    def _sample(self, actor: ComponentActor) -> None:
        prober = Prober(self._config.node, actor.trying)
        used = partial(resources.samples, disk=self._config.data_dir)
        sampler = Sampler(lambda: actor.record, self._switch, self._reports, self._now, prober, used)
        self._samplers[actor.record.component] = sampler
        self._keep(sampler.run())

    def _item_calls(self) -> dict[str, dict[str, float]]:
        return {name: sampler.item_calls for name, sampler in self._samplers.items()}

    def _targets(self) -> Iterator[Target]:
        """Every version that may listen here on behalf of this node."""
        for actor in self._actors.values():
            record = actor.record
            yield from (instance.target for instance in record.instances)
            yield from (target for target in (record.current, record.previous) if target is not None)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run for the life of the executor. An error there is a fault of ours: `fault` raises it."""

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None and not self.fault.done():
                self.fault.set_exception(error)

        task = asyncio.create_task(work)
        task.add_done_callback(done)
        self._tasks.append(task)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            await asyncio.to_thread(self._reserve.fill)
            with contextlib.suppress(OSError):
                await self._switch.tidy()
