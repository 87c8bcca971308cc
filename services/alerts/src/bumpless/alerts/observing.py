"""From the answers of rules to what alerts are told: only what they do not know yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from bumpless.alerts import routing
from bumpless.alerts.evaluate import Answer, Answers, absent
from bumpless.alerts.inputs import Observed
from bumpless.common.contract.base import derive_id
from bumpless.common.model.alert import NAME, Alert, Severity, fingerprint
from bumpless.common.model.alert_rules import Rule
from bumpless.common.model.alerting import AlertsFile


class Observing:
    """Remembers since when a rule has had nothing to say about an alert."""

    def __init__(self) -> None:
        self._known: dict[str, datetime] = {}

    def told(
        self, file: AlertsFile, answers: Mapping[str, Answers], active: Iterable[Alert], now: datetime
    ) -> Iterator[Observed]:
        """What begins and what ends."""
        rules = {rule.name: rule for rule in file.every_rule}
        open_ = {alert.fingerprint: alert for alert in active if alert.source == "rule"}
        self._known = {name: self._known.get(name, now) for name in open_}
        for name, found in answers.items():
            for group, answer in found.items():
                labels = {**rules[name].labels, **dict(group), NAME: name}
                alert = open_.pop(fingerprint(labels), None)
                if alert is not None:
                    ended = self._ended(alert, answer, file, now)
                    if ended is not None:
                        yield ended
                elif answer.holds:
                    yield begun(file, rules[name], labels, answer, now)
        for alert in open_.values():
            ended = self._ended(alert, _unsaid(alert, rules), file, now)
            if ended is not None:
                yield ended

    def _ended(self, alert: Alert, answer: Answer, file: AlertsFile, now: datetime) -> Observed | None:
        if answer.holds is not None:
            self._known[alert.fingerprint] = now
            return None if answer.holds else _over(alert, answer.detail, now)
        silent = now - self._known[alert.fingerprint]
        if silent <= timedelta(seconds=file.stale_s):
            return None
        return _over(
            alert, f"no data for {silent.total_seconds():.0f} s, so nobody knows whether it holds", now
        )


def _unsaid(alert: Alert, rules: Mapping[str, Rule]) -> Answer:
    """The answer for an alert whose group no answer names."""
    rule = rules.get(alert.name)
    if rule is None:
        return Answer(False, detail="its rule is gone")
    return Answer(absent(rule, rules), detail="it was not seen again")


def begun(file: AlertsFile, rule: Rule, labels: dict[str, str], answer: Answer, now: datetime) -> Observed:
    """That `rule` holds for the alert of `labels`."""
    told = {"summary": rule.summary, "runbook": rule.runbook}
    return Observed(
        id=derive_id(fingerprint(labels), "holds", now.isoformat()),
        at=now,
        labels=labels,
        annotations={name: text for name, text in told.items() if text},
        severity=rule.severity,
        source="rule",
        holds=True,
        for_s=rule.for_s,
        value=answer.value,
        detail=answer.detail,
        route=routing.route(file, labels, rule.severity),
        actions=routing.wanted(file, labels, rule.severity),
    )


def _over(alert: Alert, detail: str, now: datetime) -> Observed:
    return Observed(
        id=derive_id(alert.fingerprint, "over", now.isoformat()),
        at=now,
        labels=alert.labels,
        severity=Severity(alert.severity),
        source="rule",
        holds=False,
        detail=detail,
    )
