"""What a plan costs: making, checking, hashing and writing it for 100 to 10,000 nodes, and the way of a fleet.

    make bench-plan

Every size is a child process of its own, so that its peak memory is its own. Beside each, in the same process, the
same number of steps is written as plain JSON: what no planner can be below. Writes `build/bench/plan.json`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parent.parent / "build" / "bench" / "plan.json"
SIZES = (100, 1_000, 10_000)
COMPONENTS = 20
PATH_COMPONENTS, PATH_VERSIONS = 12, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of nodes")
    parser.add_argument("--child", choices=["plan", "path"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(plan_figures(args.sizes[0]) if args.child == "plan" else path_figures()))
        return
    plans = {size: in_child("plan", size) for size in sorted(args.sizes)}
    path = in_child("path", 0)
    found = {"goals": goals(plans, path), "plans": plans, "growth": growth(plans), "path": path}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n")
    print(OUT.read_text())


def in_child(kind: str, size: int) -> dict[str, float]:
    """What the child measured, with its peak memory in MB (10^6 bytes) from wait4()."""
    argv = [sys.executable, __file__, "--child", kind, "--sizes", str(size)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert child.stdout is not None
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{kind} of {size} ended with {child.returncode}")
    return {**json.loads(said), "peak_mb": usage.ru_maxrss * 1024 / 1e6}


def timed(figures: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    """Runs `work`; its wall and CPU seconds go to `figures`."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    figures[f"{name}_s"] = time.perf_counter() - wall
    figures[f"{name}_cpu_s"] = time.process_time() - cpu
    return result


# What is planned. Imports are in the children only: the parent stays small, because Linux counts its peak for them.


def plan_figures(size: int) -> dict[str, float]:
    from bumpless.common.contract.base import RolloutId
    from bumpless.common.model.fleet import fleet_of
    from bumpless.planner.collection import no_collection
    from bumpless.planner.plan import make_plan
    from bumpless.planner.proof import check

    release, digest, nodes = world(size)
    figures: dict[str, float] = {"nodes": size}
    fleet = timed(figures, "fleet", lambda: fleet_of(nodes))
    figures["fleet_mb"] = memory_mb()
    with no_collection():
        plan = timed(
            figures,
            "make",
            lambda: make_plan(release, digest, fleet, rollout=RolloutId("bench"), generation=2, now=NOW),
        )
        wrong = timed(figures, "check", lambda: check(plan, release, fleet))
    if wrong:
        raise SystemExit(f"the checker found {wrong[:3]}")
    timed(figures, "hash", lambda: plan.hash)
    figures["bytes"] = len(timed(figures, "canonical", plan.canonical))
    rows = [vars(step) for step in plan.steps()]
    timed(figures, "json_of_steps", lambda: json.dumps(rows, sort_keys=True))
    figures |= {"steps": len(rows), "batches": len(plan.batches)}
    parts = ("make", "check", "hash", "canonical")
    for unit in ("s", "cpu_s"):
        figures[f"total_{unit}"] = sum(figures[f"{part}_{unit}"] for part in parts)
    figures["times_json"] = figures["total_cpu_s"] / figures["json_of_steps_cpu_s"]
    return figures


NOW = datetime(2030, 1, 1, tzinfo=UTC)


