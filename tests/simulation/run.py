"""One run: a scenario from its first moment to its last, under the eyes of the invariants."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message
from bumpless.common.contract.commands import OpenGate
from bumpless.common.contract.envelope import RELEASE_TYPE
from bumpless.common.model.fleet import ComponentState
from bumpless.common.model.release import (
    Release,
)
from bumpless.common.model.verdict import Reason, Verdict
from bumpless.common.shell import service
from bumpless.health_gate.judge import Judgement
from simulation.broker import Broker, SimConnection
from simulation.events import Ended
from simulation.happenings import happen
from simulation.invariants import Invariants, Violation
from simulation.invariants.rollouts import KNOWN_S
from simulation.life import Life
from simulation.loop import Stalled
from simulation.node import SimNode
from simulation.pure import remembered
from simulation.releases import is_absent, release_of, target_of
from simulation.scenario import Happening, Scenario
from simulation.services import LEASE_S, RELEASE_KEY, Service
from simulation.store import SimStore
from simulation.world import LATE_S, World

BOUND_S = 2400.0
"""After the last fault, every rollout has ended within this time: two pauses, a revert and every limit of a step."""
START_S = 3.0
"""After which everything has started."""


@dataclass
class Result:
    scenario: Scenario
    trace: str
    events: int
    simulated_s: float
    rollouts: int
    ends: dict[str, int]
    struck: dict[str, int]
    violation: Violation | None = None
    lines: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        struck = " ".join(f"{k}:{n}" for k, n in sorted(self.struck.items())) or "none"
        ends = " ".join(f"{k}:{n}" for k, n in sorted(self.ends.items())) or "none"
        return (
            f"{self.scenario}\n  struck {struck}; rollouts {ends}; {self.events} events in {self.simulated_s:.0f} s; "
            f"trace {self.trace[:16]}"
        )


class Simulation:
    """The fleet, the control plane and the people of one scenario."""

    def __init__(self, scenario: Scenario, verbose: bool = False) -> None:
        self.scenario = scenario
        self.invariants = Invariants(self)
        self.world = World(scenario, self.invariants.check, verbose)
        self.chance = Random(f"run {scenario.seed}")
        self.broker = Broker(self.world)
        self.broker.handlers = self._handler
        self.stores = {owner: SimStore(self.world.loop) for owner in ("planner", "rollback", "health-gate")}
        self.copies: dict[str, Any] = {}
        self.releases: list[Release] = []
        self.services: list[Service] = []
        self.nodes: dict[str, SimNode] = {}
        self.judged: dict[str, list[tuple[float, Verdict | None, bool]]] = {}
        self.blind: dict[str, bool] = {}
        """Gates that see nothing while there are faults."""
        self.holes: set[str] = set()
        """Rollouts whose log has lost an entry: they may wait for a person for ever."""
        self.ahead = 0.0
        """By how much a clock was ahead at most: a limit that was set by it is reached so much later."""

    # set-up -------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        first = self.release("v1")
        targets = {part.name: target_of(part) for part in first.components}
        for name in self.scenario.nodes:
            node = SimNode(self.world, self.broker, name, self._bad)
            self.nodes[name] = node
            parts = {p.name: p for p in self.scenario.parts}
            node.install({n: None if is_absent(parts[n], name) else t for n, t in targets.items()})
            node.boot()
        names = ["planner-a", "planner-b"][: self.scenario.planners]
        for owner, name in [
            *(("planner", n) for n in names),
            ("rollback", "rollback"),
            ("health-gate", "gate"),
        ]:
            self.services.append(
                Service(self.world, self.broker, self.stores[owner], owner, name, self._judge)
            )
        self.people = Life(self.world, "people", "none", lambda: 0.0, lambda: None)
        self.people.recovering = False
        self.outside = SimConnection(self.broker, self.people)

    def _handler(self, durable: Any) -> Callable[[Message], Any] | None:
        for process in self.services:
            if process.owner == durable.name and process.working is not None and not process.life.dead:
                return lambda message, s=process: s.handle(durable, message)
        return None

    def _bad(self, component: str, version: str) -> str:
        part = next((p for p in self.scenario.parts if p.name == component), None)
        return part.bad if part is not None and version == "v2" else ""

    def release(self, version: str) -> Release:
        """What `version` brings: everything, or where releases are in two parts one of them."""
        return release_of(self.scenario, version)

    # what happens -------------------------------------------------------------------------------------

    def announcement(self, release: Release, attempt: int = 0) -> e.ReleaseAnnounced:
        envelope = RELEASE_KEY.sign(RELEASE_TYPE, release.model_dump_json().encode())
        return e.ReleaseAnnounced(
            id=self.world.fresh_id(),
            at=self.world.now(),
            product=release.product,
            digest=release.digest,
            attempt=attempt,
            envelope=envelope.to_bytes().decode(),
        )

    async def _course(self) -> None:
        await self.opening()
        began = self.world.clock - START_S
        for happening in self.scenario.happenings:
            await self._wait(began + happening.at - self.world.clock)
            await self.strike(happening)
        await self._quiet(began + self.scenario.safety_s)
        await self.closing()

    async def opening(self) -> None:
        """Everything has started, and the first release is announced."""
        self._set_up()
        await self._wait(START_S)
        if self.scenario.drained:
            node = self.scenario.nodes[0]
            await self.publish(
                c.DrainNode(id=self.world.fresh_id(), at=self.world.now(), node=node, by="ann", force=True)
            )
            await self._wait(KNOWN_S + 5)
        self.world.faulty = True
        self.releases.append(self.release("v2"))
        await self.publish(self.announcement(self.releases[0]))

    async def strike(self, happening: Happening) -> None:
        self.world.strike(happening.kind, f"#{happening.pick}")
        await happen(self, happening)

    async def closing(self) -> None:
        """No more faults: everything ends."""
        self._heal()
        bound = BOUND_S + self.ahead
        await self._quiet(self.world.clock + bound)
        until = self.world.clock + 2 * max(LATE_S)
        while (
            self.broker.pending and self.world.clock < until
        ):  # what is late arrives at last, and leads to more
            await self._wait(100.0)
            await self._quiet(self.world.clock + bound)
        self.world.happened(Ended(), "END")

    async def _quiet(self, until: float) -> None:
        """Until everything has been at rest for a while, at most `until`."""
        quiet = 0
        while self.world.clock < until and quiet < 2:
            await self._wait(10.0)
            quiet = quiet + 1 if self._at_rest() else 0

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def publish(self, message: Message) -> None:
        from bumpless.common.errors import Retryable

        for _ in range(50):
            try:
                await self.outside.publish(message, source="people")
                return
            except Retryable:
                await asyncio.sleep(0.5)

    def _heal(self) -> None:
        for process in self.services:
            process.skew = 0.0
        for node in self.nodes.values():
            node.skew = 0.0
        self.world.heal()
        for number, node in enumerate(self.nodes.values()):
            word = node.machine.disk.word
            if word is not None and word.drained:
                order = c.UndrainNode(id=self.world.fresh_id(), at=self.world.now(), node=node.name, by="ann")
                self.world.loop.call_later(1.0 + number, lambda o=order: self.people.task(self.publish(o)))

    def _at_rest(self) -> bool:
        # One that was emptied has to be filled again first.
        stores = [memory for owner, memory in self.stores.items() if owner not in self.broker.gone]
        if any(memory.deadlines or memory.unpublished or not memory.marked for memory in stores):
            return False
        resting = (ComponentState.ABSENT, ComponentState.SERVING)
        return all(
            node.executor is not None
            and all(
                r.state in resting
                and not r.outbox
                and r.waiting is None
                and r.unsaid is None
                # What comes back into service has to start first.
                and (r.back_at is None or r.serving is not None or r.out or r.current is None)
                and not (r.serving is not None and node.machine.comes_up(r.serving.id))
                for r in node.machine.disk.records.values()
            )
            for node in self.nodes.values()
        )

    # gates --------------------------------------------------------------------------------------------

    def _judge(self, gate: OpenGate) -> Judgement:
        """What can be said of `gate` now, from what runs on the nodes."""
        now = self.world.now()
        over = (now - gate.switched_at).total_seconds() >= gate.spec.window_s
        if gate.gate not in self.blind:
            self.blind[gate.gate] = self.world.strikes("no-data", gate.batch)
        blind = self.blind[gate.gate] and self.world.faulty
        seen = not blind and all(
            (node := self.nodes.get(member.node)) is not None
            and node.executor is not None
            and any(p.target.root == member.root for p in node.machine.working(member.component))
            for member in gate.canary
        )
        bad = any(self._bad(m.component, m.version) == "gate" for m in gate.canary)
        verdict, reason = None, Reason.DEADLINE
        if seen and (bad or self.world.strikes("flap", gate.batch)):
            verdict, reason = Verdict.FAIL, Reason.REGRESSION
        elif seen and over:
            verdict, reason = Verdict.PASS, Reason.PASSED
        elif now >= gate.deadline:
            verdict, reason = Verdict.INCONCLUSIVE, Reason.NO_DATA
        self.judged.setdefault(gate.gate, []).append((self.world.clock, verdict, seen))
        return Judgement(verdict, reason, "simulated", ())

    # running ------------------------------------------------------------------------------------------

    def run(self) -> Result:
        with self.world.clocks(), remembered():
            violation = self.step(self._course())
        self.world.loop.close()
        return Result(
            scenario=self.scenario,
            trace=self.world.trace,
            events=self.world.events,
            simulated_s=self.world.clock,
            rollouts=len(self.invariants.books),
            ends=self.invariants.ends(),
            struck=self.world.struck,
            violation=violation,
            lines=self.world.lines,
            seen=self.invariants.seen,
        )

    def step(self, course: Coroutine[Any, Any, None]) -> Violation | None:
        """Run the world until `course` is through or an invariant is broken; which one was."""
        violation: Violation | None = None
        loop = self.world.loop
        try:
            loop.run_until_complete(self._watched(course))
        except Violation as found:
            violation = found
        except Stalled:
            violation = Violation("no_stall", "nothing is left that could happen")
        violation = self.invariants.violation or violation
        if violation is not None:  # as it was raised it would hold all frames, and what killed processes left
            return Violation(violation.name, violation.text)
        if loop.failures and not self.holes:  # a log with a hole cannot be read
            return Violation("within_bounds", f"an error that nobody handled: {loop.failures[0]}")
        return None

    async def _watched(self, course: Coroutine[Any, Any, None]) -> None:
        whole = asyncio.ensure_future(course)
        broken = asyncio.ensure_future(self.invariants.broken.wait())
        await asyncio.wait((whole, broken), return_when=asyncio.FIRST_COMPLETED)
        broken.cancel()
        if whole.done():
            whole.result()


def simulate(scenario: Scenario, verbose: bool = False) -> Result:
    """Run `scenario`; its result has the violation, if there is one."""
    with surroundings():
        return Simulation(scenario, verbose).run()


@contextlib.contextmanager
def surroundings() -> Iterator[None]:
    """Logs are silent, a lease lasts as long as a simulated one, and what a run left is collected after it."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    # Coroutines of killed processes are collected in other contexts, and without a loop.
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    enabled = gc.isenabled()
    gc.disable()
    gc.freeze()  # so that what is collected below is what the run left, not all that is imported
    lease, service.LEASE_S = service.LEASE_S, LEASE_S
    try:
        yield
    finally:
        service.LEASE_S = lease
        gc.collect()
        gc.unfreeze()
        sys.unraisablehook = hook
        structlog.configure(**before)
        if enabled:
            gc.enable()
