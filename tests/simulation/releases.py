"""The simulated releases: what a version of the product brings, and what nodes run before the first of them."""

from __future__ import annotations

from typing import Any

from bumpless.common.model.channels import Consumes, Produces
from bumpless.common.model.compat import CompatFile, HopsFile, Horizon
from bumpless.common.model.level import Level
from bumpless.common.model.plan import Target
from bumpless.common.model.release import (
    Component,
    CrashLoop,
    Limits,
    OnCrashLoop,
    Release,
    Run,
    Through,
    Timing,
)
from bumpless.common.model.strategy import NodeSet, Strategy, StrategyKind
from bumpless.planner.targets import STANDARD_METRICS
from simulation.scenario import Part, Scenario
from support.plans import digest

HOLD_S = 30.0
TIMING = Timing(ready_timeout_s=5, soak_s=1, lame_duck_s=1, drain_timeout_s=3, warm_s=20)
LIMITS = Limits(
    stage_timeout_s=60,
    fetch_allowance_s=20,
    pause_timeout_s=150,
    approval_timeout_s=150,
    revert_timeout_s=300,
)


def release_of(scenario: Scenario, version: str) -> Release:
    """What `version` brings: everything, or where releases are in two parts one of them."""
    number = int(version[1:])
    chosen = scenario.parts
    if scenario.apart and number > 1 and len(chosen) > 1:
        chosen = chosen[:-1] if number % 2 == 0 else chosen[-1:]
    parts = tuple(_component(scenario, part, number, {other.name for other in chosen}) for part in chosen)
    return Release(
        product="shop",
        version=version,
        components=parts,
        max_unavailable=scenario.max_unavailable,
        rollback_policy=scenario.policy,
        approval=scenario.approval,
        limits=LIMITS,
        compat=CompatFile(
            levels={p.name: _ways(number) for p in chosen if p.through},
            hops={p.name: HopsFile(horizon=Horizon.NONE) for p in chosen if p.through},
        ),
    )


def is_absent(part: Part, node: str) -> bool:
    """Whether the node does not run the part at the beginning."""
    return part.new or (part.one_set and node in part.green)


def _ways(number: int) -> dict[str, Level]:
    """To the version `number` only through one before it, to that from everything that was there before."""
    earlier = [f"v{n}" for n in range(1, number)] + [f"v{n}.5.0" for n in range(1, number - 1)]
    between = f"v{number - 1}.5.0"
    return {f"{one}>{between}": Level.FULL for one in earlier} | {f"{between}>v{number}": Level.FULL}


def _component(scenario: Scenario, part: Part, number: int, names: set[str]) -> Component:
    place, last = scenario.parts.index(part), len(scenario.parts) - 1
    consumes: tuple[Consumes, ...] = ()
    produces: tuple[Produces, ...] = ()
    if part.channel and place == 0:
        consumes = (Consumes(channel=part.channel, reads=f">=1,<={number}"),)
    if part.channel and place == last:
        produces = (Produces(channel=part.channel, writes=str(number)),)
    run = Run(
        command=(f"bin/{part.name}",),
        overlap=part.overlap,
        timing=TIMING,
        on_crash_loop=OnCrashLoop.PREVIOUS,
        crash_loop=CrashLoop(crashes=3, window_s=60),
    )
    common: dict[str, Any] = {"produces": produces, "consumes": consumes, "run": run}
    through = (Through(**_brought(part.name, f"v{number - 1}.5.0"), run=run),) if part.through else ()
    return Component(
        name=part.name,
        **_brought(part.name, f"v{number}"),
        **common,
        through=through if number > 1 else (),
        depends_on=tuple(other for other in part.depends_on if other in names),
        strategy=_strategy(scenario, part),
        gate=part.gate,
    )


def _brought(name: str, version: str) -> dict[str, Any]:
    return {
        "version": version,
        "root": digest(f"root {name} {version}"),
        "artifact": digest(f"artifact {name} {version}"),
        "artifact_size": 1000,
    }


def _strategy(scenario: Scenario, part: Part) -> Strategy:
    if not part.green:
        return Strategy(kind=part.strategy, observe_s=5, approval=scenario.approval_between)
    blue = tuple(node for node in scenario.nodes if node not in part.green)
    return Strategy(
        kind=StrategyKind.BLUE_GREEN,
        blue=NodeSet(nodes=blue),
        green=NodeSet(nodes=part.green),
        hold_s=HOLD_S,
        approval=scenario.approval_between,
    )


def target_of(part: Component) -> Target:
    """The target that the planner makes of a component."""
    return Target(
        component=part.name,
        version=part.version,
        release=part.version,
        keep_metrics=tuple(sorted(STANDARD_METRICS)),
        root=part.root,
        artifact=part.artifact,
        artifact_size=part.artifact_size,
        run=part.run,
        produces=part.produces,
        consumes=part.consumes,
    )
