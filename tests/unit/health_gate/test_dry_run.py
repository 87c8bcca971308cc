"""Which series a gate would read: found, missing, not needed, and too many."""

from __future__ import annotations

from bumpless.common.contract.gate_dry_run import GateDryRun, MetricRead
from bumpless.common.model.gate import (
    ErrorRateRule,
    GateSpec,
    GaugeRule,
    LatencyRule,
    Rule,
    ThresholdRule,
    VersionRule,
)
from bumpless.health_gate.dry_run import SHOWN, read

COUNTED = 'http_requests_total{status="200"}'


def found(rule: Rule, **newest: dict[str, float]) -> dict[str, MetricRead]:
    asked = GateDryRun(component="api", nodes=("n1", "n2"), spec=GateSpec(rules=(rule,)))
    return {one.metric: one for one in read(asked, newest)}


def test_what_is_there_is_told_with_its_value_and_what_is_not_is_missing() -> None:
    total = found(ErrorRateRule(), n1={COUNTED: 5.0, "other": 1.0, "{broken": 1.0})["http_requests_total"]
    assert [(one.node, one.series, one.value) for one in total.series] == [("n1", COUNTED, 5.0)]
    assert total.missing == ("n2",)
    assert total.lacking


def test_errors_that_never_happened_are_not_lacking() -> None:
    bad = found(ErrorRateRule(), n1={COUNTED: 5.0})['http_requests_total{status=~"5.."}']
    assert bad.missing == ("n1", "n2")
    assert not bad.lacking


def test_a_histogram_needs_its_last_bucket() -> None:
    first = {'http_request_duration_seconds_bucket{le="0.1"}': 1.0}
    entry = found(LatencyRule(), n1=first, n2=first)
    assert not entry["http_request_duration_seconds_bucket"].lacking
    assert entry['http_request_duration_seconds_bucket{le="+Inf"}'].missing == ("n1", "n2")


def test_the_metrics_of_expressions_are_read() -> None:
    rule = ThresholdRule.model_validate({"value": "queue_length", "above": 5})
    assert found(rule, n1={"queue_length": 1.0})["queue_length"].missing == ("n2",)


def test_rules_without_metrics_read_none() -> None:
    assert found(VersionRule()) == {}


def test_of_very_many_series_some_are_told() -> None:
    many = {f'depth{{queue="{number}"}}': 1.0 for number in range(SHOWN + 7)}
    entry = found(GaugeRule(metric="depth", max_value=1), n1=many)["depth"]
    assert (len(entry.series), entry.more) == (SHOWN, 7)
