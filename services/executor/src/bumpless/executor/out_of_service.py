"""A component of a drained node: nothing of it runs, whatever else happens to it. Pure.

What serves is paused, drained and stopped, and its ports are closed, as soon as no switch is under way. A step that
comes meanwhile stages its tree and moves the links, and starts nothing: what they name starts when the node is back.
A record says both that its component is out of service (`out`) and which instance was told to leave (`leaving`).
"""

from __future__ import annotations

from datetime import datetime

from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.contract.events import StepOutcome
from bumpless.common.errors import Broken
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.plan import Direction
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.record import RESTING, ComponentRecord
from bumpless.executor.transition import Decision, Take, enter, installation, replaced, settle, then, with_
from bumpless.executor.upkeep import keep_trying

INSTALLED = "the node is drained: the version is in place, and starts when the node is back"
_QUIET = (*RESTING, S.STAGING)
"""No switch is under way, so what serves may go."""


def told(record: ComponentRecord, given: heard.Availability, now: datetime) -> Decision:
    """The node was drained, or is back."""
    if given.drained == record.out:
        return Decision(record)
    if given.drained:
        return Decision(with_(record, out=True), (do.StopReviving(), do.Report()), ("out of service",))
    stays = record.serving is not None and record.leaving == record.serving.id
    up: tuple[do.Effect, ...] = (do.StayUp(record.serving),) if stays and record.serving else ()
    back = Decision(
        with_(record, out=False, leaving=None, back_at=now),
        (*up, do.Collect(), do.Report()),
        ("back in service",),
    )
    return keep_trying(back)


def stand_down(decision: Decision) -> Decision:
    """`decision`, and what of a component that is out of service still works is told to leave."""
    record = decision.state
    if not record.out or record.state not in _QUIET or record.failing is not None:
        return decision
    serving, warm = record.serving, record.warm
    effects: tuple[do.Effect, ...] = ()
    if warm is not None:
        record = with_(record, warm=None, warm_until=None, stopping=(*record.stopping, warm))
        effects += (do.StopOld(warm),)
    if serving is not None and record.leaving != serving.id:
        record = with_(record, leaving=serving.id)
        effects += (do.StandDown(serving),)
    return then(Decision(record, decision.effects, decision.notes), *effects)


def stood_down(record: ComponentRecord, given: heard.StoodDown) -> Decision:
    """The instance has nothing left to do."""
    serving = record.serving
    if serving is None or serving.id != given.instance.id or not record.out or record.state not in _QUIET:
        return Decision(record, notes=("an instance has nothing left to do, and is dealt with elsewhere",))
    cut = f"cut when the node was drained: {'; '.join(given.cut)}" if given.cut else record.reason
    gone = with_(record, serving=None, leaving=None, stopping=(*record.stopping, serving), reason=cut)
    return Decision(gone, (do.StopOld(serving), do.Report()), given.cut)


def install(record: ComponentRecord, command: ApplyComponent, now: datetime) -> Decision:
    """The tree is here: let the links name it, and start nothing."""
    leaving = (record.serving,) if record.serving is not None else ()
    gone = with_(record, serving=None, leaving=None, stopping=record.stopping + leaving)
    moving = enter(gone, S.SWITCHING, now, fresh=None)
    stops = tuple(do.StopOld(i) for i in leaving)
    return Decision(moving, (do.StopReviving(), *stops, installation(moving)))


def installed(record: ComponentRecord, given: heard.Switched, now: datetime, take: Take) -> Decision:
    """The links name the new version; if the node is back meanwhile, it starts."""
    command = record.command
    if not isinstance(command, ApplyComponent) or command.target is None:
        raise Broken(f"{record.component}: expected a target that was installed, found none")
    after = with_(
        record,
        state=S.SERVING,
        current=command.target,
        brought_by=command.plan_hash,
        previous=replaced(record, command.target),
        switched_at=given.at,
        restarts=0,
        crashes=0,
        crashed_at=(),
        may_return=command.direction is Direction.FORWARD and not command.for_good,
        returned_from=None,
    )
    return keep_trying(settle(after, StepOutcome.DONE, now, take, (), INSTALLED))
