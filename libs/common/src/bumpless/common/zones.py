"""Time zones by name. They come from this machine's list, so nothing that is replayed may ask here."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bumpless.common.model.finding import Code, Finding, blocking
from bumpless.common.model.preflight import Preflight


def zone_of(text: str) -> tzinfo:
    """UTC is there also on machines without a list. Raises: ValueError, for one that is not known here."""
    if text == "UTC":
        return UTC
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"expected a time zone such as Europe/Berlin, found {text!r}, which this machine does not know"
        ) from error


def zone_faults(rules: Preflight) -> tuple[Finding, ...]:
    """One for every zone in `rules` that is not known here."""
    found = []
    named = [window.zone for window in rules.windows] + [freeze.zone for freeze in rules.freezes]
    for zone in dict.fromkeys(named):
        try:
            zone_of(zone)
        except ValueError as error:
            found.append(
                blocking(
                    Code.POLICY_INVALID, zone, str(error), "correct the zone, or install the package tzdata"
                )
            )
    return tuple(found)
