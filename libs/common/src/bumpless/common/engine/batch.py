"""One batch: what a node's answer makes of it, whether it may start, and the gate it opens. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from bumpless.common.contract.base import derive_id
from bumpless.common.contract.commands import GateMember, OpenGate
from bumpless.common.contract.events import StepFinished, StepOutcome
from bumpless.common.model.plan import Batch, Plan, Step, node_of
from bumpless.common.model.rollout import BatchState, BatchStatus, Rollout, StepFact

GATE_GRACE_S = 30.0
"""How long after a gate's own deadline its verdict may take: one restart of the health gate and its lease."""

CRASH_LOOPING = "crash-looping"
"""The outcome of a step whose version came up and did not stay up. Nothing that was said before outweighs it."""

_NOT_STARTED = frozenset({BatchStatus.PENDING, BatchStatus.AWAITING_APPROVAL})
_GOOD = frozenset({StepOutcome.DONE, StepOutcome.ALREADY})


def fact_of(plan: Plan, step: Step, result: StepFinished) -> StepFact:
    """What `result` says about `step`: good only if the node observed exactly the wanted digest running."""
    wanted = None if step.after is None else plan.targets[step.after].root
    good = result.outcome in _GOOD
    reason = result.reason
    if good and result.root != wanted:
        good, reason = False, f"expected {wanted} to run afterwards, the node observed {result.root}"
    return StepFact(
        ok=good,
        outcome=result.outcome,
        root=result.root,
        reason=reason,
        switched_at=result.switched_at,
        idle=result.idle,
    )


def is_news(state: BatchState, step: Step, fact: StepFact) -> bool:
    """Whether `fact` says more of `step` than is known: not where that was known, or a better one."""
    known = state.steps.get(step.key)
    return not (known is None or known == fact or known.ok or known.outcome == CRASH_LOOPING)


def crash_loop(state: BatchState, step: Step, reason: str) -> StepFact | None:
    """That what `step` brought does not stay up; None where that is known, or the step was not commanded."""
    known = state.steps.get(step.key)
    if known is None or known.outcome == CRASH_LOOPING:
        return None
    return known.model_copy(update={"ok": False, "outcome": CRASH_LOOPING, "reason": reason})


def brings(plan: Plan, step: Step, root: str, version: str) -> bool:
    """Whether `version`, with the tree `root`, is what `step` comes to. Two versions may have the same tree."""
    target = None if step.after is None else plan.targets[step.after]
    return target is not None and (target.root, target.version) == (root, version)


def failures(state: BatchState) -> list[tuple[str, StepFact]]:
    return [(key, fact) for key, fact in state.steps.items() if fact.ok is False]


def waiting(state: BatchState) -> list[str]:
    return [key for key, fact in state.steps.items() if fact.ok is None]


def is_waiting(state: BatchState) -> bool:
    """Whether any step has not answered. They answer about in the order in which they are told, so the last is looked
    at first."""
    return any(fact.ok is None for fact in reversed(state.steps.values()))


def past_horizon(rollout: Rollout) -> str:
    """Why a failure must not be taken back without a person; empty where it may be.

    The horizon counts as passed as soon as a node was told to pass it: a new instance serves beside the old one
    before its step is done, and a node that says nothing may have one.
    """
    for batch in rollout.plan.batches:
        if batch.freeze and any(_may_have_served(fact) for fact in rollout.batches[batch.id].steps.values()):
            return batch.horizon
    return ""


def _may_have_served(fact: StepFact) -> bool:
    return fact.outcome != StepOutcome.REFUSED


def unavailable(rollout: Rollout) -> frozenset[str]:
    """The nodes in the middle of a switch, or left by a failed one."""
    return frozenset(
        node_of(key) for state in rollout.batches.values() for key, fact in state.steps.items() if not fact.ok
    )


def fits(rollout: Rollout, batch: Batch, *, alone: bool = False) -> bool:
    """Whether `batch` may start now without taking more nodes out than the budget allows.

    `alone`: as if nothing but this rollout took nodes out.
    """
    nodes = unavailable(rollout) | {step.node for step in batch.steps}
    if not alone:
        nodes |= rollout.out.keys()
    return len(nodes) <= rollout.plan.max_unavailable


def held(rollout: Rollout, now: datetime) -> list[Batch]:
    """The batches that would start now, were no node out for reasons outside of this rollout."""
    return [
        batch
        for batch in rollout.plan.batches
        if rollout.batches[batch.id].status is BatchStatus.PENDING
        and (not batch.approval or rollout.batches[batch.id].approved)
        and (due := start_due(rollout, batch)) is not None
        and due <= now
        and not fits(rollout, batch)
        and fits(rollout, batch, alone=True)
    ]


