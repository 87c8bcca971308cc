"""What is sent: one alert as words for people, as JSON for webhooks, and in Alertmanager's form."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from bumpless.common.model.alert import Alert, AlertStatus, Severity, fingerprint

ORIGIN, OURS = "origin", "bumpless"
"""The label of what is forwarded, by which we know our own alerts when they come back."""
TITLE_CHARS = 200
SOURCE = "https://bumpless.invalid/alerts/"
"""Begins the generatorURL of forwarded alerts: Alertmanager wants one, and it leads nowhere by design (RFC 6761)."""


@dataclass(frozen=True)
class Notice:
    """One message. `id` is the same for every try, so that a receiver can drop what it has."""

    id: str
    about: Literal["firing", "resolved", "test"]
    step: int
    alert: Alert
    at: datetime
    again_s: float | None = None
    ack_url: str = ""

    @property
    def title(self) -> str:
        where = " ".join(
            self.alert.labels[name]
            for name in ("component", "node", "product")
            if self.alert.labels.get(name)
        )
        mark = "TEST" if self.about == "test" else self.about.upper()
        title = f"[{mark}] {self.alert.severity} {self.alert.name}" + (f" {where}" if where else "")
        return title[:TITLE_CHARS]

    @property
    def body(self) -> str:
        alert = self.alert
        lines = [alert.annotations.get("summary", ""), alert.detail]
        lines.append(", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items())))
        if alert.fired_at is not None:
            lines.append(f"since {alert.fired_at:%Y-%m-%d %H:%M:%S} UTC")
        lines.append(alert.annotations.get("runbook", ""))
        if self.about == "firing":
            lines.append(self.ack_url or f"bumpless alert ack {alert.fingerprint}")
        return "\n".join(line for line in lines if line)

    def payload(self) -> dict[str, Any]:
        """For webhooks; documented in docs/alerts.md."""
        alert = self.alert
        return {
            "version": "1",
            "id": self.id,
            "about": self.about,
            "step": self.step,
            "at": self.at.isoformat(),
            "title": self.title,
            "text": self.body,
            "ack_url": self.ack_url or None,
            "alert": {
                "fingerprint": alert.fingerprint,
                "status": alert.status,
                "severity": alert.severity,
                "labels": alert.labels,
                "annotations": alert.annotations,
                "detail": alert.detail,
                "value": alert.value,
                "episode": alert.episode,
                "fired_at": None if alert.fired_at is None else alert.fired_at.isoformat(),
                "resolved_at": None if alert.resolved_at is None else alert.resolved_at.isoformat(),
            },
        }

    def for_alertmanager(self) -> list[dict[str, Any]]:
        """The body of POST /api/v2/alerts. A firing alert ends by itself unless it is posted again in time."""
        alert = self.alert
        keep = timedelta(seconds=max(3 * (self.again_s or 60), 10))
        ends = alert.resolved_at if self.about == "resolved" else self.at + keep
        starts = alert.fired_at or self.at
        return [
            {
                "labels": {"severity": alert.severity, **alert.labels, ORIGIN: OURS},
                "annotations": {"detail": alert.detail, **alert.annotations},
                "startsAt": starts.isoformat(),
                "endsAt": (ends or self.at).isoformat(),
                "generatorURL": SOURCE + alert.fingerprint,
            }
        ]


def trial_alert(channel: str, now: datetime) -> Alert:
    """An alert that never was, for trying a channel."""
    labels = {"alertname": "BumplessTest", "channel": channel}
    return Alert(
        fingerprint=fingerprint(labels),
        labels=labels,
        annotations={"summary": "somebody tries this channel; nothing is wrong"},
        severity=Severity.INFO,
        source="rule",
        status=AlertStatus.RESOLVED,
        since=now,
        active_since=now,
        fired_at=now,
        resolved_at=now,
    )
