"""A component that crashes again and again: when it counts as one, what is said, and the node's own way back. Pure.

The way back is taken at most once, from a version that a rollout brought to the one it replaced, and never from there
to the version that was left. Whoever plans sees both events, and decides about the rest of the fleet.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from bumpless.common.contract.base import derive_id
from bumpless.common.contract.events import ComponentCrashLooping, ReturnedToPrevious
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.plan import Target
from bumpless.common.model.release import OnCrashLoop
from bumpless.executor import effects as do
from bumpless.executor import results
from bumpless.executor.precheck import same
from bumpless.executor.record import Command, ComponentRecord
from bumpless.executor.transition import Decision, then, with_


def counted(
    decision: Decision, now: datetime, reason: str, keep_trying: Callable[[Decision], Decision]
) -> Decision:
    """`decision` about one more crash of the current version, which `keep_trying` makes start it again."""
    record = decision.state
    if record.current is None or record.command is None:
        return then(keep_trying(decision), do.Report())
    rule = record.current.run.crash_loop
    since = now - timedelta(seconds=rule.window_s)
    times = (*(t for t in record.crashed_at if t > since), now)
    if len(times) < rule.crashes:
        return then(keep_trying(_now(decision, with_(record, crashed_at=times))), do.Report())
    # Counted from nothing again: the next event says that it goes on.
    return _looping(_now(decision, with_(record, crashed_at=())), now, reason, keep_trying)


def _looping(
    decision: Decision, now: datetime, reason: str, keep_trying: Callable[[Decision], Decision]
) -> Decision:
    record = decision.state
    command, current, back = record.command, record.current, _way_back(record)
    assert command is not None
    assert current is not None
    rule = current.run.crash_loop
    why = (
        f"{current.version} crashed {rule.crashes} times within {rule.window_s:g} s; the last time: {reason}"
    )
    event = ComponentCrashLooping(
        id=derive_id(command.id, "crash-looping", str(record.restarts)),
        at=now,
        cause=command.id,
        rollout=command.rollout,
        plan_hash=command.plan_hash,
        direction=command.direction,
        node=record.node,
        component=record.component,
        root=current.root,
        version=current.version,
        crashes=rule.crashes,
        window_s=rule.window_s,
        reason=why,
        returning=back is not None,
    )
    said = with_(record, reason=why, outbox=(*record.outbox, event))
    told = Decision(said, decision.effects, (*decision.notes, why))
    if back is None:
        after = keep_trying(told)
    else:
        after = keep_trying(_return(told, command, current, back, now, why))
    shown = results.progressed(after.state, now, f"crash loop: {why}")
    return then(after, do.Report(), *((do.Progress(shown),) if shown is not None else ()))


def _way_back(record: ComponentRecord) -> Target | None:
    current, previous = record.current, record.previous
    if current is None or previous is None or same(current, previous):
        return None
    wanted = current.run.on_crash_loop is OnCrashLoop.PREVIOUS
    # During a step the step decides what serves.
    return previous if wanted and record.may_return and record.state is S.SERVING else None


def _return(
    decision: Decision, command: Command, left: Target, back: Target, now: datetime, why: str
) -> Decision:
    """`back` is current again: the warm process of it serves, or one is started."""
    record = decision.state
    warm = record.warm if record.warm is not None and same(record.warm.target, back) else None
    event = ReturnedToPrevious(
        id=derive_id(command.id, "returned-to-previous", str(record.restarts)),
        at=now,
        cause=command.id,
        rollout=command.rollout,
        node=record.node,
        component=record.component,
        root=back.root,
        version=back.version,
        left_root=left.root,
        left_version=left.version,
        warm=warm is not None,
        reason=why,
    )
    # A command whose answer is unsaid did not bring what it should.
    answered = results.overtaken(with_(record, current=back), now, f"returned to {back.version}: {why}")
    returned = with_(
        answered,
        brought_by=None,
        previous=left,
        serving=warm,
        warm=None if warm else record.warm,
        warm_until=None if warm else record.warm_until,
        crashes=0,
        may_return=False,
        returned_from=left,
        reason=f"returned to {back.version}: {why}",
        outbox=(*answered.outbox, event),
    )
    moved = do.CommitSwitch(command, back.root, left.root)
    effects = (do.StopReviving(), moved, *((do.ResumeOld(warm),) if warm else ()))
    return Decision(returned, decision.effects + effects, (*decision.notes, f"returned to {back.version}"))


def _now(decision: Decision, record: ComponentRecord) -> Decision:
    return Decision(record, decision.effects, decision.notes)
