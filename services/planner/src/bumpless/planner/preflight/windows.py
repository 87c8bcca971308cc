"""WINDOW, FREEZE, and POLICY_INVALID for an unknown zone: when rollouts may start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from bumpless.common.model.finding import Code, Finding, blocking
from bumpless.common.model.preflight import Day, Freeze, Window
from bumpless.common.zones import zone_faults, zone_of
from bumpless.planner.preflight.case import Case

DAYS = tuple(Day)


def check(case: Case) -> Iterator[Finding]:
    for whose, rules in zip(("the fleet", "the release"), case.rules, strict=True):
        unknown = zone_faults(rules)
        yield from unknown
        if unknown:
            continue
        if rules.windows and not any(is_open(window, case.now) for window in rules.windows):
            told = "; ".join(_told(window) for window in rules.windows)
            yield blocking(
                Code.WINDOW,
                whose,
                f"now, {_local(case.now, rules.windows[0])}, none of its windows is open: {told}",
                "announce it within a window",
                waivable=True,
            )
        for freeze in rules.freezes:
            if is_frozen(freeze, case.now):
                yield blocking(
                    Code.FREEZE,
                    whose,
                    f"nothing starts from {freeze.begin} to {freeze.end} ({freeze.zone}): {freeze.why}",
                    f"wait until {freeze.end + timedelta(days=1)}",
                    waivable=True,
                )


def is_open(window: Window, now: datetime) -> bool:
    """A window over midnight belongs to the day on which it opened."""
    local = now.astimezone(zone_of(window.zone))
    today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
    at = local.time()
    if window.begin < window.end:
        return today in window.days and window.begin <= at < window.end
    late = today in window.days and at >= window.begin
    return late or (yesterday in window.days and at < window.end)


def is_frozen(freeze: Freeze, now: datetime) -> bool:
    return freeze.begin <= now.astimezone(zone_of(freeze.zone)).date() <= freeze.end


def _local(now: datetime, window: Window) -> str:
    return f"{now.astimezone(zone_of(window.zone)):%a %H:%M} in {window.zone}"


def _told(window: Window) -> str:
    days = "every day" if set(window.days) == set(DAYS) else ", ".join(window.days)
    return f"{days} {window.begin:%H:%M}-{window.end:%H:%M} {window.zone}"
