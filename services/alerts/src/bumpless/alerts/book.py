"""What the service has in mind of its alerts and silences, between two decisions of any of them.

Every decision passes through here, so it is as new as the store. It is made again from the stream at every start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from bumpless.alerts.follow_up import open_outcomes
from bumpless.alerts.inputs import Muted
from bumpless.alerts.picture import Picture
from bumpless.alerts.silences import Muting, muting, of_window
from bumpless.common.contract.base import Message, derive_id
from bumpless.common.model.alert import Alert, Silence
from bumpless.common.model.alerting import AlertsFile

Kept = Alert | Silence


class Book:
    """See `shell.kind.Surroundings`: what an alert does not know yet is who mutes it."""

    def __init__(self, picture: Picture, file: Callable[[], AlertsFile]) -> None:
        self._picture = picture
        self._file = file
        self._alerts: dict[str, Alert] = {}
        self._silences: dict[str, Silence] = {}

    def news(self, state: Kept, now: datetime) -> Message | None:
        if isinstance(state, Silence) or not state.active:
            return None
        found = self.muting(state, now)
        if (found.by, found.until) == (state.muted_by, state.muted_until):
            return None
        return Muted(
            id=derive_id(state.fingerprint, "muted", str(state.revision), str(found.until), *found.by),
            at=now,
            by=found.by,
            until=found.until,
        )

    def is_news(self, message: Message) -> bool:
        return False

    def opening(self, message: Message) -> Message:
        return message

    def never_was(self, aggregate: str) -> None:
        """Every alert may begin."""

    def decided(self, state: Kept) -> None:
        if isinstance(state, Silence):
            self._silences[state.id] = state
        elif state.active or open_outcomes(state):
            self._alerts[state.fingerprint] = state
        else:
            self._alerts.pop(state.fingerprint, None)

    def muting(self, alert: Alert, now: datetime) -> Muting:
        return muting(alert.matched, self.silences(now), now)

    def silences(self, now: datetime) -> list[Silence]:
        """Those of people, of open windows, and of batches under way."""
        for name in [s.id for s in self._silences.values() if s.ends_at <= now]:
            del self._silences[name]
        windows = [s for window in self._file().windows if (s := of_window(window, now)) is not None]
        return [*self._silences.values(), *windows, *self._picture.silences(now)]

    def active(self) -> Iterator[Alert]:
        yield from [alert for alert in self._alerts.values() if alert.active]

    def alert(self, fingerprint: str) -> Alert | None:
        """The alert, if it is active."""
        found = self._alerts.get(fingerprint)
        return found if found is not None and found.active else None

    def ordered(self, rollout: str) -> list[str]:
        """The alerts that wait for an outcome of the rollout."""
        return [
            alert.fingerprint
            for alert in self._alerts.values()
            if any(rollout in action.rollouts for action in open_outcomes(alert))
        ]
