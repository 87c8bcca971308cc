"""The moves of the component machine that several inputs share: enter a state, fail, finish, come to rest. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bumpless.common.contract.base import derive_id
from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.contract.events import StepFinished, StepOutcome, StepStaged
from bumpless.common.errors import Broken
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.plan import Direction, Target
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor import results
from bumpless.executor.precheck import root_of, same
from bumpless.executor.record import Command, ComponentRecord, Instance


@dataclass(frozen=True)
class Decision:
    """The next record, what to do about it in order, and why things did or did not happen."""

    state: ComponentRecord
    effects: tuple[do.Effect, ...] = ()
    notes: tuple[str, ...] = ()


Take = Callable[[ComponentRecord, Command, datetime], Decision]
"""Takes a command that waited, once the component is at rest."""


GO_BACK_S = 10.0
"""The least time an instance is kept warm: enough to take the command that goes back to it and resume it."""


def with_(record: ComponentRecord, **changes: Any) -> ComponentRecord:
    return record.model_copy(update=changes)


def enter(record: ComponentRecord, state: S, now: datetime, **changes: Any) -> ComponentRecord:
    """The record in `state`, with the moment it was entered."""
    return with_(record, state=state, marks={**record.marks, state.value: now}, **changes)


def then(decision: Decision, *effects: do.Effect) -> Decision:
    return Decision(decision.state, decision.effects + effects, decision.notes)


def instance_for(target: Target, cause: str, role: str, *, standby: bool = False) -> Instance:
    """An instance that is about to be started; its id follows from why."""
    return Instance(id=derive_id(cause, "instance", role), target=target, standby=standby)


def replaced(record: ComponentRecord, target: Target) -> Target | None:
    """What `previous` shall be once `target` is current: what serves now, unless that is the target itself."""
    return record.previous if record.current is None or same(record.current, target) else record.current


def dismissed(record: ComponentRecord) -> ComponentRecord:
    """Without its new instance, which is on its way out."""
    fresh = record.fresh
    leaving = (given_up(fresh),) if fresh is not None and fresh.pid else ()
    return with_(record, fresh=None, stopping=record.stopping + leaving)


def given_up(instance: Instance) -> Instance:
    """As it is recorded on its way out without having been drained before."""
    return instance.model_copy(update={"given_up": not instance.standby})


def let_go(record: ComponentRecord) -> Decision:
    """Without its new instance, which is told to stop."""
    after = dismissed(record)
    return Decision(after, tuple(do.StopOld(i) for i in after.stopping[len(record.stopping) :]))


def fail(record: ComponentRecord, reason: str) -> Decision:
    """Something went wrong after staging: undo it, whatever it was."""
    command = record.command
    if command is None:
        raise Broken(f"{record.component}: expected a standing command to undo, found none")
    undo = do.Restore(
        command=command,
        serving=record.serving,
        target=record.current,
        previous=root_of(record.previous),
        standby=derive_id(command.id, "instance", "restore"),
        exclusive=record.exclusive,
        untouched=record.state is S.STARTING,
        idle=record.out and record.serving is None,
    )
    fresh = record.fresh
    if fresh is None or fresh.standby or not record.exclusive:
        effects = (do.Abort(fresh), do.StopReviving(), undo)
        return Decision(with_(dismissed(record), failing=reason), effects, (reason,))
    # It may be the only one that holds the sockets, and ends when the earlier version is ready to follow it.
    waits = (do.Abort(None), do.StopReviving(), do.PauseOld(fresh), undo)
    return Decision(with_(record, failing=reason), waits, (reason,))


def finish(
    record: ComponentRecord,
    now: datetime,
    take: Take,
    before: tuple[do.Effect, ...] = (),
    *,
    cut: tuple[str, ...] = (),
    keep_warm: bool = False,
) -> Decision:
    """The new instance is the serving one. The old one is kept warm after a forward step, to go back at once.

    Not where the command says that the step is for good: what comes later may not fit the old version. `keep_warm`:
    whatever the command says, because the next command needs it.
    """
    command, fresh, old = record.command, record.fresh, record.serving
    if command is None or command.target is None or fresh is None:
        raise Broken(f"{record.component}: expected a new instance to take over, found none")
    warm_s = command.target.run.timing.warm_s if command.target.run.overlap else 0
    for_good = isinstance(command, ApplyComponent) and command.for_good
    stays = warm_s > 0 and command.direction is Direction.FORWARD and not for_good
    keep_warm = old is not None and (keep_warm or stays)
    until = now + timedelta(seconds=max(warm_s, GO_BACK_S))
    leaving = tuple(i for i in (record.warm, None if keep_warm else old) if i is not None)
    after = with_(
        record,
        state=S.SERVING,
        current=command.target,
        brought_by=command.plan_hash,
        previous=replaced(record, command.target),
        serving=fresh,
        fresh=None,
        warm=old if keep_warm else None,
        warm_until=until if keep_warm else None,
        stopping=record.stopping + leaving,
        lineage=(fresh.id,),
        restarts=0,
        crashes=0,
        crashed_at=(),
        # Only what a rollout brought is left for what was there before: nothing goes back to what was taken back.
        may_return=command.direction is Direction.FORWARD and not for_good,
        returned_from=None,
    )
    effects: tuple[do.Effect, ...] = before + tuple(do.StopOld(i) for i in leaving)
    if keep_warm and old is not None:
        effects += (do.KeepWarm(old, until),)
    return settle(after, StepOutcome.DONE, now, take, effects, cut=cut)


def hold_s(record: ComponentRecord) -> float:
    """How long what the standing command removes is held. Of an exclusive component nothing is: it must be gone."""
    command = record.command
    return command.hold_s if isinstance(command, ApplyComponent) and not record.exclusive else 0


def retire(record: ComponentRecord) -> do.Retire:
    """The removal that the standing command wants."""
    if record.command is None:
        raise Broken(f"{record.component}: expected a standing command to remove by, found none")
    return do.Retire(record.command, record.serving, root_of(record.current), hold=hold_s(record) > 0)


def installing(record: ComponentRecord) -> bool:
    """Whether the links are being moved without an instance, because the node is drained.

    A new instance that died on the way leaves its name in the record, or a reason to fail.
    """
    return record.state is S.SWITCHING and record.fresh is None and record.failing is None


def installation(record: ComponentRecord) -> do.Install:
    """What a record that is installing stands for."""
    command = record.command
    if command is None or command.target is None:
        raise Broken(f"{record.component}: expected a target to install, found none")
    return do.Install(command, command.target.root, root_of(replaced(record, command.target)))


def retired(record: ComponentRecord, now: datetime, take: Take, *, cut: tuple[str, ...]) -> Decision:
    """Nothing serves any more, as commanded. What did is held, if it shall be and has not ended meanwhile."""
    held = record.serving if hold_s(record) > 0 else None
    until = now + timedelta(seconds=hold_s(record))
    leaving = (record.warm,) if record.warm is not None else ()
    after = with_(
        record,
        state=S.ABSENT,
        current=None,
        brought_by=None,
        previous=record.current or record.previous,
        serving=None,
        warm=held,
        warm_until=None if held is None else until,
        stopping=record.stopping + leaving,
        restarts=0,
        crashes=0,
        crashed_at=(),
        may_return=False,
        returned_from=None,
    )
    effects: tuple[do.Effect, ...] = tuple(do.StopOld(i) for i in leaving)
    if held is not None:
        effects += (do.KeepWarm(held, until),)
    return settle(after, StepOutcome.DONE, now, take, effects, cut=cut)


def settle(
    record: ComponentRecord,
    outcome: StepOutcome,
    now: datetime,
    take: Take,
    before: tuple[do.Effect, ...] = (),
    reason: str | None = None,
    *,
    cut: tuple[str, ...] = (),
    staged: heard.Staged | None = None,
) -> Decision:
    """At rest: the answer to the standing command goes to the outbox once it is true, and what waited is taken.

    `record` is in its resting state already. `outcome` of a staging command says whether it is staged.
    """
    command = record.command
    if command is None:
        raise Broken(f"{record.component}: expected a standing command to answer, found none")
    result: StepStaged | StepFinished
    if isinstance(command, ApplyComponent):
        result = results.finished(record, command, outcome, now, reason=reason, cut=cut)
    else:
        if outcome is StepOutcome.ALREADY:
            staged = heard.Staged(command.id, "present", 0, 0)
        result = results.staged(command, now, staged, reason)
    failed = outcome in (StepOutcome.FAILED, StepOutcome.STUCK)
    rested = with_(
        record,
        rest=record.state,
        failing=None,
        reason=reason if failed else record.reason,
        unsaid=result,
        waiting=None,
    )
    notes: tuple[str, ...] = (f"{outcome}: {reason}" if reason else str(outcome),)
    if record.waiting is not None or results.is_true(rested):
        rested = results.said(rested)
    else:
        notes += (results.awaited(rested),)
    decision = Decision(rested, (*before, do.Report(), do.Collect()), notes)
    if record.waiting is None:
        return decision
    following = take(rested, record.waiting, now)
    return Decision(following.state, decision.effects + following.effects, notes + following.notes)