def start_due(rollout: Rollout, batch: Batch) -> datetime | None:
    """When `batch` may start by its order and interval; None while something it needs has not passed."""
    needed = [rollout.batches[need] for need in batch.needs]
    if any(state.status is not BatchStatus.PASSED for state in needed):
        return None
    latest = max((state.since for state in needed), default=rollout.since)
    return latest + timedelta(seconds=batch.wait_s if needed else 0)


def judged(rollout: Rollout, batch: Batch, state: BatchState) -> list[Step]:
    """The steps of `batch` whose nodes can be judged: those that are done, less those of nodes that are still drained."""
    return [
        step
        for step in batch.steps
        if (fact := state.steps[step.key]).ok and not (fact.idle and step.node in rollout.out)
    ]


def only_drained(rollout: Rollout, batch: Batch, state: BatchState) -> bool:
    """Whether all that is done of `batch` was put in place on nodes that are still drained."""
    return any(fact.ok for fact in state.steps.values()) and not judged(rollout, batch, state)


def proven_elsewhere(rollout: Rollout, batch: Batch) -> bool:
    """Whether what `batch` brings was judged on other nodes, and passed."""
    return any(
        other.id != batch.id
        and (other.component, other.hop) == (batch.component, batch.hop)
        and other.gate is not None
        and rollout.batches[other.id].status is BatchStatus.PASSED
        and bool(judged(rollout, other, rollout.batches[other.id]))
        for other in rollout.plan.batches
    )


def open_gate(rollout: Rollout, batch: Batch, state: BatchState, now: datetime, cause: str) -> OpenGate:
    """The command to judge `batch`: its switched nodes against those that still run what this hop leaves.

    A step that failed within the tolerance runs the earlier version and is not judged. Nodes that are out for reasons
    outside of this rollout are nobody's peers, and those that are drained run nothing to judge.
    """
    assert batch.gate is not None
    gate = derive_id(rollout.id, batch.id, "gate", str(state.attempt + 1))

    def member(step: Step, which: str) -> GateMember | None:
        target = rollout.plan.targets.get(getattr(step, which))
        if target is None:
            return None
        return GateMember(node=step.node, component=step.component, version=target.version, root=target.root)

    peers = [
        step
        for other in rollout.plan.batches
        if other.component == batch.component and rollout.batches[other.id].status in _NOT_STARTED
        for step in other.steps
        if step.node not in rollout.out
        # A node with a hop in between may run something else than what this one leaves.
        if other.hop == batch.hop or step.after is None
    ]
    switched = judged(rollout, batch, state)
    earlier = _passed_before(rollout, batch)
    alike = [other for other in rollout.plan.batches if other.gate is not None and other.gate.sequential]
    mine = sum(other.component == batch.component for other in alike)
    moments = [fact.switched_at for fact in state.steps.values() if fact.switched_at is not None]
    return OpenGate.model_validate(
        {
            "id": derive_id(gate, "open"),
            "at": now,
            "cause": cause,
            "gate": gate,
            "rollout": rollout.id,
            "batch": batch.id,
            "spec": batch.gate,
            "canary": tuple(m for step in switched if (m := member(step, "after")) is not None),
            "control": tuple(m for step in peers if (m := member(step, "before")) is not None),
            "switched_at": min(moments, default=now),
            "deadline": now + timedelta(seconds=batch.gate.timeout_s),
            "batches": max(1, mine),
            "share": mine / len(alike) if mine else 1,
            "earlier": tuple(
                m
                for other in earlier
                for step in judged(rollout, other, rollout.batches[other.id])
                if (m := member(step, "after")) is not None
            ),
            "carried": next(
                (found for other in reversed(earlier) if (found := rollout.batches[other.id].carried)), None
            ),
        }
    )


def _passed_before(rollout: Rollout, batch: Batch) -> list[Batch]:
    """The batches of the same component and hop that passed a sequential gate, in the order of the plan.

    None where `batch` itself is not judged so.
    """
    if batch.gate is None or not batch.gate.sequential:
        return []
    return [
        other
        for other in rollout.plan.batches
        if (other.component, other.hop) == (batch.component, batch.hop)
        and other.gate is not None
        and rollout.batches[other.id].status is BatchStatus.PASSED
    ]
