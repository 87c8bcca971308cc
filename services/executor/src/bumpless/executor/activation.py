"""What follows when an instance that was ordered to work does, or does not. Pure; the order is given in `exclusive`."""

from __future__ import annotations

from datetime import datetime

from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.fleet import ComponentState as S
from bumpless.executor import effects as do
from bumpless.executor import exclusive, upkeep
from bumpless.executor import inputs as heard
from bumpless.executor.record import ComponentRecord
from bumpless.executor.transition import Decision, Take, fail, settle, with_


def activated(record: ComponentRecord, given: heard.Activated, now: datetime, take: Take) -> Decision:
    name = given.instance.id
    known = with_(record, cut=record.cut + given.lost)
    if record.fresh is not None and record.fresh.id == name and record.failing is None:
        return exclusive.commit(known)
    if record.serving is None or record.serving.id != name:
        return Decision(record, notes=("an instance works that was given up, and is ending",))
    settled = with_(known, lineage=(name,))
    if record.failing is None:
        return Decision(settled, (do.Report(),), ("the current version works again", *given.lost))
    if given.beside:
        # Ordered before the step failed: the undoing is under way, and orders it itself.
        return Decision(settled, notes=("the current version works, and the step is being undone",))
    back = with_(settled, state=S.SERVING)
    return settle(back, StepOutcome.FAILED, now, take, (), record.failing, cut=settled.cut)


def activate_failed(
    record: ComponentRecord, given: heard.ActivateFailed, now: datetime, take: Take
) -> Decision:
    name = given.instance.id
    if record.fresh is not None and record.fresh.id == name and record.failing is None:
        return fail(record, given.reason)
    if record.serving is None or record.serving.id != name:
        return Decision(record, notes=("an instance does not work that was given up",))
    if record.failing is not None and given.beside:
        return Decision(record, notes=("the current version does not work; the step is being undone",))
    ending = (do.StopOld(record.serving),)
    lost = with_(record, serving=None, stopping=(*record.stopping, record.serving))
    if record.failing is None:
        again = upkeep.revive_failed(lost, heard.ReviveFailed(given.reason), now)
        return Decision(again.state, ending + again.effects, again.notes)
    return stuck(lost, given.reason, now, take, ending)


def stuck(
    record: ComponentRecord, reason: str, now: datetime, take: Take, before: tuple[do.Effect, ...] = ()
) -> Decision:
    """Neither version works, and the current one is tried for ever."""
    why = f"{record.failing}; and the earlier version did not come back: {reason}"
    after = with_(record, state=S.STUCK)
    return upkeep.keep_trying(settle(after, StepOutcome.STUCK, now, take, before, why))
