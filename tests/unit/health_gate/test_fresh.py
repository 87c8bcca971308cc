"""What vanishes in mid-window keeps a gate from passing, whatever was seen of it before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.verdict import Reason, Verdict
from bumpless.health_gate.judge import Judgement, judge
from bumpless.health_gate.trial import Trials
from bumpless.health_gate.window import SampleWindow
from unit.health_gate.scenes import NEW, OLD, Load, Scene, at, reports, sample

UNTIL = 250.0
USUAL = Load(requests=100, bad=1, slow=5, gauge=3)
BUCKETS, REQUESTS, QUEUE = "http_request_duration_seconds_bucket", "http_requests_total", "queue_length"

ERRORS: dict[str, Any] = {"rule": "sequential_errors"}
SLOWNESS: dict[str, Any] = {"rule": "sequential_latency"}
RESTARTS: dict[str, Any] = {"rule": "restarts"}


def scene(rules: list[dict[str, Any]], load: Load = USUAL, **spec: Any) -> Scene:
    """Two canary nodes that go on as before, and two peers."""
    found = Scene(
        GateSpec.model_validate({"rules": rules, "timeout_s": 150, "warm_up_s": 30, **spec}),
        canary=("c0", "c1"),
        control=("p0", "p1"),
    )
    for node in found.canary:
        found = found.on(reports(node, -400, -5, load, root=OLD), reports(node, -2, UNTIL, load))
    for node in found.control:
        found = found.on(reports(node, -398, UNTIL, load, root=OLD))
    return found


def without(metric: str, start: float, node: str = "c1") -> Callable[[MetricsSampled], MetricsSampled]:
    """The scrape as `node` would have told it had it stopped to export `metric` at `start`."""

    def told(found: MetricsSampled) -> MetricsSampled:
        if found.node != node or found.at < at(start):
            return found
        kept = {series: value for series, value in found.samples.items() if not series.startswith(metric)}
        return found.model_copy(update={"samples": kept})

    return told


def ended(found: Scene, change: Callable[[MetricsSampled], MetricsSampled] = lambda told: told) -> Judgement:
    """The first verdict."""
    window, memory = SampleWindow(), Trials()
    for told in found.samples:
        window.add(change(told))
    for now in range(5, int(UNTIL), 5):
        judgement = judge(found.gate, window, at(now), memory)
        if judgement.verdict is not None:
            assert judge(found.gate, window, at(now)) == judgement
            return judgement
    raise AssertionError("expected a verdict, found none")


@pytest.mark.parametrize(
    ("rule", "metric"),
    [
        pytest.param(SLOWNESS, BUCKETS, id="sequential latency"),
        pytest.param(SLOWNESS, BUCKETS + '{le="+Inf"}', id="sequential latency, only the bucket of all"),
        pytest.param(ERRORS, REQUESTS, id="sequential errors"),
        pytest.param({"rule": "error_rate"}, REQUESTS, id="error rate"),
        pytest.param({"rule": "latency"}, BUCKETS, id="latency"),
        pytest.param({"rule": "classic"}, BUCKETS, id="classic, latency"),
        pytest.param({"rule": "classic"}, REQUESTS, id="classic, errors"),
        pytest.param({"rule": "gauge", "metric": QUEUE, "max_value": 10}, QUEUE, id="gauge"),
        pytest.param({"rule": "threshold", "value": QUEUE, "above": 10}, QUEUE, id="threshold"),
        pytest.param({"rule": "trend", "value": QUEUE, "limit": 10}, QUEUE, id="trend"),
        pytest.param(
            {"rule": "trend", "value": f"rate({REQUESTS})", "limit": 99}, REQUESTS, id="trend, rate"
        ),
        pytest.param({"rule": "equals", "metric": QUEUE, "expected": 3}, QUEUE, id="equals"),
    ],
)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside errors"])
def test_a_metric_that_vanishes_is_no_pass(rule: dict[str, Any], metric: str, alone: bool) -> None:
    rules = (
        [rule, RESTARTS] if alone else [rule, {**ERRORS, "name": "other", "total": "orders_total"}, RESTARTS]
    )

    def more(found: MetricsSampled) -> MetricsSampled:
        orders = sum(value for series, value in found.samples.items() if series.startswith(REQUESTS))
        return found.model_copy(update={"samples": {**found.samples, "orders_total": orders}})

    found = scene(rules)
    found = replace(found, samples=tuple(more(told) for told in found.samples))
    assert ended(found).verdict is Verdict.PASS

    judgement = ended(found, without(metric, 60))
    assert (judgement.verdict, judgement.reason) == (Verdict.INCONCLUSIVE, Reason.NO_DATA), judgement.detail
    assert rule["rule"] in judgement.detail
    assert metric.partition("{")[0] in judgement.detail
    assert "c1" in judgement.detail
    assert "c0" not in judgement.detail


def test_counters_that_do_not_grow_are_there() -> None:
    found = scene([ERRORS, SLOWNESS, RESTARTS])
    last: dict[str, dict[str, float]] = {}

    def stands(told: MetricsSampled) -> MetricsSampled:
        if told.node != "c1" or told.at < at(80):
            last[told.node] = dict(told.samples)
            return told
        return told.model_copy(update={"samples": last["c1"]})

    assert ended(found, stands).verdict is Verdict.PASS


def test_a_metric_that_comes_back_is_there() -> None:
    found = scene([ERRORS, SLOWNESS, RESTARTS])
    gone = without(BUCKETS, 60)
    judgement = ended(found, lambda told: gone(told) if told.at < at(110) else told)
    assert judgement.verdict is Verdict.PASS


def test_a_part_of_a_composite_is_no_pass_either() -> None:
    rules = [
        {"rule": "latency", "name": "slow"},
        {"rule": "error_rate", "name": "bad"},
        {"rule": "composite", "name": "both", "of": ["slow", "bad"], "broken_by": "any"},
    ]
    found = scene(rules)
    assert ended(found).verdict is Verdict.PASS
    assert ended(found, without(BUCKETS, 60)).reason is Reason.NO_DATA


def orders(found: Scene, change: Callable[[str, float, dict[str, float]], dict[str, float]]) -> Scene:
    """The scene with counters of orders; `change` says what a node tells of them at a time."""
    told = []
    for one in found.samples:
        total = sum(value for series, value in one.samples.items() if series.startswith(REQUESTS))
        counted = {"orders_total": total, "failed_orders_total": round(total / 100)}
        seconds = (one.at - at(0)).total_seconds()
        told.append(one.model_copy(update={"samples": change(one.node, seconds, counted)}))
    return replace(found, samples=tuple(told))


FAILED_ORDERS: dict[str, Any] = {**ERRORS, "total": "orders_total", "bad_total": "failed_orders_total"}


def test_a_counter_of_errors_that_was_there_must_stay() -> None:
    def lost(node: str, seconds: float, counted: dict[str, float]) -> dict[str, float]:
        return counted if node != "c1" or seconds < 60 else {"orders_total": counted["orders_total"]}

    judgement = ended(orders(scene([FAILED_ORDERS, RESTARTS]), lost))
    assert judgement.reason is Reason.NO_DATA
    assert "failed_orders_total" in judgement.detail


def test_a_counter_of_errors_may_be_missing_where_none_was_or_all_began_anew() -> None:
    def never(node: str, seconds: float, counted: dict[str, float]) -> dict[str, float]:
        return {"orders_total": counted["orders_total"]} if node[0] == "c" and seconds >= -3 else counted

    def anew(node: str, seconds: float, counted: dict[str, float]) -> dict[str, float]:
        if node != "c1" or seconds < 60:
            return counted
        return {"orders_total": counted["orders_total"] - 1000}

    quiet = Load(requests=100)
    assert ended(orders(scene([FAILED_ORDERS, RESTARTS], quiet), never)).verdict is Verdict.PASS
    assert ended(orders(scene([FAILED_ORDERS, RESTARTS], quiet), anew)).verdict is Verdict.PASS


def test_a_component_without_requests_is_allowed_what_it_never_told() -> None:
    found = scene([ERRORS, RESTARTS], Load(requests=0, gauge=3), no_traffic="allowed")
    never = [told.model_copy(update={"samples": {QUEUE: 3.0}}) for told in found.samples]
    assert ended(replace(found, samples=tuple(never))).verdict is Verdict.PASS
    assert ended(found).verdict is Verdict.PASS
    assert ended(found, without(REQUESTS, 60)).reason is Reason.NO_DATA


def test_a_speed_is_not_judged_by_what_was_tried_long_ago() -> None:
    probe = {"name": "front", "http": {"url": "http://127.0.0.1:1/"}}
    spec = {
        "rules": [{"rule": "speed", "probe": "front", "least": 5}, RESTARTS],
        "probes": [probe],
        "timeout_s": 150,
        "warm_up_s": 5,
    }
    found = Scene(GateSpec.model_validate(spec), canary=("c0",), control=("p0",))

    def tried(node: str, start: float, until: float, root: str) -> list[MetricsSampled]:
        tries = {
            'bumpless_probe_success{probe="front"}': 1.0,
            'bumpless_probe_duration_seconds{probe="front"}': 0.03,
        }
        times = [start + 5 * index for index in range(int((UNTIL - start) / 5))]
        return [
            sample(node, t, index + 1, tries if t < until else {}, root=root) for index, t in enumerate(times)
        ]

    peer = tried("p0", -60, UNTIL, OLD)
    assert ended(found.on(tried("c0", -2, UNTIL, NEW), peer)).verdict is Verdict.PASS
    lost = ended(found.on(tried("c0", -2, 40, NEW), peer))
    assert lost.reason is Reason.NO_DATA
    assert "front" in lost.detail
    assert "c0" in lost.detail
