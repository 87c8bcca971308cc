"""One rule of a spec, one function: what a rule says of a view. A new kind of rule adds a case here."""

from __future__ import annotations

from typing import assert_never

from bumpless.common.model.gate import (
    ClassicRule,
    ErrorRateRule,
    GaugeRule,
    LatencyRule,
    RestartsRule,
    Rule,
    VersionRule,
)
from bumpless.health_gate import checks, rates
from bumpless.health_gate.view import Finding, View


def evaluate(rule: Rule, view: View) -> Finding:
    """What `rule` says now."""
    match rule:
        case ErrorRateRule():
            return rates.error_rate(view, rule)
        case LatencyRule():
            return rates.latency(view, rule)
        case ClassicRule():
            return rates.classic(view, rule)
        case GaugeRule():
            return checks.gauge_level(view, rule)
        case VersionRule():
            return checks.version(view, rule)
        case RestartsRule():
            return checks.restarts(view, rule)
        case _:
            assert_never(rule)
