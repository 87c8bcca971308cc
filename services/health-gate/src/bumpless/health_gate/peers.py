"""Which peers are no control: nodes that were in trouble, or muted for work on them, when the gate was opened. Pure.

It is decided by what was known at that moment and stays so: a peer that is left out because of what it did meanwhile
would be chosen by its outcome, and the bound on false alarms would not hold.
"""

from __future__ import annotations

from collections.abc import Iterable

from bumpless.common.contract.alerts import AlertChanged, SilenceChanged
from bumpless.common.contract.commands import GateMember, OpenGate
from bumpless.common.model.alert import Alert, AlertStatus, Severity, Silence

NODE, COMPONENT = "node", "component"
_FIRES = frozenset({AlertStatus.FIRING, AlertStatus.ACKNOWLEDGED})


def without_troubled(
    gate: OpenGate, alerts: Iterable[AlertChanged], silences: Iterable[SilenceChanged]
) -> OpenGate:
    """`gate` without the peers that an alert fired for, or that a silence took out, when it was opened.

    All stay where none would be left: what troubles everybody troubles both sides. `alerts` and `silences` are in the
    order of their log.
    """
    known = {found.alert.fingerprint: found.alert for found in alerts if found.at <= gate.at}
    made = {found.silence.id: found.silence for found in silences if found.at <= gate.at}
    fires = [
        alert for alert in known.values() if alert.status in _FIRES and alert.severity is not Severity.INFO
    ]
    mute = [silence for silence in made.values() if silence.starts_at <= gate.at < silence.ends_at]
    kept = tuple(
        member
        for member in gate.control
        if not any(_concerns(alert, member) for alert in fires)
        and not any(_takes_out(silence, member) for silence in mute)
    )
    return gate if kept in ((), gate.control) else gate.model_copy(update={"control": kept})


def _concerns(alert: Alert, member: GateMember) -> bool:
    """Whether the alert names the node, and no other component of it."""
    labels = alert.labels
    return labels.get(NODE) == member.node and labels.get(COMPONENT, member.component) == member.component


def _takes_out(silence: Silence, member: GateMember) -> bool:
    """Whether the silence is of the node as a whole, or of the component there: not of one alert of it, nor of all nodes."""
    named = {matcher.name for matcher in silence.matchers}
    if NODE not in named or not named <= {NODE, COMPONENT}:
        return False
    elsewhere = silence.covers({COMPONENT: member.component})
    return not elsewhere and silence.covers({NODE: member.node, COMPONENT: member.component})
