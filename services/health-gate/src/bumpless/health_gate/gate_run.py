"""The life of one gate: opened, judged tick by tick, and ended once, by a verdict or by being closed.

Invariants: a gate has exactly one verdict, whose id is derived from the gate's, so that a gate judged again after
a loss of state says nothing new; an ended gate ignores everything; a gate closed before it was heard of stays
closed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from bumpless.common.contract.base import BatchId, Instant, Message, MessageId, Model, RolloutId, derive_id
from bumpless.common.contract.commands import CloseGate, OpenGate
from bumpless.common.contract.events import GateProgressed, VerdictReached
from bumpless.common.engine.decision import Deadline, Decision
from bumpless.common.model.verdict import CarriedEvidence, Evidence, Reason, Verdict
from bumpless.health_gate.judge import Judgement


class GateStatus(StrEnum):
    OPEN = "open"
    DECIDED = "decided"
    CLOSED = "closed"


class GateRun(Model):
    """One gate. `opened` is None where it was closed before it was opened; `shown` is what dashboards last got."""

    gate: MessageId
    rollout: RolloutId
    batch: BatchId
    status: GateStatus
    opened: OpenGate | None = None
    ticked_at: Instant | None = None
    shown: tuple[str, tuple[Evidence, ...]] | None = None


class Judged(Message):
    """One tick's judgement. Made and handled inside this service; never on the wire."""

    type: Literal["judged"] = "judged"
    gate: MessageId
    verdict: Verdict | None
    reason: Reason
    detail: str
    evidence: tuple[Evidence, ...]
    carried: CarriedEvidence | None = None


def judged(gate: OpenGate, judgement: Judgement, now: datetime) -> Judged:
    """`judgement`, as a message to its gate."""
    return Judged(
        id=derive_id(gate.gate, "tick", now.isoformat()),
        at=now,
        cause=gate.id,
        gate=gate.gate,
        verdict=judgement.verdict,
        reason=judgement.reason,
        detail=judgement.detail,
        evidence=judgement.evidence,
        carried=judgement.carried,
    )


def decide(state: GateRun | None, message: Message, now: datetime) -> Decision[GateRun | None]:
    """What `message` does to a gate. `VerdictReached` is this service's own word, read back from the log."""
    match message:
        case OpenGate():
            if state is None:
                return Decision(_run(message, GateStatus.OPEN, message), notes=("gate opened",))
            return Decision(state, notes=(f"gate is known already, and {state.status}",))
        case CloseGate():
            return _ended(state, message, GateStatus.CLOSED)
        case VerdictReached():
            return _ended(state, message, GateStatus.DECIDED)
        case Judged() if state is not None and state.opened is not None and state.status is GateStatus.OPEN:
            return _judged(state, state.opened, message, now)
        case _:
            known = "unknown" if state is None else str(state.status)
            return Decision(state, notes=(f"{type(message).__name__} ignored: gate is {known}",))


def next_deadline(state: GateRun | None) -> Deadline | None:
    """The next tick, never later than the gate's own deadline; None for an ended gate."""
    if state is None or state.opened is None or state.status is not GateStatus.OPEN:
        return None
    opened = state.opened
    last = opened.at if state.ticked_at is None else state.ticked_at
    due = last + timedelta(seconds=opened.spec.interval_s)
    return Deadline("tick", min(due, opened.deadline) if last < opened.deadline else due)


def _run(
    message: OpenGate | CloseGate | VerdictReached, status: GateStatus, opened: OpenGate | None
) -> GateRun:
    return GateRun(
        gate=message.gate, rollout=message.rollout, batch=message.batch, status=status, opened=opened
    )


def _ended(
    state: GateRun | None, message: CloseGate | VerdictReached, status: GateStatus
) -> Decision[GateRun | None]:
    if state is None:
        return Decision(_run(message, status, None), notes=(f"gate {status} before it was opened",))
    if state.status is not GateStatus.OPEN:
        return Decision(state, notes=(f"gate is {state.status} already",))
    return Decision(state.model_copy(update={"status": status}), notes=(f"gate {status}",))


def _judged(state: GateRun, opened: OpenGate, tick: Judged, now: datetime) -> Decision[GateRun | None]:
    messages: list[Message] = []
    if tick.verdict is not None:
        messages.append(
            VerdictReached(
                id=derive_id(state.gate, "verdict"),
                at=now,
                cause=opened.id,
                gate=state.gate,
                rollout=state.rollout,
                batch=state.batch,
                verdict=tick.verdict,
                reason=tick.reason,
                detail=tick.detail,
                evidence=tick.evidence,
                opened_at=opened.at,
                carried=tick.carried,
            )
        )
    shown = (tick.detail, tick.evidence)
    if tick.verdict is not None or shown != state.shown:
        messages.append(
            GateProgressed(
                id=derive_id(tick.id, "progress"),
                at=now,
                cause=opened.id,
                rollout=state.rollout,
                batch=state.batch,
                verdict=tick.verdict,
                detail=tick.detail,
                evidence=tick.evidence,
            )
        )
    after = state.model_copy(
        update={
            "status": GateStatus.OPEN if tick.verdict is None else GateStatus.DECIDED,
            "ticked_at": now,
            "shown": shown,
        }
    )
    note = (
        f"not yet: {tick.detail}"
        if tick.verdict is None
        else f"{tick.verdict} ({tick.reason}): {tick.detail}"
    )
    return Decision(after, tuple(messages), (note,))
