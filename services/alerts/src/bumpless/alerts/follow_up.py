"""What is done because an alert fired, and what came of it. The same with and without silences.

Orders to rollouts have ids derived from the alert's, so that one given twice is obeyed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from bumpless.alerts.escalation import AGAIN_S
from bumpless.alerts.inputs import Concerned, Ran, Wanted
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, MessageId, RolloutId, derive_id
from bumpless.common.engine.decision import Decision
from bumpless.common.model.alert import ActionKind, ActionRun, ActionStatus, Alert

K = ActionKind
A = ActionStatus
OUTCOME_S = 3600.0
"""How long the outcome of an order is waited for: longer than any revert may take."""

Found = Decision[Alert | None]
Outcome = e.CommandAnswered | e.RolloutFailed | e.RolloutReverted | e.RolloutHalted


def planned(state: Alert, wanted: tuple[Wanted, ...], now: datetime) -> Alert:
    """With the actions of this episode, none of them due before it fires."""
    actions = tuple(
        ActionRun(
            id=derive_id(state.fingerprint, str(state.episode), "action", want.name),
            name=want.name,
            do=want.do,
            due=None,
            tries_max=want.tries,
            at=now,
        )
        for want in wanted
    )
    return state.model_copy(update={"actions": actions})


def begun(state: Alert, now: datetime) -> Alert:
    actions = tuple(a.model_copy(update={"due": now, "at": now}) for a in state.actions)
    return state.model_copy(update={"actions": actions})


def due_actions(state: Alert) -> tuple[ActionRun, ...]:
    """Those that the service has to do something for."""
    return tuple(a for a in state.actions if a.status is A.DUE and a.due is not None)


def open_outcomes(state: Alert) -> tuple[ActionRun, ...]:
    return tuple(a for a in state.actions if a.status is A.SENT)


def order_id(action: str, rollout: str) -> MessageId:
    return derive_id(action, "order", rollout)


def concerned(state: Alert, message: Concerned, now: datetime) -> Found:
    """Give the orders of an action to the rollouts it concerns."""
    found = _action(state, message.action)
    if found is None or found.status is not A.DUE or found.due is None:
        return Decision(state, notes=(f"action {message.action}: nobody waits for it",))
    if not message.rollouts:
        nothing = {
            "status": A.NOTHING,
            "due": None,
            "detail": "no rollout under way was concerned",
            "at": now,
        }
        return _with(state, found, nothing, ())
    orders = tuple(_order(state, found, rollout, now) for rollout in message.rollouts)
    noted = found.do is K.NOTE
    update = {
        "status": A.DONE if noted else A.SENT,
        "due": None if noted else now + timedelta(seconds=OUTCOME_S),
        "rollouts": message.rollouts,
        "detail": "told" if noted else "ordered",
        "at": now,
    }
    return _with(state, found, update, orders)


def _order(state: Alert, action: ActionRun, rollout: RolloutId, now: datetime) -> Message:
    by = f"alert {state.name}"
    why = f"{state.name} ({state.fingerprint}): {state.detail}"[:500]
    number = order_id(action.id, rollout)
    match action.do:
        case K.PAUSE:
            return c.Pause(id=number, at=now, rollout=rollout, by=by, reason=why)
        case K.ROLLBACK:
            return c.Rollback(id=number, at=now, rollout=rollout, by=by, reason=why)
        case _:
            fail = action.do is K.FAIL
            return e.AlertFired(
                id=number, at=now, rollout=rollout, name=state.name, detail=state.detail[:500], fail=fail
            )


def ran(state: Alert, message: Ran, now: datetime) -> Found:
    """Record how a command or webhook went; it is tried again while it may be."""
    found = _action(state, message.action)
    if found is None or found.status is not A.DUE or found.due is None:
        return Decision(state, notes=(f"action {message.action}: nobody waits for it",))
    tries = found.tries + 1
    update: dict[str, object] = {"tries": tries, "detail": message.detail, "at": now}
    if message.ok:
        update |= {"status": A.DONE, "due": None}
    elif tries >= found.tries_max:
        update |= {"status": A.FAILED, "due": None}
    else:
        update |= {"due": now + timedelta(seconds=AGAIN_S[min(tries, len(AGAIN_S)) - 1])}
    return _with(state, found, update, ())


def outcome(state: Alert, message: Outcome, now: datetime) -> Found:
    """Record what a rollout says to an order."""
    for action in open_outcomes(state):
        if message.rollout not in action.rollouts:
            continue
        text, over, well = _said(action, message)
        if not text:
            continue
        outcomes = {**action.outcomes, message.rollout: text}
        update: dict[str, object] = {"outcomes": outcomes, "detail": text, "at": now}
        if not well:
            update |= {"status": A.FAILED, "due": None}
        elif over and all(_over(outcomes.get(r, "")) for r in action.rollouts):
            update |= {"status": A.DONE, "due": None}
        return _with(state, action, update, ())
    return Decision(state, notes=(f"{type(message).__name__}: nothing was ordered there",))


REVERTED, PAUSED, FAILED = "reverted", "paused", "failed"


def _over(text: str) -> bool:
    return text.startswith((REVERTED, PAUSED, FAILED))


def _said(action: ActionRun, message: Outcome) -> tuple[str, bool, bool]:
    """What it means for the action: a text ("": nothing), whether that is its end, whether it is a good one."""
    match message:
        case e.CommandAnswered() if message.cause == order_id(action.id, message.rollout):
            if not message.accepted:
                return f"refused: {message.text}", True, False
            if action.do is K.PAUSE:
                return f"{PAUSED}: {message.text}", True, True
            return f"accepted: {message.text}", False, True
        case e.RolloutFailed() if action.do is K.FAIL:
            if message.policy_auto and message.switched_anything:
                return f"being taken back: {message.reason}", False, True
            return f"{FAILED}: {message.reason}", True, True
        case e.RolloutReverted() if action.do in (K.FAIL, K.ROLLBACK):
            return f"{REVERTED} by {message.revert}", True, True
        case e.RolloutHalted() if action.do in (K.FAIL, K.ROLLBACK):
            return f"halted: {message.reason}", True, False
        case _:
            return "", False, True


def given_up(state: Alert, now: datetime) -> Found:
    """Stop waiting for outcomes that do not come."""
    late = next((a for a in open_outcomes(state) if a.due is not None and a.due <= now), None)
    if late is None:
        return Decision(state, notes=("nothing is due",))
    last = f"; the last word was: {late.detail}" if late.outcomes else ""
    text = f"no outcome within {OUTCOME_S:g} s{last}"
    return _with(state, late, {"status": A.FAILED, "due": None, "detail": text, "at": now}, ())


def _action(state: Alert, name: str) -> ActionRun | None:
    return next((a for a in state.actions if a.id == name), None)


def _with(
    state: Alert, action: ActionRun, update: Mapping[str, object], messages: tuple[Message, ...]
) -> Found:
    after = action.model_copy(update=update)
    actions = tuple(after if a.id == action.id else a for a in state.actions)
    note = f"action {action.name} ({action.do}): {after.status}, {after.detail}"
    return Decision(state.model_copy(update={"actions": actions}), messages, (note,))
