"""The life of one alert: pending, firing, acknowledged, resolved, and again.

Invariants: time passes only through deadlines, so deciding again gives the same; whom an alert is told to is fixed when
its episode begins; a message goes out only after the silences were looked at; silences touch messages and nothing else:
status and actions are the same with and without them.

Not here: what holds (`evaluate`), how a message is sent (`channels`), what an action does (`acting`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from bumpless.alerts import escalation, follow_up
from bumpless.alerts.inputs import Concerned, Muted, Observed, Ran, Sent
from bumpless.common.contract import events as e
from bumpless.common.contract.alerts import AcknowledgeAlert, AlertChanged, AlertingAnswered
from bumpless.common.contract.base import Message, derive_id
from bumpless.common.engine.decision import Deadline, Decision
from bumpless.common.model.alert import Acknowledgement, Alert, AlertStatus, fingerprint

S = AlertStatus
GRAIN = timedelta(milliseconds=1)
"""Deadlines are kept in whole milliseconds."""

Found = Decision[Alert | None]


def decide(state: Alert | None, message: Message, now: datetime) -> Found:
    """What `message` does to an alert; a change is told as `AlertChanged`."""
    found = _decide(state, message, now)
    after = found.state
    if after is None or after is state:
        return found
    if state is not None:
        after = after.model_copy(update={"revision": state.revision + 1})
    changed = AlertChanged(
        id=derive_id(after.fingerprint, "changed", str(after.revision), message.id),
        at=now,
        cause=message.id,
        alert=after,
        why=found.notes,
    )
    return Decision(after, (changed, *found.messages), found.notes)


def _decide(state: Alert | None, message: Message, now: datetime) -> Found:
    match message:
        case Observed():
            return _observed(state, message, now)
        case AcknowledgeAlert():
            return _acknowledge(state, message, now)
    if state is None:
        return Decision(None, notes=(f"{type(message).__name__} ignored: no such alert",))
    match message:
        case Muted():
            return _muted(state, message, now)
        case e.DeadlineReached():
            return _time(state, message, now)
        case Sent():
            return escalation.sent(state, message, now)
        case Concerned():
            return follow_up.concerned(state, message, now)
        case Ran():
            return follow_up.ran(state, message, now)
        case e.CommandAnswered() | e.RolloutFailed() | e.RolloutReverted() | e.RolloutHalted():
            return follow_up.outcome(state, message, now)
        case _:
            return Decision(state, notes=(f"{type(message).__name__} ignored",))


def next_deadline(state: Alert) -> Deadline | None:
    """The earliest moment at which something is due; `send` and `act` are for the service, the rest is decided here."""
    found = [Deadline("send", d.due) for d in escalation.open_deliveries(state) if d.due is not None]
    found += [Deadline("act", a.due) for a in follow_up.due_actions(state) if a.due is not None]
    return _earliest([*found, *([] if (moment := next_moment(state)) is None else [moment])])


def next_moment(state: Alert) -> Deadline | None:
    """The earliest moment at which time alone changes something."""
    found: list[Deadline] = []
    match state.status:
        case S.PENDING:
            found.append(Deadline("pending", state.active_since + timedelta(seconds=state.for_s)))
        case S.FIRING if (due := escalation.due(state)) is not None:
            found.append(Deadline("escalate", due))
        case S.ACKNOWLEDGED if state.acknowledged is not None:
            found.append(Deadline("acknowledgement", state.acknowledged.until))
    if state.active and state.ends_at is not None:
        found.append(Deadline("ends", state.ends_at))
    found += [Deadline("outcome", a.due) for a in follow_up.open_outcomes(state) if a.due is not None]
    return _earliest(found)


def _earliest(found: list[Deadline]) -> Deadline | None:
    return min(found, key=lambda d: (d.due, d.name), default=None)


def reached(due: datetime | None, now: datetime) -> bool:
    return due is not None and due <= now + GRAIN


def _observed(state: Alert | None, message: Observed, now: datetime) -> Found:
    if state is None or not state.active:
        if not message.holds:
            return Decision(state, notes=("does not hold, and did not",))
        return _begin(state, message, now)
    if state.source != message.source:
        return Decision(state, notes=(f"said by {message.source}, but it is an alert of {state.source}",))
    if not message.holds:
        why = message.detail or "it does not hold any more"
        return _resolve(state, message, now, why)
    said = {
        "annotations": message.annotations,
        "severity": message.severity,
        "value": message.value,
        "detail": message.detail,
        "ends_at": message.ends_at,
    }
    if all(getattr(state, name) == value for name, value in said.items()):
        return Decision(state, notes=("holds, as it did",))
    return Decision(state.model_copy(update=said), notes=("holds, and other things are said of it",))


def _begin(before: Alert | None, message: Observed, now: datetime) -> Found:
    episode = 1 if before is None else before.episode + 1
    alert = Alert(
        fingerprint=fingerprint(message.labels),
        labels=message.labels,
        annotations=message.annotations,
        severity=message.severity,
        source=message.source,
        status=S.PENDING,
        episode=episode,
        revision=1 if before is None else before.revision,
        since=now,
        active_since=now,
        ends_at=message.ends_at,
        for_s=message.for_s,
        value=message.value,
        detail=message.detail,
        route=message.route,
    )
    alert = follow_up.planned(alert, message.actions, now)
    if message.for_s > 0:
        return Decision(alert, notes=(f"pending for {message.for_s:g} s",))
    return _fire(alert, message, now)


def _fire(state: Alert, message: Message, now: datetime) -> Found:
    fired = state.model_copy(update={"status": S.FIRING, "since": now, "fired_at": now, "told_from": now})
    return Decision(follow_up.begun(fired, now), notes=(f"fires: {state.detail}",))


def _resolve(state: Alert, message: Message, now: datetime, why: str) -> Found:
    over = state.model_copy(
        update={
            "status": S.RESOLVED,
            "since": now,
            "resolved_at": now,
            "detail": why,
            "acknowledged": None,
            "ends_at": None,
        }
    )
    if state.status is S.PENDING:
        over = over.model_copy(update={"actions": ()})
        return Decision(over, notes=(f"resolved before it fired: {why}",))
    return Decision(escalation.resolved(over, now), notes=(f"resolved: {why}",))


def _acknowledge(state: Alert | None, message: AcknowledgeAlert, now: datetime) -> Found:
    def answer(accepted: bool, text: str) -> AlertingAnswered:
        return AlertingAnswered(
            id=derive_id(message.id, "answer"),
            at=now,
            cause=message.id,
            about=message.alert,
            accepted=accepted,
            text=text,
        )

    if state is None or state.status not in (S.FIRING, S.ACKNOWLEDGED):
        found = "no such alert" if state is None else f"one that is {state.status}"
        text = f"expected an alert that fires, found {found}; see `bumpless alert list`"
        return Decision(state, (answer(False, text),), (text,))
    known = state.acknowledged
    if known is not None and (known.at, known.by) == (message.at, message.by):
        return Decision(state, (answer(True, "acknowledged already"),), ("acknowledged already",))
    hold_s = state.route.ack_s if message.hold_s is None else message.hold_s
    until = now + timedelta(seconds=hold_s)
    taken = state.model_copy(
        update={
            "status": S.ACKNOWLEDGED,
            "since": now if state.status is S.FIRING else state.since,
            "acknowledged": Acknowledgement(
                by=message.by, comment=message.comment, at=message.at, until=until
            ),
        }
    )
    note = f"acknowledged by {message.by} for {hold_s:g} s"
    return Decision(escalation.quieted(taken, now), (answer(True, note),), (note,))


def _muted(state: Alert, message: Muted, now: datetime) -> Found:
    update = {"muted_by": message.by, "muted_until": message.until}
    if message.by:
        note = f"muted by {', '.join(message.by)} until {message.until}"
        return Decision(state.model_copy(update=update), notes=(note,))
    spoken = state.model_copy(update=update)
    if state.status is S.FIRING:
        spoken = escalation.anew(spoken, now)
    return Decision(spoken, notes=("not muted any more",))


def _time(state: Alert, message: e.DeadlineReached, now: datetime) -> Found:
    if state.active and reached(state.ends_at, now):
        return _resolve(state, message, now, "nobody said it again")
    match state.status:
        case S.PENDING if reached(state.active_since + timedelta(seconds=state.for_s), now):
            return _fire(state, message, now)
        case S.FIRING if reached(escalation.due(state), now):
            return escalation.step(state, now)
        case S.ACKNOWLEDGED if state.acknowledged is not None and reached(state.acknowledged.until, now):
            again = state.model_copy(update={"status": S.FIRING, "since": now, "acknowledged": None})
            note = f"the acknowledgement of {state.acknowledged.by} has run out"
            return Decision(escalation.anew(again, now), notes=(note,))
        case _:
            return follow_up.given_up(state, now)
