"""From one command to a batch, to one command per node and component. Pure; the shell signs and publishes them."""

from __future__ import annotations

from bumpless.common.contract.base import derive_id
from bumpless.common.contract.commands import (
    ApplyBatch,
    ApplyComponent,
    NodeCommand,
    StageArtifacts,
    StageComponent,
)
from bumpless.common.model.plan import Plan, Target, TargetId


def node_commands(plan: Plan, command: StageArtifacts | ApplyBatch) -> list[NodeCommand]:
    """The commands in the order of the steps; ids derive from the batch command, so a replay gives the same."""

    def target(found: TargetId | None) -> Target | None:
        return None if found is None else plan.targets[found]

    out: list[NodeCommand] = []
    for step in command.steps:
        fields = {
            "id": derive_id(command.id, step.key),
            "at": command.at,
            "cause": command.id,
            "rollout": command.rollout,
            "plan_hash": command.plan_hash,
            "direction": command.direction,
            "generation": command.generation,
            "sequence": command.sequence,
            "node": step.node,
            "component": step.component,
            "target": target(step.after),
            "before": target(step.before),
            "expires_at": command.expires_at,
        }
        if isinstance(command, ApplyBatch):
            out.append(
                ApplyComponent.model_validate({**fields, "batch": command.batch, "hold_s": command.hold_s})
            )
        else:
            out.append(StageComponent.model_validate({**fields, "batch": None}))
    return out
