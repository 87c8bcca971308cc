"""Hypothesis strategies: releases and fleets that fit each other, and plans with every feature of the engine."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from bumpless.common.contract.base import RolloutId
from bumpless.common.model.channels import Consumes, Produces
from bumpless.common.model.fleet import ComponentState, Drain, Fleet
from bumpless.common.model.gate import OnInconclusive
from bumpless.common.model.plan import Plan, Target
from bumpless.common.model.release import Component, Placement, Release
from bumpless.common.model.strategy import Spread, SpreadMode, Strategy, StrategyKind, Wave
from bumpless.planner.plan import make_plan
from support.plans import GATE, T0, component, digest, fleet, node, release, target

NAMES = ("alpha", "beta", "gamma", "delta", "omega")
SHARES = st.one_of(st.integers(1, 4), st.sampled_from(["1%", "25%", "50%", "100%"]))
ZONES = ("a", "b", "c")
SETS = tuple(kind for kind in StrategyKind if kind is not StrategyKind.BLUE_GREEN)
"""Strategies that take one set of nodes; blue-green takes two, and asks more of a fleet."""


@st.composite
def strategies(draw: st.DrawFn, kinds: tuple[StrategyKind, ...] = SETS) -> Strategy:
    """Strategies that fit every fleet, as far as the budget allows all at once."""
    kind = draw(st.sampled_from(kinds))
    spread = draw(st.sampled_from([None, *SpreadMode]))
    waves = [
        Wave(
            name=f"w{number}",
            **draw(st.sampled_from([{"share": "25%"}, {"share": 1}, {"labels": {"zone": "a"}}])),
            batch_size=draw(SHARES),
            soak_s=draw(st.sampled_from([0, 20])),
            approval=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 2)))
    ]
    return Strategy(
        kind=kind,
        canary=draw(SHARES),
        observe_s=draw(st.sampled_from([0, 30])),
        batch_size=draw(SHARES),
        interval_s=draw(st.sampled_from([0, 0, 20])),
        approval=draw(st.booleans()),
        spread=None if spread is None else Spread(label="zone", mode=spread),
        waves=[*waves, Wave(name="rest", rest=True)] if kind is StrategyKind.WAVES else (),
        priority="rank" if kind is StrategyKind.PRIORITY else None,
    )


@dataclass(frozen=True)
class World:
    release: Release
    fleet: Fleet

    def plan(self, generation: int = 9) -> Plan:
        return make_plan(
            self.release,
            digest("release"),
            self.fleet,
            rollout=RolloutId("rollout-1"),
            generation=generation,
            now=T0,
        )


@st.composite
def worlds(draw: st.DrawFn, blue_green: bool = True, kinds: tuple[StrategyKind, ...] = SETS) -> World:
    """A release over up to five components and a fleet of up to six nodes that runs parts of it, old and new."""
    machines = [f"n{i}" for i in range(1, draw(st.integers(1, 6)) + 1)]
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, 5))]
    parts: list[Component] = []
    for number, name in enumerate(names):
        placed = draw(st.one_of(st.just([]), st.lists(st.sampled_from(machines), min_size=1, unique=True)))
        policy = draw(st.sampled_from(OnInconclusive))
        strategy = draw(strategies(kinds))
        if blue_green and len(machines) % 2 == 0 and not placed and draw(st.booleans()):
            half = len(machines) // 2
            strategy = Strategy(
                kind=StrategyKind.BLUE_GREEN,
                blue=machines[:half],
                green=machines[half:],
                approval=draw(st.booleans()),
            )
        parts.append(
            component(
                name,
                depends_on=tuple(draw(st.lists(st.sampled_from(names[:number]), unique=True)))
                if number
                else (),
                place=Placement(nodes=tuple(placed)),
                strategy=strategy,
                gate=draw(st.sampled_from([None, GATE.model_copy(update={"on_inconclusive": policy})])),
            )
        )
    if len(names) > 1 and draw(st.booleans()):
        parts = _with_channel(parts)
    runs = st.sampled_from([None, "v1", "v1", "v1", "v2"])
    nodes = []
    for machine in machines:
        running = {part.name: _running(part, found) if (found := draw(runs)) else None for part in parts}
        # The first has what waves and priorities ask for.
        zone = ZONES[0] if machine == machines[0] else draw(st.sampled_from(ZONES))
        made = node(machine, running, zone=zone, rank=draw(st.sampled_from(["1", "2"])))
        if draw(st.booleans()):
            ill = made.components[names[0]].model_copy(update={"state": ComponentState.STUCK})
            made = made.model_copy(update={"components": {**made.components, names[0]: ill}})
        if draw(st.integers(0, 3)) == 0:
            made = made.model_copy(update={"drain": Drain(by="ada", since=T0)})
        nodes.append(made)
    at_once = {StrategyKind.ALL_AT_ONCE, StrategyKind.BLUE_GREEN} & {p.strategy.kind for p in parts}
    budget = "100%" if at_once else draw(SHARES)
    return World(
        release(*draw(st.permutations(parts)), max_unavailable=budget, approval=draw(st.booleans())),
        fleet(*nodes),
    )


def _with_channel(parts: list[Component]) -> list[Component]:
    """The last component writes to a channel what the first one, on every node, reads: another format than before."""
    reads = (Consumes(channel="orders", reads=">=1,<3"),)
    first = parts[0].model_copy(update={"consumes": reads, "place": Placement()})
    last = parts[-1].model_copy(update={"produces": (Produces(channel="orders", writes="2"),)})
    return [first, *parts[1:-1], last]


def _running(part: Component, version: str) -> Target:
    """What runs of a component; version 1 of it writes and reads the format before."""
    found = target(part.name, version)
    old = version == "v1"
    produces = tuple(p.model_copy(update={"writes": "1"}) if old else p for p in part.produces)
    consumes = tuple(c.model_copy(update={"reads": "1.x"}) if old else c for c in part.consumes)
    return found.model_copy(update={"produces": produces, "consumes": consumes})


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans of such worlds, some with steps that may fail without failing their batch."""
    plan = draw(worlds()).plan()
    tolerance = draw(st.integers(0, 1))
    return plan.model_copy(
        update={"batches": tuple(b.model_copy(update={"tolerance": tolerance}) for b in plan.batches)}
    )
