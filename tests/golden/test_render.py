"""What people read about reverts and rollouts, word for word. Written again by `pytest --bless`."""

from __future__ import annotations

import json

from bumpless.common import render
from bumpless.common.contract import events as e
from bumpless.common.contract import wire
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.plan import Plan
from bumpless.common.model.release import Placement
from bumpless.common.model.strategy import Strategy
from bumpless.common.shell.rollouts import progress
from bumpless.planner.plan import make_plan
from bumpless.rollback.reverse import reverse
from golden.test_plans import without_hash
from support.plans import GATE, T0, component, digest, fleet, node, release, target
from support.rollouts import Course, rolling
from support.snapshots import Snapshots

RUNS = {name: target(name, "v1") for name in ("database", "cache", "api", "gateway")}
FLEET = fleet(*(node(f"n{i}", RUNS) for i in range(1, 4)), node("n4", {"cache": target("cache", "v2")}))


def shop(strategy: Strategy, **more: object) -> Plan:
    names = ("database", "cache", "api", "gateway")
    parts = [
        component(
            name,
            depends_on=names[i - 1 : i] if i else (),
            strategy=strategy,
            gate=GATE if name in ("api", "gateway") else None,
            place=Placement(nodes=("n1",)) if name == "database" else Placement(),
        )
        for i, name in enumerate(names)
    ]
    return make_plan(
        release(*parts, **more),
        digest("release"),
        FLEET,
        rollout=RolloutId("rollout-1"),
        generation=4,
        now=T0,
    )


def test_reverse_plan(snapshots: Snapshots) -> None:
    course = rolling(shop(Strategy(batch_size=2)))
    course.finish("database-1")
    course.finish("cache-1")
    found = reverse(course.state, revert=RolloutId("revert-1"), number=0)
    snapshots.check("tests/golden/plan-reverse.txt", without_hash(render.plan(found)))


def test_status(snapshots: Snapshots) -> None:
    course = Course(shop(Strategy()))
    lines = []

    def say() -> None:
        lines.append(render.status(progress(course.state, course.fed[-1][0], course.now), course.now))

    say()
    course.stage_all()
    course.finish("database-1")
    say()
    course.feed(course.finished("cache-1", course.plan.batches[1].steps[0], StepOutcome.FAILED))
    say()
    snapshots.check("tests/golden/status.txt", "\n".join(lines) + "\n")


def test_log(snapshots: Snapshots) -> None:
    course = rolling(shop(Strategy()))
    last = course.fed[-1][0]
    said = e.RolloutAdvanced(
        id=course.fresh(),
        at=course.now,
        rollout=course.plan.rollout,
        owner="planner",
        version=9,
        inputs=(e.LoggedInput(at=course.now, message=json.loads(wire.encode(last))),),
        status_before="staging",
        status="rolling",
        notes=("batch gateway-1 waits: 2 nodes are unavailable",),
    )
    snapshots.check("tests/golden/log.txt", "\n".join(render.log_entry(said)) + "\n")
