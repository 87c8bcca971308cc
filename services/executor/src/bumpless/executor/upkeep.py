"""What the component machine does about its processes: deaths, restarts, warm time, and a restart of the executor.

A crash of the serving process never ends a transition and never changes what the node is meant to run. While it is
started again, the warm instance of the version before, if there still is one, takes the work. Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from bumpless.common.contract.base import derive_id
from bumpless.common.model.fleet import ComponentState as S
from bumpless.executor import crash_loop, exclusive
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.precheck import root_of
from bumpless.executor.record import ComponentRecord, Instance
from bumpless.executor.transition import (
    Decision,
    fail,
    given_up,
    installation,
    installing,
    instance_for,
    replaced,
    retire,
    then,
    with_,
)

STEADY_S = 60.0
"""A process that lived this long was well: its death starts a new series of restarts, without delay."""

_SERVED_BY_OLD = (S.SERVING, S.STAGING, S.STARTING)


def died(record: ComponentRecord, given: heard.Died, now: datetime) -> Decision:
    gone = given.instance.id
    if record.fresh is not None and record.fresh.id == gone and record.failing is None:
        return fail(with_(record, fresh=None), f"the new instance {given.reason}")
    if record.fresh is not None and record.fresh.id == gone:
        return Decision(
            with_(record, fresh=None), notes=("the new instance died while the step is being undone",)
        )
    if record.serving is not None and record.serving.id == gone:
        return _serving_died(record, given, now)
    if record.warm is not None and record.warm.id == gone:
        return Decision(with_(record, warm=None, warm_until=None), notes=(f"warm instance: {given.reason}",))
    if any(i.id == gone for i in record.stopping):
        left = tuple(i for i in record.stopping if i.id != gone)
        said: tuple[do.Effect, ...] = (do.Report(),) if record.out else ()
        return Decision(with_(record, stopping=left), (do.Collect(), *said))
    return Decision(record, notes=(f"death of {gone} is dealt with elsewhere",))


def _serving_died(record: ComponentRecord, given: heard.Died, now: datetime) -> Decision:
    if record.failing is not None:
        # The undoing answers for it: it resumes the instance or starts another.
        return Decision(record, notes=("the serving instance died while the step is being undone",))
    if record.state not in _SERVED_BY_OLD:
        return Decision(with_(record, serving=None), notes=("the old instance is gone; going on",))
    if record.out:
        gone = with_(record, serving=None, leaving=None)
        return Decision(
            gone, (do.Collect(), do.Report()), ("it is gone, and nothing of a drained node starts",)
        )
    steady = given.lived_s >= STEADY_S
    lost = with_(
        record,
        serving=None,
        restarts=record.restarts + 1,
        crashes=0 if steady else record.crashes + 1,
        reason=f"started again after: {given.reason}",
    )
    stand_in: tuple[do.Effect, ...] = (do.ResumeOld(record.warm),) if record.warm else ()
    decision = Decision(lost, stand_in, (f"serving instance died: {given.reason}",))
    return crash_loop.counted(decision, now, given.reason, keep_trying)


def keep_trying(decision: Decision) -> Decision:
    """Start the current version again, if there is one and nothing else was begun."""
    record = decision.state
    if record.out or record.current is None or record.serving is not None:
        return decision
    if record.state not in (*_SERVED_BY_OLD, S.STUCK):
        return decision
    back = () if record.back_at is None else (record.back_at.isoformat(),)
    attempt = str(record.restarts), str(record.crashes), *back
    # With its tree: the version before may have been started again under the same command, and be warm now.
    cause = record.command.id if record.command else record.component
    standby = derive_id(cause, "revive", record.current.root, *attempt)
    return then(decision, do.Revive(record.current, standby, record.crashes, record.exclusive))


def revived(record: ComponentRecord, given: heard.Revived, now: datetime) -> Decision:
    wanted = record.state in (*_SERVED_BY_OLD, S.STUCK) and record.failing is None and not record.out
    if not wanted or record.serving is not None:
        surplus = with_(record, stopping=(*record.stopping, given_up(given.instance)))
        return Decision(surplus, (do.StopOld(given.instance),), ("nobody waits for this instance any more",))
    state = S.SERVING if record.state is S.STUCK else record.state
    rest = S.SERVING if record.rest is S.STUCK else record.rest
    step_back: tuple[do.Effect, ...] = (do.PauseOld(record.warm),) if record.warm else ()
    back = with_(record, serving=given.instance, state=state, rest=rest)
    if given.instance.standby:
        return then(exclusive.activate(back, given.instance), *step_back, do.Report())
    return Decision(back, (*step_back, do.Report()), ("the current version serves again",))


def revive_failed(record: ComponentRecord, given: heard.ReviveFailed, now: datetime) -> Decision:
    if record.out:
        return Decision(record, notes=("nothing of a drained node starts",))
    again = with_(
        record,
        restarts=record.restarts + 1,
        crashes=record.crashes + 1,
        reason=f"does not start: {given.reason}",
    )
    if record.failing is not None:
        return Decision(again)
    return crash_loop.counted(Decision(again, notes=(given.reason,)), now, given.reason, keep_trying)


def cooled(record: ComponentRecord, given: heard.Cooled, now: datetime) -> Decision:
    warm = record.warm
    if warm is None or warm.id != given.instance.id:
        return Decision(record, notes=("that instance is not kept warm any more",))
    if record.serving is None and record.current is not None:
        # It stands in for a serving instance that is down: without it nothing would answer.
        until = now + timedelta(seconds=max(1.0, record.current.run.timing.warm_s))
        return Decision(with_(record, warm_until=until), (do.KeepWarm(warm, until),))
    cold = with_(record, warm=None, warm_until=None, stopping=(*record.stopping, warm))
    return Decision(cold, (do.StopOld(warm), do.Report()))


def observed(record: ComponentRecord, alive: tuple[Instance, ...], now: datetime) -> Decision:
    """After a restart of the executor: what is gone is struck out, and the state's own work is ordered again."""
    present = {i.id: i for i in alive}

    def still(instance: Instance | None) -> Instance | None:
        return present.get(instance.id) if instance else None

    warm = still(record.warm)
    changes: dict[str, Any] = {
        "serving": still(record.serving),
        "warm": warm,
        "warm_until": record.warm_until if warm else None,
        "stopping": tuple(i for i in (still(s) for s in record.stopping) if i is not None),
        "leaving": None,
    }
    fresh = still(record.fresh)
    seen = with_(record, **changes)
    again = Decision(seen, (*(do.StopOld(i) for i in seen.stopping), do.Report(), do.Collect()))
    if warm is not None:
        # What is held after a removal must not serve, whatever comes beside it.
        unserved = seen.serving is None and record.current is not None and not record.out
        stands_in = unserved and record.state in _SERVED_BY_OLD
        again = then(again, do.ResumeOld(warm) if stands_in else do.PauseOld(warm))
        again = then(again, do.KeepWarm(warm, record.warm_until or now))
    ordered_to_work = record.state in (*_SERVED_BY_OLD, S.STUCK) and not record.out
    if seen.serving is not None and ordered_to_work:
        # It may have been ordered to work, as after a warm time, and not heard of it.
        ordered = Decision(seen, (do.ResumeOld(seen.serving),))
        if seen.exclusive:
            ordered = exclusive.activate(seen, seen.serving)
        seen, again = ordered.state, then(again, *ordered.effects)
    resumed = _resume(seen, fresh)
    both = Decision(resumed.state, again.effects + resumed.effects, resumed.notes)
    return both if record.failing is not None else keep_trying(both)


