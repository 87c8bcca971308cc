"""Alerts brought to a state by their own machine, and what a service would tell them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bumpless.alerts import escalation, follow_up, machine
from bumpless.alerts.inputs import Concerned, Muted, Observed, Sent, Wanted
from bumpless.common.contract.alerts import AcknowledgeAlert
from bumpless.common.contract.base import Message, RolloutId, derive_id
from bumpless.common.model.alert import Alert, Route, Severity, Step, Told, fingerprint
from bumpless.common.shell.deadlines import deadline_message

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
LABELS = {"alertname": "DiskFull", "node": "n1"}
FINGERPRINT = fingerprint(LABELS)
LADDER = Route(
    name="default",
    steps=(
        Step(after_s=0, channels=(Told(channel="chat"),)),
        Step(after_s=300, channels=(Told(channel="oncall"),)),
        Step(after_s=900, channels=(Told(channel="lead"), Told(channel="oncall"))),
    ),
    repeat_s=600,
    repeat_times=2,
    ack_s=1800,
)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def observed(
    holds: bool = True, *, second: float = 0, for_s: float = 0, route: Route = LADDER, **more: object
) -> Observed:
    raw = {
        "id": derive_id("observed", str(second), str(holds)),
        "at": at(second),
        "labels": LABELS,
        "severity": Severity.CRITICAL,
        "source": "rule",
        "holds": holds,
        "for_s": for_s,
        "detail": "97 % full",
        "route": route,
    }
    return Observed.model_validate({**raw, **more})


def acknowledge(second: float, by: str = "ann", hold_s: float | None = None) -> AcknowledgeAlert:
    return AcknowledgeAlert(
        id=derive_id("ack", by, str(second)), at=at(second), by=by, alert=FINGERPRINT, hold_s=hold_s
    )


def wanted(*kinds: str) -> tuple[Wanted, ...]:
    return tuple(Wanted.model_validate({"name": f"do-{kind}", "do": kind}) for kind in kinds)


@dataclass
class World:
    """One alert and the service around it: deadlines fire in order, channels take every message or none.

    `rollouts` are those that actions concern. `mute`: from when until when it is silenced, in seconds. `told` is what reached channels, as (second, channel, about).
    """

    works: bool = True
    rollouts: tuple[RolloutId, ...] = ()
    mute: tuple[float, float] | None = None
    alert: Alert | None = None
    told: list[tuple[float, str, str]] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)

    def give(self, message: Message, second: float) -> World:
        """What the runner does: what the silences say first, then the message."""
        now = at(second)
        if self.alert is not None and self.alert.active and (news := self._news(second)) is not None:
            self._decide(news, now)
        self._decide(message, now)
        return self

    def until(self, second: float, limit: int = 500) -> World:
        """Let time pass."""
        for _ in range(limit):
            due = None if self.alert is None else machine.next_deadline(self.alert)
            if due is None or due.due > at(second):
                return self
            now = (due.due - T0).total_seconds()
            assert self.alert is not None
            if due.name == "send":
                for delivery in escalation.open_deliveries(self.alert):
                    if delivery.due is not None and delivery.due <= due.due:
                        if self.works:
                            self.told.append((now, delivery.channel, delivery.about))
                        sent = Sent(
                            id=derive_id(delivery.id, str(now)),
                            at=due.due,
                            delivery=delivery.id,
                            ok=self.works,
                            detail="" if self.works else "refused",
                        )
                        self.give(sent, now)
            elif due.name == "act":
                for action in follow_up.due_actions(self.alert):
                    number = derive_id(action.id, str(now))
                    self.give(Concerned(id=number, at=due.due, action=action.id, rollouts=self.rollouts), now)
            else:
                self.give(deadline_message(FINGERPRINT, due), now)
        raise AssertionError(f"expected time to pass, found {limit} deadlines before {second} s")

    def _news(self, second: float) -> Muted | None:
        assert self.alert is not None
        covered = self.mute is not None and self.mute[0] <= second < self.mute[1]
        by = ("s1",) if covered else ()
        until = at(self.mute[1]) if covered and self.mute is not None else None
        if (by, until) == (self.alert.muted_by, self.alert.muted_until):
            return None
        return Muted(id=derive_id("muted", str(second)), at=at(second), by=by, until=until)

    def _decide(self, message: Message, now: datetime) -> None:
        found = machine.decide(self.alert, message, now)
        assert machine.decide(self.alert, message, now) == found
        self.alert = found.state
        self.sent += found.messages
