"""Values the executor's tests are made of."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from bumpless.common.contract.base import BatchId, Digest, PlanHash, RolloutId, derive_id
from bumpless.common.contract.commands import ApplyComponent, StageComponent
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release import Run, Timing

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FAST = Timing(ready_timeout_s=2, soak_s=0.05, lame_duck_s=0, drain_timeout_s=0.3, warm_s=60)


def digest(text: str) -> Digest:
    return Digest("sha256:" + hashlib.sha256(text.encode()).hexdigest())


def target(version: str, component: str = "api", mode: str = "", **run: Any) -> Target:
    given = {"command": ("python3", "main.py"), "timing": FAST, "env": {"PROBE_MODE": mode}} | run
    return Target(
        component=component,
        version=version,
        root=digest(version),
        artifact=digest("artifact " + version),
        artifact_size=100,
        run=Run(**given),
    )


def _fields(
    number: tuple[int, int], node: str, component: str, direction: Direction, valid_s: float, kind: str
) -> dict[str, Any]:
    return {
        "id": derive_id("test", kind, node, component, *map(str, number)),
        "at": T0,
        "rollout": RolloutId("r1"),
        "plan_hash": PlanHash("sha256:plan"),
        "direction": direction,
        "generation": number[0],
        "sequence": number[1],
        "node": node,
        "component": component,
        "expires_at": T0 + timedelta(seconds=valid_s),
    }


def apply(
    number: tuple[int, int],
    after: Target | None,
    before: Target | None = None,
    *,
    node: str = "node-a",
    component: str = "api",
    direction: Direction = Direction.FORWARD,
    valid_s: float = 600,
    hold_s: float = 0,
) -> ApplyComponent:
    fields = _fields(number, node, component, direction, valid_s, "apply")
    return ApplyComponent(**fields, batch=BatchId("b1"), target=after, before=before, hold_s=hold_s)


def stage(
    number: tuple[int, int],
    after: Target | None,
    *,
    node: str = "node-a",
    component: str = "api",
    valid_s: float = 600,
) -> StageComponent:
    fields = _fields(number, node, component, Direction.FORWARD, valid_s, "stage")
    return StageComponent(**fields, batch=None, target=after, before=None)
