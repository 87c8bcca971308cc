"""A plan as a browser needs it: its batches, what they wait for, and which nodes they have. Pure."""

from __future__ import annotations

from typing import Any

from bumpless.common.model.plan import Plan


def outline(plan: Plan) -> dict[str, Any]:
    """JSON types."""
    return {
        "hash": plan.hash,
        "approval": plan.approval,
        "batches": [
            {
                "id": batch.id,
                "component": batch.component,
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
