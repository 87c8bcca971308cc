"""Builders of targets, releases, fleets and plans: small, plain, and the same every time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bumpless.common.contract.base import BatchId, Digest, RolloutId, derive_id
from bumpless.common.model.fleet import ComponentObserved, ComponentState, Fleet, Node
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.plan import Batch, Direction, Plan, Step, Target
from bumpless.common.model.release import Component, Placement, Release, Run
from bumpless.common.model.strategy import Strategy
from bumpless.planner.targets import STANDARD_METRICS

T0 = datetime(2030, 1, 1, 12, tzinfo=UTC)
GATE = GateSpec(window_s=10, timeout_s=100, warm_up_s=0)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def digest(text: str) -> Digest:
    return Digest("sha256:" + hashlib.sha256(text.encode()).hexdigest())


def target(component: str, version: str) -> Target:
    return Target(
        component=component,
        version=version,
        release=version,
        keep_metrics=tuple(sorted(STANDARD_METRICS)),
        root=digest(f"root {component} {version}"),
        artifact=digest(f"artifact {component} {version}"),
        artifact_size=1000,
        run=Run(command=(f"bin/{component}",)),
    )


def batch(
    name: str,
    nodes: Sequence[str],
    *,
    component: str = "api",
    needs: Sequence[str] = (),
    before: str | None = "v1",
    after: str | None = "v2",
    **more: Any,
) -> Batch:
    """A batch that takes `component` on `nodes` from one version to another."""
    return Batch(
        id=BatchId(name),
        component=component,
        steps=tuple(
            Step(
                node=node,
                component=component,
                before=None if before is None else target(component, before).id,
                after=None if after is None else target(component, after).id,
            )
            for node in nodes
        ),
        needs=tuple(BatchId(need) for need in needs),
        **{"apply_timeout_s": 60, **more},
    )


def plan(*batches: Batch, max_unavailable: int = 10, generation: int = 7, **more: Any) -> Plan:
    """A plan over `batches` whose targets are the v1 and v2 of every component in them."""
    known = {
        found.id: found
        for name in sorted({b.component for b in batches})
        for found in (target(name, "v1"), target(name, "v2"))
    }
    fields = {
        "rollout": RolloutId(derive_id("test", "rollout")),
        "product": "shop",
        "release_version": "v2",
        "release_digest": digest("release v2"),
        "direction": Direction.FORWARD,
        "generation": generation,
        "targets": known,
        "batches": batches,
        "max_unavailable": max_unavailable,
    }
    return Plan(**{**fields, **more})


def node(name: str, running: Mapping[str, Target | None], *, generation: int = 3, **labels: str) -> Node:
    """A node that was seen just now; `running` maps components to what serves (None: nothing)."""
    return Node(
        name=name,
        address=f"10.0.0.{int(hashlib.sha256(name.encode()).hexdigest()[:2], 16)}",
        labels={"role": name.rstrip("0123456789"), **labels},
        components={
            component: ComponentObserved(
                component=component,
                state=ComponentState.ABSENT if found is None else ComponentState.SERVING,
                target=found,
                root=None if found is None else found.root,
                generation=generation,
            )
            for component, found in running.items()
        },
        observed_at=T0,
    )


def fleet(*nodes: Node) -> Fleet:
    return Fleet(nodes=nodes)


def component(name: str, version: str = "v2", **more: Any) -> Component:
    made = target(name, version)
    return Component(
        **{
            "name": name,
            "version": version,
            "root": made.root,
            "artifact": made.artifact,
            "artifact_size": made.artifact_size,
            "run": made.run,
            "strategy": Strategy(),
            "place": Placement(),
            **more,
        }
    )


def release(*components: Component, version: str = "v2", **more: Any) -> Release:
    return Release(product="shop", version=version, components=components, **more)
