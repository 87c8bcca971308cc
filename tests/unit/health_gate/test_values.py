"""Rules over expressions, and rules of rules; and how a spec with them is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.expression import parse_expression
from bumpless.common.model.gate import ErrorRateRule, GateSpec, RestartsRule
from bumpless.common.model.verdict import Verdict
from bumpless.health_gate.judge import judge
from bumpless.health_gate.trend import forecast
from bumpless.health_gate.window import SampleWindow
from unit.health_gate.scenes import NEW, OLD, Scene, at, sample

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
Series = Callable[[float], dict[str, float]]


def told(node: str, start: float, series: Series, root: str = NEW) -> list[MetricsSampled]:
    """What `series` has at each scrape, five seconds apart, until 70 s after the switch."""
    times = [start + 5 * index for index in range(int((70 - start) / 5) + 1)]
    return [sample(node, t, index + 1, series(t), root=root) for index, t in enumerate(times)]


def outcome(rules: list[dict[str, Any]], canary: Series, peer: Series | None = None) -> tuple[Any, str, str]:
    spec = GateSpec.model_validate({"rules": [{"rule": "restarts"}, *rules], "warm_up_s": 5, "window_s": 60})
    scene = Scene(spec, ("n1",), ("n2",) if peer else ()).on(told("n1", -2, canary))
    if peer is not None:
        scene = scene.on(told("n2", -60, peer, OLD))
    window = SampleWindow()
    for found in scene.samples:
        window.add(found)
    judgement = judge(scene.gate, window, at(68))
    return judgement.verdict, judgement.reason, judgement.detail


def level(value: float) -> Series:
    return lambda _: {"queue_length": value}


THRESHOLD: dict[str, Any] = {"rule": "threshold", "value": "queue_length"}


@pytest.mark.parametrize(
    ("more", "canary", "peer", "expected"),
    [
        pytest.param({"above": 10}, level(10), None, (PASS, "passed"), id="at the limit"),
        pytest.param({"above": 10}, level(11), None, (INCONCLUSIVE, "limit_crossed"), id="above, and pauses"),
        pytest.param(
            {"above": 10, "on_fail": "fail"}, level(11), None, (FAIL, "regression"), id="above, and fails"
        ),
        pytest.param({"below": 10, "on_fail": "fail"}, level(9), None, (FAIL, "regression"), id="below"),
        pytest.param(
            {"above": 10, "on_fail": "fail", "for_s": 30},
            lambda t: {"queue_length": 11.0 if t > 50 else 1.0},
            None,
            (None, "deadline"),
            id="above, but not for long enough yet",
        ),
        pytest.param(
            {"above": 10, "on_fail": "fail", "for_s": 30},
            lambda t: {"queue_length": 11.0 if 20 < t < 55 else 1.0},
            None,
            (FAIL, "regression"),
            id="for long enough, once",
        ),
        pytest.param({"max_ratio": 2}, level(7), level(4), (PASS, "passed"), id="within the peers' ratio"),
        pytest.param({"max_ratio": 2}, level(9), level(4), (INCONCLUSIVE, "limit_crossed"), id="beyond it"),
        pytest.param(
            {"max_ratio": 2}, level(9), None, (INCONCLUSIVE, "baseline_missing"), id="nobody to compare with"
        ),
        pytest.param({"above": 10}, lambda _: {}, None, (None, "no_data"), id="a metric that is not there"),
        pytest.param(
            {"above": 10}, lambda _: {"queue_length": float("nan")}, None, (None, "no_data"), id="NaN"
        ),
        pytest.param(
            {"above": 10, "dry_run": True}, level(99), None, (PASS, "passed"), id="a dry run decides nothing"
        ),
    ],
)
def test_thresholds(
    more: dict[str, Any], canary: Series, peer: Series | None, expected: tuple[Any, str]
) -> None:
    assert outcome([{**THRESHOLD, **more}], canary, peer)[:2] == expected


@pytest.mark.parametrize(
    ("value", "above", "expected"),
    [
        ('increase(jobs_total{outcome="failed"}) / increase(jobs_total)', 0.09, FAIL),
        ('increase(jobs_total{outcome="failed"}) / increase(jobs_total)', 0.11, PASS),
        ("rate(jobs_total)", 1.9, FAIL),
        ("rate(jobs_total)", 2.1, PASS),
        ("used_bytes / limit_bytes", 0.4, FAIL),
        ("used_bytes / nothing_bytes", 0.4, None),
    ],
)
def test_expressions(value: str, above: float, expected: Any) -> None:
    def series(t: float) -> dict[str, float]:
        jobs = 2 * (t + 2)
        return {
            'jobs_total{outcome="failed"}': 0.1 * jobs,
            'jobs_total{outcome="done"}': 0.9 * jobs,
            "used_bytes": 5.0,
            "limit_bytes": 10.0,
            "nothing_bytes": 0.0,
        }

    rule = {"rule": "threshold", "value": value, "above": above, "on_fail": "fail"}
    assert outcome([rule], series)[0] is expected


@pytest.mark.parametrize(
    "text", ["", "queue length", "rate(rate(a))", "a / b / c", "a{", 'a{b=~"["}', "2 * a"]
)
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_expression(text)


@pytest.mark.parametrize(
    ("rule", "series", "expected"),
    [
        ({"metric": "schema", "expected": 3}, {"schema": 3.0}, (PASS, "passed")),
        ({"metric": "schema", "expected": 3}, {"schema": 2.0}, (FAIL, "regression")),
        ({"metric": "schema", "expected": 3}, {}, (None, "no_data")),
        (
            {"metric": "release_info", "label": "version", "expected": "{version}"},
            {'release_info{version="2"}': 1.0},
            (PASS, "passed"),
        ),
        (
            {"metric": "release_info", "label": "version", "expected": "{version}"},
            {'release_info{version="1"}': 1.0},
            (FAIL, "version_mismatch"),
        ),
    ],
)
def test_equality(rule: dict[str, Any], series: dict[str, float], expected: tuple[Any, str]) -> None:
    assert outcome([{"rule": "equals", **rule}], lambda _: series)[:2] == expected


TREND: dict[str, Any] = {"rule": "trend", "value": "queue_length", "limit": 1000}


@pytest.mark.parametrize(
    ("more", "canary", "expected"),
    [
        pytest.param({}, level(900), (PASS, "passed"), id="level"),
        pytest.param(
            {}, lambda t: {"queue_length": 100 + 2 * t}, (INCONCLUSIVE, "limit_crossed"), id="in 7 minutes"
        ),
        pytest.param({}, lambda t: {"queue_length": 100 + t / 2}, (PASS, "passed"), id="in half an hour"),
        pytest.param(
            {},
            lambda t: {"queue_length": 500.0 + (40 if t % 10 < 5 else -40)},
            (PASS, "passed"),
            id="to and fro",
        ),
        pytest.param(
            {"direction": "down", "limit": 0},
            lambda t: {"queue_length": 500 - 3 * t},
            (INCONCLUSIVE, "limit_crossed"),
            id="down",
        ),
        pytest.param({}, lambda _: {}, (None, "no_data"), id="not there"),
    ],
)
def test_trends(more: dict[str, Any], canary: Series, expected: tuple[Any, str]) -> None:
    assert outcome([{**TREND, **more}], canary)[:2] == expected


def test_a_slope_by_hand_is_the_median_of_slopes() -> None:
    points = [(float(t), 3.0 * t + 1) for t in range(12)]
    points[5] = (5.0, 900.0)
    found = forecast(points)
    assert found is not None
    assert found.slope == pytest.approx(3)
    assert found.level == pytest.approx(34)
    assert found.certain
    assert found.reaches_in(64, up=True) == pytest.approx(10)
    assert found.reaches_in(10, up=True) == 0.0
    assert found.reaches_in(0, up=False) is None
    assert forecast(points[:9]) is None
    assert forecast([(0.0, 1.0)] * 20) is None


PARTS: list[dict[str, Any]] = [
    {"rule": "threshold", "name": "a", "value": "a", "above": 1},
    {"rule": "threshold", "name": "b", "value": "b", "above": 1},
    {"rule": "threshold", "name": "c", "value": "c", "above": 1},
]


@pytest.mark.parametrize(
    ("broken_by", "values", "expected"),
    [
        ("any", {"a": 0.0, "b": 0.0, "c": 2.0}, FAIL),
        ("any", {"a": 0.0, "b": 0.0, "c": 0.0}, PASS),
        ("any", {"a": 0.0, "b": 0.0}, None),
        ("all", {"a": 2.0, "b": 2.0, "c": 2.0}, FAIL),
        ("all", {"a": 2.0, "b": 2.0, "c": 0.0}, PASS),
        ("all", {"a": 2.0, "b": 2.0}, None),
        (2, {"a": 2.0, "b": 2.0}, FAIL),
        (2, {"a": 0.0, "b": 0.0}, PASS),
        (2, {"a": 0.0, "b": 2.0}, None),
    ],
)
def test_composites(broken_by: object, values: dict[str, float], expected: Any) -> None:
    rule = {"rule": "composite", "of": ["a", "b", "c"], "broken_by": broken_by}
    assert outcome([rule, *PARTS], lambda _: values)[0] is expected


def test_a_newcomer_gets_the_sequential_rules_and_their_times() -> None:
    spec = GateSpec.model_validate({})
    assert [rule.rule for rule in spec.rules] == [
        "sequential_errors",
        "sequential_latency",
        "version",
        "restarts",
    ]
    assert (spec.warm_up_s, spec.window_s, spec.baseline.history_s) == (30, 60, 1800)
    assert spec.warm_up_s + spec.window_s <= 120


def test_a_gate_with_other_rules_is_as_before() -> None:
    spec = GateSpec.model_validate({"rules": [{"rule": "error_rate"}]})
    assert (spec.warm_up_s, spec.baseline.history_s, spec.sequential) == (5, 60, False)
    assert spec == GateSpec(rules=(ErrorRateRule(),))
    added = {"false_alarm", "beta", "silence_s", "onset_s", "name", "dry_run", "on_fail", "least_age_s"}
    written = spec.model_dump(mode="json")
    assert not added & {*written, *written["rules"][0], *written["baseline"]}


def test_a_short_gate_keeps_the_short_warm_up() -> None:
    assert GateSpec.model_validate({"timeout_s": 66}).warm_up_s == 5


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([{"rule": "composite", "of": ["a", "zzz"]}, *PARTS], "found 'zzz'"),
        ([*PARTS, PARTS[0]], "twice"),
        ([{"rule": "restarts", "dry_run": True}], "dry runs only"),
        ([{"rule": "trend", "value": "a", "limit": 1, "on_fail": "fail"}], "pause"),
        ([{"rule": "threshold", "value": "a", "max_ratio": 2, "on_fail": "fail"}], "pause beside max_ratio"),
        ([{"rule": "threshold", "value": "a"}], "could never fail"),
        ([{"rule": "equals", "metric": "a", "expected": "x"}], "label"),
        ([{"rule": "sequential_errors", "critical_increase": 1.1}], "critical_increase"),
        ([{"rule": "composite", "of": ["a", "b"], "broken_by": 3}, *PARTS], "broken_by"),
    ],
)
def test_what_is_refused_when_it_is_read(rules: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GateSpec.model_validate({"rules": rules})


def test_metrics_of_every_rule_are_shipped() -> None:
    spec = GateSpec.model_validate(
        {
            "rules": [
                {"rule": "sequential_errors", "total": "orders_total", "bad_total": "failed_total"},
                {"rule": "sequential_latency", "histogram": "seconds"},
                {"rule": "threshold", "value": "a / b", "above": 1},
                {"rule": "equals", "metric": "c", "expected": 1},
                {"rule": "trend", "value": "rate(d)", "limit": 1},
            ]
        }
    )
    assert spec.metric_names() == {"orders_total", "failed_total", "seconds", "a", "b", "c", "d"}
    assert GateSpec(rules=(RestartsRule(),)).metric_names() == frozenset()


@pytest.mark.parametrize(("ticks", "expected"), [(2, FAIL), (4, None)])
def test_how_many_unanswered_scrapes_are_a_dead_instance_can_be_said(ticks: int, expected: Any) -> None:
    spec = GateSpec(rules=(RestartsRule(),), missing_ticks=ticks)
    scene = Scene(spec).on([sample("n1", 1 + 5 * n, 1 + n, up=n < 3) for n in range(5)])
    assert scene.judged(22).verdict is expected
