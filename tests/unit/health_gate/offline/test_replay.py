"""A trace is judged by the judge of the service; what it lacks never passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from bumpless.common.errors import Refused
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.verdict import Reason, Verdict
from bumpless.health_gate.offline.curve import plot, svg
from bumpless.health_gate.offline.replay import Replayed, fit, replay, samples
from bumpless.health_gate.offline.trace import Counting, read_trace
from support import traces

Change = Callable[[dict[str, Any]], None]


def judged(
    change: Change | None = None, spec: GateSpec | None = None, switch: float | None = None, **more: Any
) -> Replayed:
    found = []
    for row in traces.rows(**more):
        if change is not None:
            change(row)
        found.append(json.dumps(row))
    return replay(read_trace(found, "t"), spec, switch)


def test_a_good_version_passes_and_a_bad_one_fails() -> None:
    good = judged()
    assert (good.verdict, good.reason) == (Verdict.PASS, Reason.PASSED)
    assert 90 <= good.decided_at_s <= 110
    bad = judged(errors=10.0)
    assert (bad.verdict, bad.reason) == (Verdict.FAIL, Reason.REGRESSION)
    assert bad.decided_at_s < 60
    assert bad.e_value is not None
    assert bad.e_value >= 100
    assert 3000 < bad.requests_seen < 4500


def test_the_curve_ends_where_the_gate_decided() -> None:
    found = judged(latency=2.0)
    assert found.verdict is Verdict.FAIL
    assert found.points[-1] == (45.0, found.e_value)
    assert found.points[0][0] == 5.0
    drawing = found.drawing("a <title>")
    assert drawing is not None
    assert "*" in plot(drawing)
    root = ElementTree.fromstring(svg(drawing))
    assert root.find("{http://www.w3.org/2000/svg}title").text == "a <title>"  # type: ignore[union-attr]


def test_rows_of_an_interval_give_the_same_verdict_as_totals() -> None:
    totals, intervals = judged(errors=10.0), judged(errors=10.0, totals=False)
    assert (totals.verdict, totals.decided_at_s) == (intervals.verdict, intervals.decided_at_s)
    assert intervals.requests_seen == pytest.approx(totals.requests_seen, abs=500)


def test_a_switch_may_be_anywhere() -> None:
    def later(row: dict[str, Any]) -> None:
        row["t"] += 1_000_000

    assert judged(later, switch=1_000_000, errors=10.0).verdict is Verdict.FAIL
    with pytest.raises(Refused, match="canary after the switch at 2e"):
        judged(later, switch=2_000_000)


def test_a_canary_that_begins_later_was_switched_then() -> None:
    def from_zero(row: dict[str, Any]) -> None:
        row["t"] += 300

    lines = [json.dumps({**row, "t": row["t"] + 300}) for row in traces.rows(errors=10.0)]
    kept = [line for line in lines if '"control"' in line or json.loads(line)["t"] > 300]
    found = replay(read_trace(kept, "t"))
    assert found.verdict is Verdict.FAIL
    assert found.decided_at_s < 70
    assert found.notes == ("its canary begins later than its peers, so the switch is taken to be at 300 s",)
    with pytest.raises(Refused, match="canary after the switch at 1000 s"):
        judged(from_zero, switch=1000)


def test_missing_numbers_never_pass() -> None:
    def nan(row: dict[str, Any]) -> None:
        if row["group"] == "canary" and row["t"] > 0:
            row["errors"] = float("nan")

    found = judged(nan)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason is Reason.NO_DATA


def test_without_history_only_the_peers_are_left_and_the_note_says_so() -> None:
    found = judged(history_s=-5, errors=10.0)
    assert found.verdict is Verdict.FAIL
    assert "it has no rows before the switch, so nothing is calibrated" in found.notes


def test_changed_bucket_boundaries_are_no_crash_and_no_pass() -> None:
    def other(row: dict[str, Any]) -> None:
        if row["group"] == "canary" and row["t"] > 0:
            row["latency_buckets"] = {"0.03": row["requests"] // 2, "+Inf": row["requests"]}

    assert judged(other).verdict is not Verdict.PASS


def test_one_node_alone_and_silence_end_without_a_pass() -> None:
    def silent(row: dict[str, Any]) -> None:
        row["up"] = row["t"] <= 0 or row["group"] == "control"

    found = judged(silent)
    assert (found.verdict, found.reason) == (Verdict.FAIL, Reason.DOWN)
    assert judged(nodes=("canary",), history_s=0, after_s=200).verdict is not Verdict.PASS


def test_restarts_before_the_switch_are_not_the_new_versions() -> None:
    def seven(row: dict[str, Any]) -> None:
        row["restarts"] = 7 + (2 if row["group"] == "canary" and row["t"] > 20 and restart else 0)

    restart = False
    assert judged(seven).verdict is Verdict.PASS
    restart = True
    assert (judged(seven).verdict, judged(seven).reason) == (Verdict.FAIL, Reason.CRASH_LOOP)


def test_counters_of_a_proxy_go_on_over_the_switch() -> None:
    found = list(samples(read_trace(traces.lines(totals=False), "t", Counting.INTERVAL), 0.0))
    new = [sample for sample in found if sample.instance == "node-0/new"]
    old = [sample for sample in found if sample.instance == "node-0/old"]
    assert new[0].samples == old[-1].samples
    assert new[0].at == old[-1].at
    assert new[0].sequence > 1


def test_a_trace_that_ends_early_says_so() -> None:
    found = judged(after_s=40)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.detail.startswith("the trace ends before the gate could decide")


def test_rules_over_other_metrics_are_left_out_and_named() -> None:
    spec = GateSpec.model_validate(
        {"rules": [{"rule": "error_rate", "total": "my_total", "bad": 'code="5"'}, {"rule": "version"},
                   {"rule": "gauge", "metric": "queue_length", "max_value": 3},
                   {"rule": "latency", "histogram": "my_seconds"}, {"rule": "error_rate", "total": "orders_total"}]}
    )  # fmt: skip
    fitted, notes = fit(spec)
    assert [rule.rule for rule in fitted.rules] == ["error_rate", "latency"]
    assert fitted.rules[0].total == "http_requests_total"  # type: ignore[union-attr]
    assert notes == ["not judged, because a trace has nothing on it: version, gauge, error_rate"]
    with pytest.raises(Refused, match="only version"):
        fit(GateSpec.model_validate({"rules": [{"rule": "version"}]}))