def world(size: int) -> tuple[Any, Any, Any]:
    """A release of 20 components, in chains of five that need the one before, every third behind a canary, all behind
    gates; and `size` nodes, a third of them a version behind the others. The nodes come one by one, and each has
    targets of its own, as when they are read from what each said; making them counts as reading, not as planning."""
    from bumpless.common.contract.base import Digest
    from bumpless.common.model.fleet import ComponentObserved, ComponentState, Node
    from bumpless.common.model.gate import GateSpec
    from bumpless.common.model.plan import Target
    from bumpless.common.model.release import Component, Placement, Release, Run
    from bumpless.common.model.strategy import Strategy, StrategyKind

    def target(number: int, version: str) -> Target:
        return Target(
            component=f"part-{number}",
            version=version,
            root=Digest(f"sha256:{number:062x}{version[0]}0"),
            artifact=Digest(f"sha256:{number:062x}{version[0]}1"),
            artifact_size=1000,
            run=Run(command=("bin/serve",)),
        )

    def part(number: int) -> Component:
        new = target(number, "3.0.0")
        kind = StrategyKind.CANARY if number % 3 == 0 else StrategyKind.ROLLING
        return Component(
            name=new.component,
            version=new.version,
            root=new.root,
            artifact=new.artifact,
            artifact_size=new.artifact_size,
            run=new.run,
            depends_on=(f"part-{number - 1}",) if number % 5 else (),
            strategy=Strategy(kind=kind, canary="1%", batch_size="5%"),
            gate=GateSpec(window_s=10, timeout_s=100, warm_up_s=0),
            place=Placement(),
        )

    olds = [[target(number, version) for number in range(COMPONENTS)] for version in ("1.0.0", "2.0.0")]
    nodes = (
        Node(
            name=f"node-{number}",
            address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            labels={"zone": "abc"[number % 3]},
            components={
                old.component: ComponentObserved(
                    component=old.component,
                    state=ComponentState.SERVING,
                    target=old.model_copy(),
                    root=old.root,
                    generation=1,
                )
                for old in olds[number % 3 != 0]
            },
            observed_at=NOW,
        )
        for number in range(size)
    )
    release = Release(
        product="bench",
        version="3.0.0",
        components=tuple(part(number) for number in range(COMPONENTS)),
        max_unavailable="10%",
    )
    return release, Digest("sha256:" + "3" * 64), nodes


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def path_figures() -> dict[str, float]:
    """Twelve components in a chain of clients and providers, eight versions each, one hop at a time; a client of
    version n gets along with providers of n and n + 1 only, so none can run ahead of the others."""
    from bumpless.common.compat.fleet_path import fleet_path
    from bumpless.common.compat.matrix import Matrix, Statement
    from bumpless.common.compat.pairs import Accepts, Pairs, Stated
    from bumpless.common.model.level import Level
    from bumpless.common.model.version import Version, VersionRange

    names = [f"part-{number}" for number in range(PATH_COMPONENTS)]
    edges = list(zip(names[1:], names, strict=False))
    versions = [Version.parse(f"{number}.0.0") for number in range(1, PATH_VERSIONS + 1)]
    hops = [Statement(old, new, Level.FULL, "stated") for old, new in itertools.pairwise(versions)]
    stated = [
        Accepts(client, VersionRange.parse(f"{n}.x"), provider, VersionRange.parse(f"{n}.x || {n + 1}.x"))
        for client, provider in edges
        for n in range(1, PATH_VERSIONS + 1)
    ]
    figures: dict[str, float] = {"components": PATH_COMPONENTS, "versions": PATH_VERSIONS}
    path = timed(
        figures,
        "search",
        lambda: fleet_path(
            {name: Matrix(name, tuple(hops), frozenset(), ()) for name in names},
            Pairs(edges, [Stated(stated)]),
            {name: [versions[0]] for name in names},
            dict.fromkeys(names, versions[-1]),
        ),
    )
    if len(path) != PATH_COMPONENTS * (PATH_VERSIONS - 1):
        raise SystemExit(f"expected {PATH_COMPONENTS * (PATH_VERSIONS - 1)} moves, found {len(path)}")
    return {**figures, "moves": len(path)}


# What is said about it.


def growth(plans: dict[int, dict[str, float]]) -> list[dict[str, float]]:
    """From each size to the next: the exponent by which CPU time grows with the number of nodes."""
    sizes = list(plans)
    return [
        {
            "from": small,
            "to": large,
            **{
                f"{part}_exponent": round(
                    math.log(plans[large][f"{part}_cpu_s"] / plans[small][f"{part}_cpu_s"])
                    / math.log(large / small),
                    2,
                )
                for part in ("make", "check", "hash", "canonical", "total")
            },
        }
        for small, large in itertools.pairwise(sizes)
    ]


def goals(plans: dict[int, dict[str, float]], path: dict[str, float]) -> list[dict[str, Any]]:
    """The figures that were promised, of the sizes that were measured."""
    limits = {10_000: (5.0, 500.0), 1_000: (0.5, None)}
    found = []
    for size, (seconds, megabytes) in limits.items():
        if size not in plans:
            continue
        what = f"a plan of {size:,} nodes x {COMPONENTS} components"
        found.append(goal(what, seconds, plans[size]["total_s"], "s"))
        if megabytes is not None:
            found.append(goal(f"{what}, peak memory with the fleet", megabytes, plans[size]["peak_mb"], "MB"))
    what = f"the way of {PATH_COMPONENTS} components through {PATH_VERSIONS} versions"
    return [*found, goal(what, 2.0, path["search_s"], "s")]


def goal(name: str, most: float, measured: float, unit: str) -> dict[str, Any]:
    return {
        "name": name,
        "goal": f"< {most:g}",
        "measured": round(measured, 3),
        "unit": unit,
        "holds": measured < most,
    }


if __name__ == "__main__":
    main()
