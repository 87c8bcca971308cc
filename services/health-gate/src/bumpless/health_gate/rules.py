"""One rule of a spec, one function: what a rule says of a view. A new kind of rule adds a case here.

Rules that need more than the view are none of them: the sequential ones (`tested`), which are tested together, and
the composites, which look at other rules' findings.
"""

from __future__ import annotations

from typing import assert_never

from bumpless.common.model.gate import (
    ClassicRule,
    CompositeRule,
    EqualsRule,
    ErrorRateRule,
    GaugeRule,
    LatencyRule,
    RestartsRule,
    Rule,
    SequentialErrors,
    SequentialLatency,
    ThresholdRule,
    TrendRule,
    VersionRule,
)
from bumpless.common.model.probe import DependenciesRule, ProbeRule, SpeedRule, ValueRule
from bumpless.health_gate import checks, rates, speed, tryouts, values
from bumpless.health_gate.fresh import read_by, still_told
from bumpless.health_gate.view import Finding, View


def evaluate(rule: Rule, view: View) -> Finding | None:
    """What `rule` says now, under its name; None: it cannot be told from the view alone."""
    found = _evaluate(rule, view)
    if found is not None:
        found = still_told(found, view, tuple(read_by(rule, view)))
    if found is None or found.evidence.rule == rule.called:
        return found
    return Finding(found.evidence.model_copy(update={"rule": rule.called}), found.reason)


def _evaluate(rule: Rule, view: View) -> Finding | None:
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
        case ThresholdRule():
            return values.threshold(view, rule)
        case EqualsRule():
            return values.equals(view, rule)
        case TrendRule():
            return values.trend(view, rule)
        case SequentialErrors() | SequentialLatency() | CompositeRule():
            return None
        case ProbeRule():
            return tryouts.probed(view, rule)
        case ValueRule():
            return tryouts.valued(view, rule)
        case SpeedRule():
            return speed.speed(view, rule)
        case DependenciesRule():
            return tryouts.linked(view, rule)
        case _:
            assert_never(rule)
