"""A plan as a browser needs it: its batches, what they wait for, and which nodes they have. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bumpless.common.model.plan import Plan, TargetId


def outline(plan: Plan) -> dict[str, Any]:
    """JSON types. `before` and `after` of a batch are the versions it leaves and brings; none: the component is not there."""
    return {
        "hash": plan.hash,
        "approval": plan.approval,
        "batches": [
            {
                "id": batch.id,
                "component": batch.component,
                "before": _versions(plan, (step.before for step in batch.steps)),
                "after": _versions(plan, (step.after for step in batch.steps)),
                "needs": list(batch.needs),
                "nodes": [step.node for step in batch.steps],
                "canary": batch.canary,
                "approval": batch.approval,
                "gate": batch.gate is not None,
                "wait_s": batch.wait_s,
                "horizon": batch.horizon,
            }
            for batch in plan.batches
        ],
    }


def _versions(plan: Plan, targets: Iterable[TargetId | None]) -> list[str]:
    return sorted({plan.targets[found].version for found in targets if found is not None})
