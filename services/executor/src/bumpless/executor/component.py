"""The machine of one component on one node: what is recorded, what was heard, the time -> the next record and effects.

Pure: no I/O, no clock, no randomness. Every pair of state and input stands in `PAIRS`; a pair that cannot happen is
ILLEGAL and raises `Broken`. The old version serves until the new one is proven; every failure on the way leads
through one `Restore`, whose answer decides between failed and stuck.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, get_args

from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.contract.events import StepOutcome
from bumpless.common.errors import Broken
from bumpless.common.model.fleet import ComponentState as S
from bumpless.executor import activation, exclusive, out_of_service, results, upkeep
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.precheck import (
    AlreadyThere,
    Foreign,
    Ready,
    Refusal,
    Repeated,
    Stale,
    check,
    fence,
    root_of,
    same,
)
from bumpless.executor.record import Command, ComponentRecord
from bumpless.executor.transition import (
    Decision,
    dismissed,
    enter,
    fail,
    finish,
    hold_s,
    installing,
    instance_for,
    let_go,
    replaced,
    retire,
    retired,
    settle,
    then,
    with_,
)


class Pair(StrEnum):
    """What a state does with an input."""

    ACT = "act"
    IGNORE = "ignore"
    ILLEGAL = "illegal"


def decide(record: ComponentRecord, given: heard.Input, now: datetime) -> Decision:
    """What follows from `given`. A decision that changes nothing returns the very record it was given.

    Raises:
        Broken: work answered that was never ordered in this state.
    """
    name = type(given).__name__
    if isinstance(given, get_args(heard.OfWork)) and (
        record.command is None or given.cause != record.command.id
    ):
        return Decision(record, notes=(f"{name} of work that was given up",))
    match PAIRS[record.state, type(given)]:
        case Pair.ILLEGAL:
            raise Broken(f"{record.component}: expected no {name} in state {record.state}, found {given}")
        case Pair.IGNORE:
            return Decision(record, notes=(f"{name} changes nothing in state {record.state}",))
    decision = _say(out_of_service.stand_down(_HANDLERS[type(given)](record, given, now)))
    after = decision.state
    if _shown(after) == _shown(record):
        return decision
    unsaid = results.awaited(after) if after.unsaid is not None else ""
    shown = results.progressed(after, now, after.failing or unsaid or after.reason or "")
    return decision if shown is None else then(decision, do.Progress(shown))


def _say(decision: Decision) -> Decision:
    """`decision`, and the answer that was unsaid, if it has become true."""
    record = decision.state
    if record.unsaid is None or not results.is_true(record):
        return decision
    notes = (*decision.notes, "what was given up has ended")
    return Decision(results.said(record), (*decision.effects, do.Report()), notes)


def _shown(record: ComponentRecord) -> tuple[S, str | None, str | None, bool]:
    """What a dashboard would see change."""
    command = record.command.id if record.command else None
    return record.state, record.failing, command, record.unsaid is not None


def _commanded(record: ComponentRecord, given: heard.Commanded, now: datetime) -> Decision:
    command = given.command
    match fence(command, record):
        case None:
            pass
        case Foreign(reason):
            return Decision(record, (do.Park(command, reason),), (reason,))
        case Stale(reason):
            return Decision(record, notes=(reason,))
        case Repeated() if given.live:
            return _asked(record, heard.Asked(), now)
        case Repeated():
            return Decision(record, notes=("the standing command, read again",))
    match record.state:
        case S.ABSENT | S.SERVING | S.STUCK if record.unsaid is not None:
            return then(_take(results.overtaken(record, now, _overtaken(command)), command, now), do.Report())
        case S.ABSENT | S.SERVING | S.STUCK:
            return _take(record, command, now)
        case S.STAGING | S.STARTING if record.failing is None:
            # Nothing has been switched: leave at once, and keep no one waiting for work nobody wants.
            left = with_(dismissed(record), waiting=command, state=record.rest)
            return settle(
                left, StepOutcome.FAILED, now, _take, (do.Abort(record.fresh),), _overtaken(command)
            )
        case S.DRAINING if _stays(record, command) or (_goes_back(record, command) and record.exclusive):
            return fail(with_(record, waiting=command), _overtaken(command))
        case S.DRAINING if _goes_back(record, command):
            # The old instance is still here and shall serve again: its drain has become pointless.
            return finish(with_(record, waiting=command), now, _take, (do.Abort(None),), keep_warm=True)
    return _wait(record, command, now)


def _take(record: ComponentRecord, command: Command, now: datetime) -> Decision:
    """From rest, the command becomes the standing one and is acted on or answered."""
    taken = with_(
        record,
        command=command,
        waiting=None,
        rest=record.state,
        marks={},
        alone=False,
        cut=(),
        switched_at=None,
        reason=None,
    )
    match check(command, record, now):
        case Refusal(reason):
            return settle(with_(taken, reason=record.reason), StepOutcome.REFUSED, now, _take, (), reason)
        case AlreadyThere():
            # The same tree run in the same way may still be described anew, for example in what it ships.
            anew = {"current": command.target, "brought_by": command.plan_hash if command.target else None}
            return settle(with_(taken, reason=record.reason, **anew), StepOutcome.ALREADY, now, _take)
        case Ready():
            pass
    if command.target is not None:
        return Decision(enter(taken, S.STAGING, now), (do.Stage(command, command.target),))
    if not isinstance(command, ApplyComponent):
        return settle(taken, StepOutcome.ALREADY, now, _take)
    leaving = enter(taken, S.DRAINING, now)
    return Decision(leaving, (do.StopReviving(), retire(leaving)))


def _staged(record: ComponentRecord, given: heard.Staged, now: datetime) -> Decision:
    command = _standing(record)
    if not isinstance(command, ApplyComponent):
        return settle(
            with_(record, state=record.rest), StepOutcome.DONE, now, _take, (), given.note, staged=given
        )
    if command.target is None:
        raise Broken(f"{record.component}: expected a target to start, found none")
    if record.out:
        return out_of_service.install(record, command, now)
    if record.exclusive:
        return exclusive.start(record, command, command.target, now)
    warm = record.warm
    reuse = warm is not None and same(warm.target, command.target)
    fresh = warm if reuse and warm else instance_for(command.target, command.id, "start")
    changes: dict[str, Any] = {"fresh": fresh} | ({"warm": None, "warm_until": None} if reuse else {})
    return Decision(enter(record, S.STARTING, now, **changes), (do.Start(command, fresh, reuse),))


def _stage_failed(record: ComponentRecord, given: heard.StageFailed, now: datetime) -> Decision:
    outcome = StepOutcome.STUCK if record.rest is S.STUCK else StepOutcome.FAILED
    return settle(with_(record, state=record.rest), outcome, now, _take, (), given.reason)


def _started(record: ComponentRecord, given: heard.Started, now: datetime) -> Decision:
    if record.failing is not None:
        return Decision(record, notes=("a process started while the step was being undone",))
    return Decision(with_(record, fresh=given.instance))


def _proven(record: ComponentRecord, given: heard.Proven, now: datetime) -> Decision:
    command = _standing(record)
    if record.failing is not None or command.target is None:
        return Decision(record, notes=("proven after the step had failed",))
    if record.exclusive:
        return exclusive.vacate(with_(record, fresh=given.instance), now)
    commit = do.CommitSwitch(command, command.target.root, root_of(replaced(record, command.target)))
    # The record saved before the links change is the intent that a restart finds.
    return Decision(enter(record, S.SWITCHING, now, fresh=given.instance), (do.StopReviving(), commit))


def _failed(
    record: ComponentRecord, given: heard.StartFailed | heard.SwitchFailed, now: datetime
) -> Decision:
    if record.failing is not None:
        return Decision(record, notes=("failed once already",))
    return fail(record, given.reason)


def _switched(record: ComponentRecord, given: heard.Switched, now: datetime) -> Decision:
    if record.failing is not None:
        return Decision(record, notes=("switched after the step had failed; it is being undone",))
    if installing(record):
        return out_of_service.installed(record, given, now, _take)
    if record.exclusive:
        return finish(with_(record, switched_at=given.at), now, _take, cut=record.cut)
    moved = enter(record, S.DRAINING, now, switched_at=given.at)
    command = _standing(record)
    if record.serving is None and (command.target is None or command.target.hooks.post_upgrade is None):
        return finish(moved, now, _take)
    return Decision(moved, (do.DrainOld(command, record.serving),))


def _drained(record: ComponentRecord, given: heard.Drained, now: datetime) -> Decision:
    if record.failing is not None:
        return Decision(record, notes=("drained after the step had failed; it is being undone",))
    if _standing(record).target is None:
        return retired(with_(record, switched_at=given.at), now, _take, cut=given.cut)
    if record.exclusive:
        return exclusive.vacated(record, given.cut, now)
    return finish(record, now, _take, cut=given.cut)


def _restored(record: ComponentRecord, given: heard.Restored, now: datetime) -> Decision:
    serving = given.instance
    if record.exclusive and serving is not None:
        return exclusive.follow(record, serving)
    # Without an instance although there is a version to serve: the node is drained.
    state = S.ABSENT if serving is None and record.current is None else S.SERVING
    alone = let_go(record)
    back = with_(alone.state, state=state, serving=serving)
    return upkeep.keep_trying(settle(back, StepOutcome.FAILED, now, _take, alone.effects, record.failing))


def _restore_failed(record: ComponentRecord, given: heard.RestoreFailed, now: datetime) -> Decision:
    # One that does not go when it is told to may still work, and is waited for.
    kept = (record.serving,) if record.exclusive and record.serving is not None else ()
    alone = let_go(record)
    gone = with_(alone.state, serving=None, stopping=alone.state.stopping + kept)
    ending = alone.effects + tuple(do.StopOld(i) for i in kept)
    return activation.stuck(gone, given.reason, now, _take, ending)


def _activated(record: ComponentRecord, given: heard.Activated, now: datetime) -> Decision:
    return activation.activated(record, given, now, _take)


def _activate_failed(record: ComponentRecord, given: heard.ActivateFailed, now: datetime) -> Decision:
    return activation.activate_failed(record, given, now, _take)


def _availability(record: ComponentRecord, given: heard.Availability, now: datetime) -> Decision:
    return out_of_service.told(record, given, now)


def _stood_down(record: ComponentRecord, given: heard.StoodDown, now: datetime) -> Decision:
    return out_of_service.stood_down(record, given)


def _acknowledged(record: ComponentRecord, given: heard.Acknowledged, now: datetime) -> Decision:
    left = tuple(r for r in record.outbox if r.id != given.message)
    return Decision(record if len(left) == len(record.outbox) else with_(record, outbox=left))


def _asked(record: ComponentRecord, given: heard.Asked, now: datetime) -> Decision:
    result = record.result
    if result is None or record.command is None or result.cause != record.command.id:
        return Decision(record, (do.Report(),), ("no result of the standing command yet",))
    if any(r.id == result.id for r in record.outbox):
        return Decision(record, (do.Report(),))
    return Decision(with_(record, outbox=(*record.outbox, result)), (do.Report(),))


def _observed(record: ComponentRecord, given: heard.Observed, now: datetime) -> Decision:
    return upkeep.observed(record, given.alive, now)


def _wait(record: ComponentRecord, command: Command, now: datetime) -> Decision:
    """The transition is past the point where it can be left: the newest command waits for its end."""
    note = f"command {command.generation}.{command.sequence} waits for the end of {record.state}"
    earlier = record.waiting
    if earlier is None:
        return Decision(with_(record, waiting=command), notes=(note,))
    answer = results.given_up(record, earlier, now, _overtaken(command))
    kept = with_(record, waiting=command, outbox=(*record.outbox, answer))
    return Decision(kept, (do.Report(),), (note,))


def _goes_back(record: ComponentRecord, command: Command) -> bool:
    switching = record.fresh is not None and record.serving is not None and record.failing is None
    return switching and isinstance(command, ApplyComponent) and same(command.target, record.current)


def _stays(record: ComponentRecord, command: Command) -> bool:
    """Whether the command asks for the very version that is being removed and is still here, paused."""
    removing = _standing(record).target is None and record.serving is not None and record.failing is None
    return (
        removing
        and hold_s(record) > 0
        and isinstance(command, ApplyComponent)
        and same(command.target, record.current)
    )


def _overtaken(command: Command) -> str:
    return f"superseded by command {command.generation}.{command.sequence} of rollout {command.rollout}"


def _standing(record: ComponentRecord) -> Command:
    if record.command is None:
        raise Broken(f"{record.component}: expected a standing command in state {record.state}, found none")
    return record.command


_HANDLERS: dict[type[heard.Input], Callable[[ComponentRecord, Any, datetime], Decision]] = {
    heard.Commanded: _commanded,
    heard.Staged: _staged,
    heard.StageFailed: _stage_failed,
    heard.Started: _started,
    heard.Proven: _proven,
    heard.StartFailed: _failed,
    heard.Switched: _switched,
    heard.SwitchFailed: _failed,
    heard.Drained: _drained,
    heard.Restored: _restored,
    heard.RestoreFailed: _restore_failed,
    heard.Activated: _activated,
    heard.ActivateFailed: _activate_failed,
    heard.Died: upkeep.died,
    heard.Revived: upkeep.revived,
    heard.ReviveFailed: upkeep.revive_failed,
    heard.Cooled: upkeep.cooled,
    heard.Availability: _availability,
    heard.StoodDown: _stood_down,
    heard.Acknowledged: _acknowledged,
    heard.Observed: _observed,
    heard.Asked: _asked,
}

_EVERYWHERE = frozenset(S)
_UNDONE = frozenset({S.STARTING, S.SWITCHING, S.DRAINING})
_ACTS: dict[type[heard.Input], frozenset[S]] = {
    heard.Commanded: _EVERYWHERE,
    heard.Staged: frozenset({S.STAGING}),
    heard.StageFailed: frozenset({S.STAGING}),
    heard.Started: frozenset({S.STARTING}),
    heard.Proven: frozenset({S.STARTING}),
    heard.StartFailed: frozenset({S.STARTING}),
    heard.Switched: frozenset({S.SWITCHING}),
    heard.SwitchFailed: frozenset({S.SWITCHING, S.DRAINING}),
    heard.Drained: frozenset({S.DRAINING}),
    heard.Restored: _UNDONE,
    heard.RestoreFailed: _UNDONE,
    heard.Activated: _EVERYWHERE,
    heard.ActivateFailed: _EVERYWHERE,
    heard.Died: _EVERYWHERE,
    heard.Revived: _EVERYWHERE,
    heard.ReviveFailed: frozenset({S.SERVING, S.STAGING, S.STARTING, S.STUCK}),
    heard.Cooled: _EVERYWHERE,
    heard.Availability: _EVERYWHERE,
    heard.StoodDown: _EVERYWHERE,
    heard.Acknowledged: _EVERYWHERE,
    heard.Observed: _EVERYWHERE,
    heard.Asked: _EVERYWHERE,
}
_IGNORES: dict[type[heard.Input], frozenset[S]] = {
    # The restart was given up when the switch began, or when the component was removed.
    heard.ReviveFailed: frozenset({S.ABSENT, S.SWITCHING, S.DRAINING}),
    # Queued before the step was given up, by the work of the very command that failed.
    heard.Started: frozenset({S.SERVING, S.ABSENT, S.STUCK}),
    heard.Proven: frozenset({S.SERVING, S.ABSENT, S.STUCK}),
    heard.StartFailed: frozenset({S.SERVING, S.ABSENT, S.STUCK}),
    heard.Switched: frozenset({S.SERVING, S.ABSENT, S.STUCK}),
    heard.SwitchFailed: frozenset({S.SERVING, S.ABSENT, S.STUCK}),
    heard.Drained: frozenset({S.SERVING, S.ABSENT, S.STUCK}),
}

PAIRS: dict[tuple[S, type[heard.Input]], Pair] = {
    (state, kind): Pair.ACT
    if state in _ACTS[kind]
    else Pair.IGNORE
    if state in _IGNORES.get(kind, frozenset())
    else Pair.ILLEGAL
    for state in S
    for kind in heard.INPUTS
}
