"""Silences: made, changed and expired by people; opened by windows of the alerts file; made for batches under way.

A silence is an aggregate of its own, told as `SilenceChanged`. Windows and batches are not stored: they follow from the
alerts file and from the rollouts, whatever the moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bumpless.common.contract.alerts import AlertingAnswered, ExpireSilence, SetSilence, SilenceChanged
from bumpless.common.contract.base import Message, derive_id
from bumpless.common.engine.decision import Decision
from bumpless.common.model.alert import Silence, SilenceMatcher
from bumpless.common.model.alerting import Maintenance
from bumpless.common.model.gate import parse_selector
from bumpless.common.model.preflight import Day, Window
from bumpless.common.zones import zone_of

LONGEST = timedelta(days=60)
"""The stream that remembers them keeps 90 days. What comes back every week is a window of the alerts file."""
DAYS = tuple(Day)


def decide(state: Silence | None, message: Message, now: datetime) -> Decision[Silence | None]:
    """What `message` does to a silence."""
    match message:
        case SetSilence():
            return _set(state, message, now)
        case ExpireSilence():
            return _expire(state, message, now)
        case _:
            return Decision(state, notes=(f"{type(message).__name__} ignored",))


def _set(state: Silence | None, message: SetSilence, now: datetime) -> Decision[Silence | None]:
    wanted = message.silence
    if wanted == state:
        return _answered(state, message, now, True, "it is so already")
    if wanted.ends_at <= now:
        return _answered(state, message, now, False, f"expected an end after {now}, found {wanted.ends_at}")
    if wanted.ends_at - max(wanted.starts_at, now) > LONGEST:
        text = f"expected at most {LONGEST.days} days, found an end at {wanted.ends_at}"
        return _answered(state, message, now, False, f"{text}; use a window of the alerts file")
    if state is not None and state.ends_at <= now:
        return _answered(
            state, message, now, False, f"expected a new id, found that of one that ended at {state.ends_at}"
        )
    return _changed(wanted, message, now, f"silenced until {wanted.ends_at:%Y-%m-%d %H:%M:%S} UTC")


def _expire(state: Silence | None, message: ExpireSilence, now: datetime) -> Decision[Silence | None]:
    if state is None:
        text = f"expected a silence that exists, found none under {message.silence_id}"
        return _answered(state, message, now, False, f"{text}; see `bumpless alert silence list`")
    if state.ends_at <= now:
        return _answered(state, message, now, True, f"it ended at {state.ends_at}")
    over = state.model_copy(update={"ends_at": now, "starts_at": min(state.starts_at, now)})
    return _changed(over, message, now, f"ended by {message.by}")


def _changed(
    silence: Silence, message: SetSilence | ExpireSilence, now: datetime, text: str
) -> Decision[Silence | None]:
    changed = SilenceChanged(id=derive_id(message.id, "changed"), at=now, cause=message.id, silence=silence)
    return Decision(silence, (changed, _answer(message, now, True, text)), (text,))


def _answered(
    state: Silence | None, message: SetSilence | ExpireSilence, now: datetime, accepted: bool, text: str
) -> Decision[Silence | None]:
    return Decision(state, (_answer(message, now, accepted, text),), (text,))


def _answer(
    message: SetSilence | ExpireSilence, now: datetime, accepted: bool, text: str
) -> AlertingAnswered:
    return AlertingAnswered(
        id=derive_id(message.id, "answer"),
        at=now,
        cause=message.id,
        about=message.silence_id,
        accepted=accepted,
        text=text,
    )


@dataclass(frozen=True)
class Muting:
    """Which silences cover an alert now, and the last moment until which one of them does."""

    by: tuple[str, ...] = ()
    until: datetime | None = None


def muting(labels: Mapping[str, str], silences: Iterable[Silence], now: datetime) -> Muting:
    found = [s for s in silences if s.starts_at <= now < s.ends_at and s.covers(labels)]
    if not found:
        return Muting()
    return Muting(tuple(sorted(s.id for s in found)), max(s.ends_at for s in found))


def of_window(maintenance: Maintenance, now: datetime) -> Silence | None:
    """The silence of a window that is open now; None: it is not. A zone that this machine does not know is closed."""
    try:
        span = opened(maintenance.window, now)
    except ValueError:
        return None
    if span is None:
        return None
    matchers = tuple(
        SilenceMatcher(
            name=m.label,
            value=m.value,
            is_regex=m.operator.endswith("~"),
            is_equal=not m.operator.startswith("!"),
        )
        for m in parse_selector(maintenance.match)
    )
    return Silence(
        id=f"window-{maintenance.name}"[:63],
        matchers=matchers,
        starts_at=span[0],
        ends_at=span[1],
        created_by="alerts file",
        comment=maintenance.comment,
    )


def opened(window: Window, now: datetime) -> tuple[datetime, datetime] | None:
    """From when until when a window is open that is open now; one over midnight belongs to the day it opened on.

    Raises: ValueError, if its zone is not known here.
    """
    zone = zone_of(window.zone)
    today = now.astimezone(zone).date()
    for day in (today, today - timedelta(days=1)):
        if DAYS[day.weekday()] not in window.days:
            continue
        start = datetime.combine(day, window.begin, zone)
        later = 0 if window.begin < window.end else 1
        end = datetime.combine(day + timedelta(days=later), window.end, zone)
        if start <= now < end:
            return start, end
    return None
