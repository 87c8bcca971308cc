"""The words the executor says about a command. Ids are derived, so saying it twice is saying it once."""

from __future__ import annotations

from datetime import datetime

from bumpless.common.contract.base import MessageId, derive_id
from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.contract.events import StepFinished, StepOutcome, StepProgressed, StepStaged
from bumpless.common.model.fleet import ComponentState
from bumpless.executor.inputs import Staged
from bumpless.executor.precheck import same
from bumpless.executor.record import Command, ComponentRecord, Instance

SHARES = {
    ComponentState.STAGING: 0.1,
    ComponentState.STARTING: 0.4,
    ComponentState.SWITCHING: 0.7,
    ComponentState.DRAINING: 0.8,
}
"""How far a step is, for progress bars: at its places in the state machine, not by measured time."""
UNSAID = 0.9
"""How far it is while its answer waits."""

_SERVES = (StepOutcome.DONE, StepOutcome.ALREADY)


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


def still_at_work(record: ComponentRecord) -> tuple[Instance, ...]:
    """What was given up, is of another version than the current one, and has not ended yet."""
    return tuple(i for i in record.stopping if i.given_up and not same(i.target, record.current))


def is_true(record: ComponentRecord) -> bool:
    """Whether what is unsaid may be said: whoever hears that a version runs relies on no other being at work."""
    serves = isinstance(record.unsaid, StepFinished) and record.unsaid.outcome in _SERVES
    return not serves or not still_at_work(record)


def awaited(record: ComponentRecord) -> str:
    """What the unsaid answer waits for."""
    versions = ", ".join(sorted({i.target.version for i in still_at_work(record)}))
    return f"answered once what was given up of {versions} has ended"


def said(record: ComponentRecord) -> ComponentRecord:
    """What was unsaid goes to the outbox."""
    if record.unsaid is None:
        return record
    outbox = (*record.outbox, record.unsaid)
    return record.model_copy(update={"unsaid": None, "result": record.unsaid, "outbox": outbox})


def overtaken(record: ComponentRecord, now: datetime, reason: str) -> ComponentRecord:
    """With the answer that the standing command failed, in the place of one that was unsaid and will not be true."""
    if record.unsaid is None or record.command is None:
        return record
    answer = given_up(record, record.command, now, reason)
    return said(record.model_copy(update={"unsaid": answer}))


def progressed(record: ComponentRecord, now: datetime, detail: str = "") -> StepProgressed | None:
    """Where the standing command is; None: there is none."""
    command = record.command
    if command is None:
        return None
    share = SHARES.get(record.state, 1.0) if record.unsaid is None else UNSAID
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