def _resume(record: ComponentRecord, fresh: Instance | None) -> Decision:
    """The work that the state stands for, once more. `fresh`: the new instance, if it is alive."""
    command = record.command
    if command is None or record.state in (S.ABSENT, S.SERVING, S.STUCK):
        return Decision(record)
    target = command.target
    if record.failing is not None:
        return fail(with_(record, fresh=fresh), record.failing)
    if target is None:
        return Decision(record, (retire(record),))
    if installing(record):
        return Decision(record, (installation(record),))
    match record.state:
        case S.STAGING:
            return Decision(record, (do.Stage(command, target),))
        case S.STARTING:
            # It may serve already, so it is waited for and not started over.
            going = fresh or instance_for(target, command.id, "start again", standby=record.exclusive)
            return Decision(with_(record, fresh=going), (do.Start(command, going, reuse=False),))
    if fresh is None:
        return fail(with_(record, fresh=None), "the new instance died while the executor was down")
    if record.exclusive:
        return exclusive.resumed(record, fresh)
    running = with_(record, fresh=fresh)
    if record.state is S.SWITCHING:
        commit = do.CommitSwitch(command, target.root, root_of(replaced(record, target)))
        return Decision(running, (commit,))
    return Decision(running, (do.DrainOld(command, record.serving),))
