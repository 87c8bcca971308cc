"""From one command to a batch, to one command per node and component. Pure; the shell signs and publishes them."""

from __future__ import annotations

from typing import Any

from bumpless.common.contract.base import Digest, derive_id
from bumpless.common.contract.commands import (
    ApplyBatch,
    ApplyComponent,
    NodeCommand,
    StageArtifacts,
    StageComponent,
)
from bumpless.common.model.plan import Direction, Plan, Step, StepKey, Target, TargetId


def node_commands(plan: Plan, command: StageArtifacts | ApplyBatch) -> list[NodeCommand]:
    """The commands in the order of the steps; ids derive from the batch command, so a replay gives the same."""
    courses = _long_courses(plan)
    out: list[NodeCommand] = []
    for step in command.steps:
        course = courses.get(step.place, [])
        target, before = _target(plan, step.after), _target(plan, step.before)
        fields: dict[str, Any] = {
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
            "target": target,
            "before": before,
            "keep": _kept(plan, course, {t.root for t in (target, before) if t is not None}),
            "expires_at": command.expires_at,
        }
        if isinstance(command, ApplyBatch):
            fields |= {"batch": command.batch, "hold_s": command.hold_s, "for_good": command.for_good}
            out.append(ApplyComponent.model_validate(fields))
        else:
            fields |= {"batch": None, "further": _further(plan, step, course)}
            out.append(StageComponent.model_validate(fields))
    return out


def _long_courses(plan: Plan) -> dict[StepKey, list[Step]]:
    """The courses of more than one step."""
    if all(batch.hop == 1 for batch in plan.batches):
        return {}
    return {place: steps for place, steps in plan.courses().items() if len(steps) > 1}


def _target(plan: Plan, found: TargetId | None) -> Target | None:
    return None if found is None else plan.targets[found]


def _kept(plan: Plan, course: list[Step], named: set[Digest]) -> tuple[Digest, ...]:
    """Every tree that the course runs, but those `named` anyway."""
    ends = [_target(plan, end) for step in course for end in (step.before, step.after)]
    return tuple(dict.fromkeys(t.root for t in ends if t is not None and t.root not in named))


def _further(plan: Plan, first: Step, course: list[Step]) -> tuple[Target, ...]:
    """What the hops after `first` come to. Nothing is staged for the way back: a node has it, or fetches it then."""
    if plan.direction is Direction.REVERT:
        return ()
    later = [_target(plan, step.after) for step in course if step.hop > first.hop]
    return tuple(target for target in later if target is not None)
