"""The scenarios: 48 cells of nodes, traffic and error rate, under three kinds of noise, healthy or with one fault.

A unit is one scenario in one cell. Its runs depend on the seed and its place in the lists below alone, so a unit
gives the same traces to every gate, in every order, in any process.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from bumpless.health_gate.offline.traffic import HEALTHY, NOISES, Array, Drawn, Fault, Traffic, draw

SEED = 20260306
TICK_S = 5.0
BAKE_TICKS = 180
HISTORY_TICKS = 360
NODES = ((1, 2), (1, 9), (3, 7), (10, 10))
RPS = (5.0, 20.0, 50.0, 200.0)
ERROR_RATES = (0.001, 0.005, 0.01)
CELLS = tuple(product(NODES, RPS, ERROR_RATES))
MEDIAN_S = (0.02, 0.15)
"""Every run has a median latency between these, so that no result hangs on where the buckets lie."""

FAULTS = {
    "errors x2": Fault(errors=2),
    "errors x3": Fault(errors=3),
    "errors x10": Fault(errors=10),
    "latency x1.3": Fault(latency=1.3),
    "latency x2": Fault(latency=2),
    "crash": Fault(crash=True),
    "errors x4 and latency x3": Fault(errors=4, latency=3),
}
HEALTHY_NOISES = ("none", "real", "hostile", "unseen")
FAULT_NOISE = "real"
SCENARIOS = (*HEALTHY_NOISES, *FAULTS)
RUNS = 10


@dataclass(frozen=True)
class Unit:
    """`scenario` names a noise for a healthy release, else a fault, which comes with the noise FAULT_NOISE. `block`
    numbers the units of a scenario in a cell, each of `runs` runs."""

    scenario: str
    cell: int
    block: int = 0
    runs: int = RUNS

    @property
    def key(self) -> str:
        return f"{self.scenario}/{self.cell}/{self.block}"

    @property
    def fault(self) -> Fault:
        return FAULTS.get(self.scenario, HEALTHY)

    @property
    def shape(self) -> tuple[int, int, float, float]:
        """Canary nodes, control nodes, requests a second and node, error rate."""
        (canary, control), rps, rate = CELLS[self.cell]
        return canary, control, rps, rate

    def draw(self) -> list[Drawn]:
        canary, control, rps, rate = self.shape
        noise = NOISES[FAULT_NOISE if self.scenario in FAULTS else self.scenario]
        place = SCENARIOS.index(self.scenario)
        rng = np.random.default_rng([SEED, place, self.cell, self.block])
        found = []
        for _ in range(self.runs):
            median = float(np.exp(rng.uniform(*np.log(MEDIAN_S))))
            traffic = Traffic(rps, canary, control, rate, median)
            found.append(
                draw(
                    traffic,
                    noise,
                    self.fault,
                    rng,
                    history=HISTORY_TICKS,
                    after=BAKE_TICKS,
                    interval_s=TICK_S,
                )
            )
        return found


def units(healthy_runs: int, fault_runs: int) -> list[Unit]:
    """At least so many runs of each scenario in each cell; first one block of everything, then the next."""
    blocks = {name: -(-(fault_runs if name in FAULTS else healthy_runs) // RUNS) for name in SCENARIOS}
    return [
        Unit(scenario, cell, block)
        for block in range(max(blocks.values()))
        for scenario in SCENARIOS
        for cell in range(len(CELLS))
        if block < blocks[scenario]
    ]


@dataclass(frozen=True)
class Traces:
    """What peers see of many runs: counts after the switch, `[run, tick, side]`, slow ones `[..., bound]`."""

    requests: Array
    errors: Array
    slow: Array
    canary: int

    @classmethod
    def of(cls, drawn: list[Drawn], canary: int) -> Traces:
        return cls(
            np.stack([one.requests[one.history :] for one in drawn]),
            np.stack([one.errors[one.history :] for one in drawn]),
            np.stack([one.slow[one.history :] for one in drawn]),
            canary,
        )
