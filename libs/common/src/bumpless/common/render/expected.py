"""How long a plan is expected to take, and how that was worked out. Pure.

Steps take as long as the last ones of the same component did. A batch ends with its slowest node, so of n nodes that
are switched at once the time is taken that one of n is likely to need: the n / (n + 1) quantile. Without history a
step takes at least its soak and lame duck. Gates take their warm-up and window, waits what the release says,
approvals nothing. The upper bound is the longest that the plan's own limits let everything take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from bumpless.common.contract.base import Model
from bumpless.common.contract.plan_answer import Earlier, Took
from bumpless.common.model.plan import Batch, Direction, Plan
from bumpless.common.model.rollout import BatchStatus
from bumpless.common.render.groups import in_order
from bumpless.common.render.schedule import Span, schedule
from bumpless.common.render.words import count, duration


class StepTime(Model):
    """`source`: `history` (of `rollouts` rollouts, `steps` measured, `median_s`), or `limits`: soak and lame duck."""

    component: str
    source: Literal["history", "limits"]
    median_s: float
    steps: int = 0
    rollouts: int = 0


class Expected(Model):
    """Seconds. `history` says whether every component has some; where not, `expected_s` is a lower bound.

    `at_most_s` is what the limits allow. `staging_s` is a part of `expected_s`. Neither has the time of people, whose
    `approvals` are counted. `steps` says for each component what its time rests on.
    """

    expected_s: float
    at_most_s: float
    staging_s: float
    history: bool
    approvals: int
    steps: tuple[StepTime, ...]


def expected(plan: Plan, earlier: Earlier, spans: Sequence[Span]) -> Expected:
    """`spans` are those of `likely`."""
    known = {took.component: took for took in earlier.steps if took.seconds}
    longest = schedule(
        plan,
        {batch.id: batch.apply_timeout_s for batch in plan.batches},
        {batch.id: 0 if batch.gate is None else batch.gate.timeout_s for batch in plan.batches},
    )
    forward = plan.direction is Direction.FORWARD  # a revert stages nothing before it starts
    staged = forward and any(step.after is not None for step in plan.steps())
    staging = _quantile(sorted(earlier.staging_s), 1) if staged and earlier.staging_s else 0.0
    by_component: dict[str, Batch] = {}
    for batch in in_order(plan):
        by_component.setdefault(batch.component, batch)
    return Expected(
        expected_s=round(staging + max((span.end for span in spans), default=0.0), 3),
        at_most_s=round(
            (plan.stage_timeout_s if staged else 0) + max((span.end for span in longest), default=0.0), 3
        ),
        staging_s=round(staging, 3),
        history=set(by_component) <= set(known),
        approvals=int(plan.approval) + sum(1 for batch in plan.batches if batch.approval),
        steps=tuple(_basis(plan, batch, known.get(name)) for name, batch in by_component.items()),
    )


def likely(plan: Plan, earlier: Earlier) -> list[Span]:
    """The plan's run with the times that are expected."""
    known = {took.component: took.seconds for took in earlier.steps if took.seconds}
    return schedule(
        plan,
        {batch.id: _apply_s(plan, batch, known) for batch in plan.batches},
        {batch.id: _bake_s(batch) for batch in plan.batches},
    )


def remaining(plan: Plan, earlier: Earlier, batches: Mapping[str, str]) -> float:
    """Seconds until the plan's end when its batches have these statuses, and approvals and pauses take no time."""
    left = {b.id: b for b in plan.batches if batches.get(b.id) != BatchStatus.PASSED}
    known = {took.component: took.seconds for took in earlier.steps if took.seconds}
    apply_s, bake_s = {}, {}
    for batch in left.values():
        status = batches.get(batch.id, "")
        begun = status == BatchStatus.APPLYING
        baking = status.startswith(BatchStatus.BAKING)
        waits = 0.0 if begun or any(need in left for need in batch.needs) else batch.wait_s
        apply_s[batch.id] = 0.0 if baking else waits + _apply_s(plan, batch, known)
        bake_s[batch.id] = _bake_s(batch)
    rest = tuple(
        b.model_copy(update={"needs": tuple(need for need in b.needs if need in left)}) for b in left.values()
    )
    spans = schedule(plan.model_copy(update={"batches": rest}), apply_s, bake_s)
    return max((span.end for span in spans), default=0.0)


def in_words(found: Expected) -> list[str]:
    """The answer in the first line, then what it rests on."""
    about = "about" if found.history else "at least"
    beside = ", approvals not counted" if found.approvals else ""
    lines = [
        f"{about} {duration(found.expected_s)}, at most {duration(found.at_most_s)} by its limits{beside}"
    ]
    for step in found.steps:
        if step.source == "history":
            lines.append(
                f"{step.component}: {_short(step.median_s)} a step, the median of {step.steps} "
                f"in {count(step.rollouts, 'earlier rollout')}"
            )
        else:
            lines.append(
                f"{step.component}: no earlier step is known; {_short(step.median_s)} of soak and lame duck"
            )
    if found.staging_s:
        lines.append(f"staging: {_short(found.staging_s)}, the median of earlier rollouts")
    if found.approvals:
        lines.append(f"{count(found.approvals, 'approval')}: as long as people take")
    return lines


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def _apply_s(plan: Plan, batch: Batch, known: Mapping[str, Sequence[float]]) -> float:
    seconds = known.get(batch.component)
    return _shortest(plan, batch) if seconds is None else _quantile(seconds, len(batch.steps))


def _bake_s(batch: Batch) -> float:
    return 0.0 if batch.gate is None else batch.gate.warm_up_s + batch.gate.window_s


def _basis(plan: Plan, batch: Batch, took: Took | None) -> StepTime:
    if took is None:
        return StepTime(component=batch.component, source="limits", median_s=_shortest(plan, batch))
    return StepTime(
        component=batch.component,
        source="history",
        median_s=round(_quantile(took.seconds, 1), 3),
        steps=len(took.seconds),
        rollouts=took.rollouts,
    )


def _shortest(plan: Plan, batch: Batch) -> float:
    found = 0.0
    for kind in {(step.before, step.after) for step in batch.steps}:
        after = plan.targets.get(kind[1]) if kind[1] is not None else None
        before = plan.targets.get(kind[0]) if kind[0] is not None else None
        soak = after.run.timing.soak_s if after is not None else 0.0
        duck = before.run.timing.lame_duck_s if before is not None else 0.0
        found = max(found, soak + duck)
    return found


def _quantile(ordered: Sequence[float], of: int) -> float:
    """What one of `of` is likely to need: the of / (of + 1) quantile of sorted values, between neighbours in proportion."""
    place = (len(ordered) - 1) * of / (of + 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
