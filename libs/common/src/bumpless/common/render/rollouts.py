"""Where rollouts are, and what their logs say, in lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bumpless.common.contract.events import LoggedInput, RolloutAdvanced, RolloutProgressed


def status(value: RolloutProgressed, now: datetime) -> str:
    """Where a rollout is, why, since when, until when, in one line."""
    verb = "revert" if value.of is not None else "rollout"
    line = (
        f"{verb} {value.rollout}: {value.product} {value.release_version}: {value.status}, "
        f"{value.steps_done} of {value.steps_total} steps, since {_ago(now, value.since)}"
    )
    if value.reason:
        line += f": {value.reason}"
    if value.until is not None:
        line += f" (next decision by {value.until:%H:%M:%S} UTC)"
    return line


def log_entry(entry: RolloutAdvanced) -> list[str]:
    """One change of a rollout: what came in, where it led, and why things did not happen."""
    moved = (
        entry.status
        if entry.status_before in (None, entry.status)
        else f"{entry.status_before} -> {entry.status}"
    )
    lines = [f"{entry.at:%H:%M:%S.%f}"[:-3] + f" v{entry.version} {moved}: {_inputs(entry.inputs)}"]
    found = (finding for item in entry.inputs for finding in item.message.get("findings") or ())
    lines += [
        f"    found {f['severity']} {f['code']} {f['subject']}: {f['evidence']}"
        for f in found
        if not f.get("waived")
    ]
    waived = (waiver for item in entry.inputs for waiver in item.message.get("waivers") or ())
    lines += [f"    waived {w['code']} {w['subject']} by {w['by']}: {w['reason']}" for w in waived]
    return lines + [f"    {note}" for note in entry.notes]


def _inputs(inputs: Iterable[LoggedInput]) -> str:
    said = []
    for item in inputs:
        message = item.message
        detail = [
            str(message[key])
            for key in ("node", "component", "batch", "outcome", "verdict", "name")
            if message.get(key)
        ]
        said.append(f"{message.get('type')}" + (f" ({' '.join(detail)})" if detail else ""))
    return "; ".join(said)


def _ago(now: datetime, then: datetime) -> str:
    seconds = max(0, int((now - then).total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
