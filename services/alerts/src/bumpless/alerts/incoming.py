"""What a real Alertmanager says, read strictly: its webhook of version 4, alert by alert.

Fields that later versions add are ignored; those that are needed must have the right form. An alert that is wrong does
not take the others with it.

Source of the form: prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bumpless.alerts import routing
from bumpless.alerts.inputs import Observed
from bumpless.alerts.notice import ORIGIN, OURS
from bumpless.common.contract.base import Instant, derive_id
from bumpless.common.model.alert import NAME, LabelName, LabelValue, Severity, fingerprint
from bumpless.common.model.alerting import AlertsFile

MAX_LABELS = 64
Annotation = Annotated[str, Field(max_length=8192)]


class WebhookAlert(BaseModel):
    """One alert of the webhook. `ends_at` is the year 1 where it is not known."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    status: Literal["firing", "resolved"]
    labels: Annotated[dict[LabelName, LabelValue], Field(min_length=1, max_length=MAX_LABELS)]
    annotations: Annotated[dict[LabelName, Annotation], Field(max_length=MAX_LABELS)] = {}
    starts_at: Annotated[Instant, Field(alias="startsAt", strict=False)]
    ends_at: Annotated[Instant | None, Field(alias="endsAt", strict=False)] = None


@dataclass(frozen=True)
class Fault:
    """Why one alert was not taken, by its place in the list."""

    place: int
    reason: str


@dataclass
class Incoming:
    """What was understood. `ours` are alerts that we forwarded and that came back."""

    observed: list[Observed] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ours: int = 0


def understood(body: bytes, file: AlertsFile, now: datetime) -> Incoming:
    """Read a webhook.

    Raises:
        ValueError: it is none, as a whole; says what was expected.
    """
    found = Incoming()
    for place, raw in enumerate(_alerts(body, file)):
        try:
            alert = WebhookAlert.model_validate(raw)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in fault["loc"])
            found.faults.append(Fault(place, f"{where}: {fault['msg']}"))
            continue
        if NAME not in alert.labels:
            found.faults.append(
                Fault(place, f"expected the label {NAME}, found {', '.join(sorted(alert.labels))}")
            )
        elif alert.labels.get(ORIGIN) == OURS:
            found.ours += 1
        else:
            found.observed.append(_observed(alert, file, now))
    return found


def _alerts(body: bytes, file: AlertsFile) -> list[Any]:
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON, found {body[:80]!r}: {error}") from error
    if not isinstance(raw, dict):
        raise ValueError(f"expected an object, found {type(raw).__name__}")
    if raw.get("version") != "4":
        raise ValueError(
            f'expected a webhook of Alertmanager with "version": "4", found {raw.get("version")!r}'
        )
    alerts = raw.get("alerts")
    if not isinstance(alerts, list):
        raise ValueError(f"expected a list under alerts, found {type(alerts).__name__}")
    if len(alerts) > file.receiver.max_alerts:
        raise ValueError(
            f"expected at most {file.receiver.max_alerts} alerts at once, found {len(alerts)}; set max_alerts of the receiver in Alertmanager"
        )
    return alerts


def severity_of(labels: Mapping[str, str], file: AlertsFile) -> Severity:
    word = labels.get("severity", "").lower()
    if word in file.receiver.severities:
        return file.receiver.severities[word]
    return Severity(word) if word in set(Severity) else Severity.WARNING


def _observed(alert: WebhookAlert, file: AlertsFile, now: datetime) -> Observed:
    severity = severity_of(alert.labels, file)
    said = alert.annotations
    detail = said.get("description") or said.get("message") or said.get("summary") or ""
    holds = alert.status == "firing"
    ends = alert.ends_at if holds and alert.ends_at is not None and alert.ends_at > now else None
    return Observed(
        id=derive_id(fingerprint(alert.labels), "heard", alert.status, now.isoformat()),
        at=now,
        labels=dict(alert.labels),
        annotations=dict(alert.annotations),
        severity=severity,
        source="alertmanager",
        holds=holds,
        detail=detail[:1000] if holds else "Alertmanager says that it is over",
        ends_at=ends,
        route=routing.route(file, alert.labels, severity),
        actions=routing.wanted(file, alert.labels, severity),
    )
