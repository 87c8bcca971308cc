"""What a person should know before a plan runs: where nobody judges, where one node is all there is, where there is no way back. Pure."""

from __future__ import annotations

from bumpless.common.model.gate import OnInconclusive
from bumpless.common.model.plan import Direction, Plan
from bumpless.common.model.release import RollbackPolicy
from bumpless.common.render.actions import Action, counts
from bumpless.common.render.capacity import Capacity
from bumpless.common.render.schedule import Span
from bumpless.common.render.words import count, names


def risks(plan: Plan, room: list[Capacity]) -> list[str]:
    """In the order of how much they matter; empty for a plan that changes nothing."""
    if not plan.batches:
        return []
    batches = plan.batches
    changed = list(dict.fromkeys(batch.component for batch in batches))
    found = counts(plan)

    def those(action: Action) -> list[str]:
        return [name for name in changed if found[name][action]]

    said = []
    if removed := those(Action.REMOVE):
        said += [
            f"{name}: {count(found[name][Action.REMOVE], 'node')} will not serve it any more"
            for name in removed
        ]
    if (older := those(Action.DOWNGRADE)) and plan.direction is Direction.FORWARD:
        said.append(f"{names(older)}: an older version comes; it must read what the newer one wrote")
    exclusive = sorted({t.component for t in plan.targets.values() if not t.run.overlap} & set(changed))
    if exclusive:
        said.append(f"{names(exclusive)}: two instances may not work at once, so clients wait at each switch")
    alone = [
        c.component for c in room if c.component not in exclusive and c.before and c.after and not c.lowest
    ]
    if alone:
        said.append(
            f"{names(alone)}: every node that serves it is switched at once, the old version beside the new one"
        )
    unjudged = sorted({b.component for b in batches if b.gate is None} - set(removed))
    if unjudged and plan.direction is Direction.FORWARD:
        said.append(f"{names(unjudged)}: no gate judges the new version; it passes when it is ready")
    lenient = sorted(
        {b.component for b in batches if b.gate and b.gate.on_inconclusive is OnInconclusive.PASS}
    )
    if lenient:
        said.append(f"{names(lenient)}: a gate without enough data passes")
    if tolerant := sorted({b.component for b in batches if b.tolerance}):
        said.append(f"{names(tolerant)}: a batch passes although steps of it failed")
    if left := sorted({b.component for b in batches if b.for_good}):
        said.append(
            f"{names(left)}: a version that a hop leaves for good does not fit what comes later, so it is not kept warm "
            "and no node returns to it by itself"
        )
    if plan.rollback_policy is RollbackPolicy.MANUAL and plan.direction is Direction.FORWARD:
        said.append("a failed rollout stays where it is until a person acts")
    return said


def horizon(spans: list[Span]) -> tuple[str | None, str]:
    """The first batch after which going back is not free, if any; and that in words."""
    if not spans:
        return None, "nothing to take back"
    marked = next((span.batch for span in spans if span.batch.horizon), None)
    if marked is None:
        return None, "free to the end: every batch can be taken back"
    freezes = next((span.batch.id for span in spans if span.batch.freeze), None)
    halts = "" if freezes is None else f"; once {freezes} has begun a failure halts for a person"
    if marked is spans[0].batch:
        return marked.id, f"not free from the first batch on, {marked.id}: {marked.horizon}{halts}"
    return marked.id, f"free until {marked.id} is applied: {marked.horizon}{halts}"
