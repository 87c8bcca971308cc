"""The words the executor says about a command. Ids are derived, so saying it twice is saying it once."""

from __future__ import annotations

from datetime import datetime

from bumpless.common.contract.base import MessageId, derive_id
from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.contract.events import StepFinished, StepOutcome, StepProgressed, StepStaged
from bumpless.common.model.fleet import ComponentState
from bumpless.executor.inputs import Staged
from bumpless.executor.record import Command, ComponentRecord

SHARES = {
    ComponentState.STAGING: 0.1,
    ComponentState.STARTING: 0.4,
    ComponentState.SWITCHING: 0.7,
    ComponentState.DRAINING: 0.8,
}
"""How far a step is, for progress bars: at its places in the state machine, not by measured time."""


def result_id(command: Command, role: str) -> MessageId:
    """The id of this node's one answer to `command` in the given role."""
    number = (str(command.generation), str(command.sequence))
    return derive_id(command.rollout, command.node, command.component, *number, role)


def staged(command: Command, now: datetime, done: Staged | None, reason: str | None) -> StepStaged:
    """`done` None: it could not be staged, because of `reason`."""
    return StepStaged(
        id=result_id(command, "step-staged"),
        at=now,
        cause=command.id,
        rollout=command.rollout,
        direction=command.direction,
        plan_hash=command.plan_hash,
        node=command.node,
        component=command.component,
        sequence=command.sequence,
        ok=done is not None,
        used=done.used if done else None,
        bytes_fetched=done.bytes_fetched if done else 0,
        full_bytes=done.full_bytes if done else 0,
        reason=reason,
    )


def finished(
    record: ComponentRecord,
    command: Command,
    outcome: StepOutcome,
    now: datetime,
    *,
    reason: str | None = None,
    cut: tuple[str, ...] = (),
) -> StepFinished:
    """The end of `command`; what runs is taken from `record`, which must be the one after it."""
    runs = None if record.state is ComponentState.STUCK else record.current
    return StepFinished(
        id=result_id(command, "step-finished"),
        at=now,
        cause=command.id,
        rollout=command.rollout,
        direction=command.direction,
        batch=command.batch,
        plan_hash=command.plan_hash,
        node=command.node,
        component=command.component,
        generation=command.generation,
        sequence=command.sequence,
        outcome=outcome,
        root=runs.root if runs else None,
        version=runs.version if runs else None,
        reason=reason,
        switched_at=record.switched_at if outcome is StepOutcome.DONE else None,
        cut=cut,
        idle=record.out and runs is not None and not record.instances,
        seconds=_seconds(record, now),
    )


def given_up(
    record: ComponentRecord, command: Command, now: datetime, reason: str
) -> StepStaged | StepFinished:
    """The answer to a command that was taken and never acted on."""
    if isinstance(command, ApplyComponent):
        return finished(record, command, StepOutcome.FAILED, now, reason=reason)
    return staged(command, now, None, reason)


def progressed(record: ComponentRecord, now: datetime, detail: str = "") -> StepProgressed | None:
    """Where the standing command is; None: there is none."""
    command = record.command
    if command is None:
        return None
    share = SHARES.get(record.state, 1.0)
    return StepProgressed(
        id=derive_id(result_id(command, "step-progressed"), record.state, now.isoformat(), detail),
        at=now,
        cause=command.id,
        rollout=command.rollout,
        node=record.node,
        component=record.component,
        state=record.state,
        detail=detail,
        share=share,
    )


def _seconds(record: ComponentRecord, now: datetime) -> dict[str, float]:
    """How long each state of the transition took; `marks` holds when each was entered, in order."""
    marks = list(record.marks.items())
    ends = [at for _, at in marks[1:]] + [now]
    spans = zip(marks, ends, strict=False)
    return {name: round((end - at).total_seconds(), 4) for (name, at), end in spans}
