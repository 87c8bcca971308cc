"""The same world, driven by Hypothesis: faults, people and time as rules, the same invariants, and short failures.

A seed of `scenario.draw` tries much at once; what Hypothesis finds it makes as short as it can.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bumpless.common.model.gate import GateSpec, OnInconclusive
from bumpless.common.model.strategy import StrategyKind
from simulation.invariants import Violation
from simulation.pure import remembered
from simulation.run import Simulation, surroundings
from simulation.scenario import FAULTS, HAPPENINGS, Happening, Part, Scenario

PEOPLE = ("pause", "resume", "promote", "abort", "retry", "rollback", "approve", "alert", "drain", "undrain")
BLOWS = tuple(sorted({*HAPPENINGS} - {*PEOPLE}))
GATE = GateSpec(window_s=5, timeout_s=40, warm_up_s=0, interval_s=5, on_inconclusive=OnInconclusive.PAUSE)


def parts(names: tuple[str, ...], gates: bool, canary: bool, overlap: bool, bad: str) -> tuple[Part, ...]:
    return tuple(
        Part(
            name=name,
            depends_on=names[:place],
            gate=GATE if gates else None,
            strategy=StrategyKind.CANARY if canary else StrategyKind.ROLLING,
            overlap=overlap,
            bad=bad if place == len(names) - 1 else "",
        )
        for place, name in enumerate(names)
    )


SCENARIOS = st.builds(
    lambda nodes, **rest: Scenario(
        seed=0, nodes=tuple(f"n{n}" for n in range(1, nodes + 1)), max_unavailable=1, **rest
    ),
    nodes=st.integers(1, 3),
    parts=st.builds(
        parts,
        st.sampled_from([("db",), ("db", "api")]),
        gates=st.booleans(),
        canary=st.booleans(),
        overlap=st.sampled_from([True, False]),
        bad=st.sampled_from(["", "start", "gate"]),
    ),
    planners=st.integers(1, 2),
    approval=st.booleans(),
)


class Fleet(RuleBasedStateMachine):
    """A rollout, what happens to it, and what must hold all the time."""

    def __init__(self) -> None:
        super().__init__()
        self._around = contextlib.ExitStack()
        self._simulation: Simulation | None = None
        self._violation: Violation | None = None

    @initialize(scenario=SCENARIOS)
    def begin(self, scenario: Scenario) -> None:
        self._around.enter_context(surroundings())
        self._simulation = Simulation(replace(scenario, faults=frozenset()))
        self._around.enter_context(self._simulation.world.clocks())
        self._around.enter_context(remembered())
        self._violation = self._simulation.step(self._simulation.opening())

    @rule(kind=st.sampled_from(PEOPLE), pick=st.integers(0, 7))
    def order(self, kind: str, pick: int) -> None:
        """A person says or does something."""
        self._strike(kind, pick)

    @rule(kind=st.sampled_from(BLOWS), pick=st.integers(0, 7))
    def blow(self, kind: str, pick: int) -> None:
        """Something is done to a store, a log, a node or a service."""
        self._strike(kind, pick)

    @rule(kind=st.sampled_from(sorted(FAULTS)))
    def fault(self, kind: str) -> None:
        """The next occasion of a fault of this kind is taken."""
        self._now.world.ordered.add(kind)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0, 60.0]))
    def wait(self, seconds: float) -> None:
        if self._violation is None:
            self._violation = self._now.step(asyncio.sleep(seconds))

    @invariant()
    def everything_holds(self) -> None:
        assert self._violation is None, str(self._violation)

    def teardown(self) -> None:
        try:
            if self._simulation is not None and self._violation is None:
                self._violation = self._now.step(self._now.closing())
                self.everything_holds()
        finally:
            if self._simulation is not None:
                self._now.world.loop.close()
            self._simulation = None
            self._around.close()

    @property
    def _now(self) -> Simulation:
        assert self._simulation is not None
        return self._simulation

    def _strike(self, kind: str, pick: int) -> None:
        if self._violation is None:
            self._violation = self._now.step(self._now.strike(Happening(self._now.world.clock, kind, pick)))


def options(examples: int, *, fixed: bool) -> settings:
    """`fixed`: the same examples every time."""
    return settings(
        max_examples=examples,
        stateful_step_count=12,
        deadline=None,
        derandomize=fixed,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
