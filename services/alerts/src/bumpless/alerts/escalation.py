"""Whom an alert is told to, and when next: steps, repeats, deliveries and their tries.

A step waits its delay after the one before was taken, so that after an outage of the service people still get the time
that the route gives them. A delivery is tried again with growing delays until it is given up; it is recorded after it
was made, so a killed service may make it twice, under the same id.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from bumpless.alerts.inputs import Sent
from bumpless.common.contract.base import derive_id
from bumpless.common.engine.decision import Decision
from bumpless.common.model.alert import Alert, Delivery, DeliveryStatus, Told

D = DeliveryStatus
AGAIN_S = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
"""Between two tries; the last one goes on."""
TRIES = 20
"""Over an hour; then the delivery is given up, and shown so."""
KEPT = 48
"""Deliveries of an alert that are remembered; open ones always are."""


def due(state: Alert) -> datetime | None:
    """When the next step is to be taken; a muted alert is asked again when it may speak."""
    when = _step_due(state)
    if when is None or not state.muted_by or state.muted_until is None:
        return when
    return max(when, state.muted_until)


def _step_due(state: Alert) -> datetime | None:
    steps, told = state.route.steps, state.told
    if state.told_from is None or not steps:
        return None
    if told == 0:
        return state.told_from + timedelta(seconds=steps[0].after_s)
    last = state.told_at or state.told_from
    if told < len(steps):
        return last + timedelta(seconds=steps[told].after_s - steps[told - 1].after_s)
    if told < len(steps) + state.route.repeat_times:
        return last + timedelta(seconds=state.route.repeat_s)
    return None


def step(state: Alert, now: datetime) -> Decision[Alert | None]:
    """Take the step that is due."""
    if state.muted_by:
        return Decision(state, notes=(f"not told: muted by {', '.join(state.muted_by)}",))
    channels = state.route.steps[min(state.told, len(state.route.steps) - 1)].channels
    made = [_firing(state, told, now) for told in channels if not _kept_alive(state, told)]
    after = state.model_copy(
        update={
            "told": state.told + 1,
            "told_at": now,
            "deliveries": _trimmed((*state.deliveries, *made)),
        }
    )
    names = ", ".join(told.channel for told in channels)
    return Decision(after, notes=(f"step {state.told + 1} of the escalation: told to {names}",))


def anew(state: Alert, now: datetime) -> Alert:
    """The escalation from its beginning."""
    return state.model_copy(update={"told": 0, "told_from": now, "told_at": None, "round": state.round + 1})


def quieted(state: Alert, now: datetime) -> Alert:
    """Without the messages that nobody needs once the alert is taken up."""
    return _superseded(state, now, "acknowledged", keep_alive=True)


def resolved(state: Alert, now: datetime) -> Alert:
    """With a last message to everybody who was told; muted, only to those that must know, such as an Alertmanager."""
    reached: dict[str, Delivery] = {}
    for delivery in state.deliveries:
        if delivery.about == "firing" and delivery.status is D.DELIVERED:
            reached[delivery.channel] = delivery
    state = _superseded(state, now, "resolved", keep_alive=False)
    made = [
        Delivery(
            id=derive_id(state.fingerprint, str(state.episode), "resolved", channel),
            channel=channel,
            about="resolved",
            step=delivery.step,
            due=now,
            at=now,
        )
        for channel, delivery in reached.items()
        if delivery.resolved and (delivery.again_s is not None or not state.muted_by)
    ]
    return state.model_copy(update={"deliveries": _trimmed((*state.deliveries, *made))})


def open_deliveries(state: Alert) -> tuple[Delivery, ...]:
    return tuple(d for d in state.deliveries if d.due is not None)


def sent(state: Alert, message: Sent, now: datetime) -> Decision[Alert | None]:
    """Record how a delivery went."""
    found = next((d for d in state.deliveries if d.id == message.delivery), None)
    if found is None or found.due is None:
        return Decision(state, notes=(f"delivery {message.delivery}: nobody waits for it",))
    told = found.model_copy(update=_after(found, message, now))
    note = f"{found.channel}: {told.status}" + (f", {message.detail}" if message.detail else "")
    kept = tuple(told if d.id == found.id else d for d in state.deliveries)
    return Decision(state.model_copy(update={"deliveries": kept}), notes=(note,))


def _after(found: Delivery, message: Sent, now: datetime) -> dict[str, object]:
    tries = found.tries + 1
    always: dict[str, object] = {"detail": message.detail, "at": now}
    if message.ok:
        again = None if found.again_s is None else now + timedelta(seconds=found.again_s)
        return {**always, "status": D.DELIVERED, "due": again, "tries": 0 if again else tries}
    if message.for_good or (tries >= TRIES and found.again_s is None):
        return {**always, "status": D.GIVEN_UP, "due": None, "tries": tries}
    wait = AGAIN_S[min(tries, len(AGAIN_S)) - 1]
    return {**always, "due": now + timedelta(seconds=wait), "tries": tries}


def _firing(state: Alert, told: Told, now: datetime) -> Delivery:
    cause = (state.fingerprint, str(state.episode), str(state.round), str(state.told), told.channel)
    return Delivery(
        id=derive_id(*cause, "firing"),
        channel=told.channel,
        about="firing",
        step=state.told,
        due=now,
        again_s=told.again_s,
        resolved=told.resolved,
        at=now,
    )


def _kept_alive(state: Alert, told: Told) -> bool:
    """Whether the channel is told again and again already."""
    return told.again_s is not None and any(
        d.channel == told.channel and d.about == "firing" and d.due is not None for d in state.deliveries
    )


def _superseded(state: Alert, now: datetime, why: str, *, keep_alive: bool) -> Alert:
    def one(found: Delivery) -> Delivery:
        if found.due is None or found.about != "firing" or (keep_alive and found.again_s is not None):
            return found
        if found.status is D.DELIVERED:
            return found.model_copy(update={"due": None})
        return found.model_copy(update={"status": D.SUPERSEDED, "due": None, "detail": why, "at": now})

    return state.model_copy(update={"deliveries": tuple(one(d) for d in state.deliveries)})


def _trimmed(deliveries: Iterable[Delivery]) -> tuple[Delivery, ...]:
    found = list(deliveries)
    surplus = len(found) - KEPT
    kept: list[Delivery] = []
    for delivery in found:
        if surplus > 0 and delivery.due is None and not _told_first(delivery, found):
            surplus -= 1
            continue
        kept.append(delivery)
    return tuple(kept)


def _told_first(delivery: Delivery, found: list[Delivery]) -> bool:
    """Whether it is the last proof that the channel was told, which the last message depends on."""
    proofs = [
        d for d in found if d.channel == delivery.channel and d.about == "firing" and d.status is D.DELIVERED
    ]
    return bool(proofs) and proofs[-1].id == delivery.id
