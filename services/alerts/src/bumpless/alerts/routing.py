"""What the alerts file says about one alert: whom it is told to, and what is done."""

from __future__ import annotations

from collections.abc import Mapping

from bumpless.alerts.inputs import Wanted
from bumpless.common.model.alert import Route, Severity, Step, Told, matched
from bumpless.common.model.alerting import (
    ActionFile,
    AlertmanagerChannel,
    AlertsFile,
    Channel,
    Escalation,
)
from bumpless.common.model.gate import parse_selector

DEFAULT = "default"
"""The escalation of what no route fits, where there is one of this name."""


def fits(selector: str | None, labels: Mapping[str, str]) -> bool:
    if selector is None:
        return True
    return all(matcher.matches(labels.get(matcher.label, "")) for matcher in parse_selector(selector))


def route(file: AlertsFile, labels: Mapping[str, str], severity: Severity) -> Route:
    """The first route that fits, else the escalation `default`, else nobody."""
    for known in file.routes:
        if severity.rank >= known.severity.rank and fits(known.match, matched(labels, severity)):
            return _route(file, known.escalation, file.escalations[known.escalation])
    if DEFAULT in file.escalations:
        return _route(file, DEFAULT, file.escalations[DEFAULT])
    return Route()


def _route(file: AlertsFile, name: str, escalation: Escalation) -> Route:
    steps = tuple(
        Step(
            after_s=step.after_s,
            channels=tuple(_told(channel, file.channels[channel]) for channel in step.channels),
        )
        for step in escalation.steps
    )
    repeat = escalation.repeat
    return Route(
        name=name,
        steps=steps,
        repeat_s=0 if repeat is None else repeat.every_s,
        repeat_times=0 if repeat is None else repeat.times,
        ack_s=escalation.ack_s,
    )


def _told(name: str, channel: Channel) -> Told:
    if isinstance(channel, AlertmanagerChannel):
        return Told(channel=name, again_s=channel.again_s)
    return Told(channel=name, resolved=channel.send_resolved)


def actions(file: AlertsFile, labels: Mapping[str, str], severity: Severity) -> tuple[ActionFile, ...]:
    return tuple(
        action
        for action in file.actions
        if severity.rank >= action.severity.rank and fits(action.match, matched(labels, severity))
    )


def wanted(file: AlertsFile, labels: Mapping[str, str], severity: Severity) -> tuple[Wanted, ...]:
    return tuple(
        Wanted(name=action.name, do=action.do, tries=action.tries)
        for action in actions(file, labels, severity)
    )
