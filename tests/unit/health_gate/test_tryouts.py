"""Rules over what the nodes tried out, and probes in place of requests."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.release import ComponentFile
from bumpless.common.model.verdict import Reason, Verdict
from bumpless.health_gate.judge import Judgement
from bumpless.health_gate.speed import chance
from unit.health_gate.scenes import NEW, OLD, STEP, Scene, sample

HEALTH = {"name": "health", "http": {"url": "http://{node.address}:80/healthz"}}
ROWS = {"name": "rows", "command": {"argv": ["bin/count"], "reads": "number"}}
UP, DOWN = (
    {'bumpless_probe_success{probe="health"}': 1.0},
    {'bumpless_probe_success{probe="health",detail="status 503"}': 0.0},
)


def judged(
    rules: list[dict[str, Any]],
    outcomes: dict[float, dict[str, float]],
    *,
    now: float = 70,
    canary: tuple[str, ...] = ("n1",),
    peers: dict[float, dict[str, float]] | None = None,
    probes: list[dict[str, Any]] | None = None,
    **spec: Any,
) -> Judgement:
    """`outcomes` are shipped by n1 with the scrape at their second, `peers` by n2, which has the old version."""
    made = GateSpec.model_validate({"rules": rules, "probes": probes or [], **spec})
    scene = Scene(made, canary=canary).on(nodes("n1", now, NEW, outcomes), nodes("n2", now, OLD, peers or {}))
    return scene.judged(now)


def nodes(name: str, now: float, root: str, outcomes: dict[float, dict[str, float]]) -> list[MetricsSampled]:
    count = int(now / STEP) + 1
    return [sample(name, n * STEP, n + 1, outcomes.get(n * STEP, {}), root=root) for n in range(count)]


def every(outcome: dict[str, float], until: float = 70) -> dict[float, dict[str, float]]:
    return {n * STEP: outcome for n in range(1, int(until / STEP) + 1)}


PROBE = {"rule": "probe", "probe": "health", "failures": 3}


def test_a_probe_that_succeeds_passes() -> None:
    found = judged([PROBE], every(UP), probes=[HEALTH])
    assert found.verdict is Verdict.PASS, found.detail
    assert found.evidence[1].rule == "probe health"


def test_a_probe_that_fails_again_and_again_fails_and_says_how() -> None:
    found = judged([PROBE], {**every(UP), 40: DOWN, 45: DOWN, 50: DOWN}, probes=[HEALTH])
    assert (found.verdict, found.reason) == (Verdict.FAIL, Reason.PROBE_FAILED)
    assert found.detail == "probe health failed 3 times in a row on n1: status 503"


def test_a_single_failure_is_forgiven_once_it_is_over() -> None:
    assert judged([PROBE], {**every(UP), 40: DOWN}, probes=[HEALTH]).verdict is Verdict.PASS
    still = judged([PROBE], {**every(UP), 70: DOWN}, probes=[HEALTH])
    assert (still.verdict, still.reason) == (None, Reason.DEADLINE)


@pytest.mark.parametrize("outcomes", [{}, every(UP, until=30)], ids=["never", "not lately"])
def test_no_outcome_is_no_pass(outcomes: dict[float, dict[str, float]]) -> None:
    found = judged([PROBE], outcomes, probes=[HEALTH])
    assert (found.verdict, found.reason) == (None, Reason.NO_DATA)
    assert judged([PROBE], outcomes, now=900, probes=[HEALTH]).verdict is Verdict.INCONCLUSIVE


def test_a_smoke_test_has_to_succeed_once() -> None:
    once = {**PROBE, "once": True}
    assert judged([once], {5: DOWN, 10: UP}, probes=[HEALTH]).verdict is Verdict.PASS
    assert judged([once], {5: DOWN, 10: DOWN, 15: DOWN}, probes=[HEALTH]).reason is Reason.PROBE_FAILED


def test_a_probe_of_another_node_is_not_judged() -> None:
    found = judged([PROBE], {}, probes=[{**HEALTH, "node": "n9"}])
    assert found.verdict is Verdict.PASS
    assert "which is not in this batch" in found.evidence[1].text


def rows(count: float) -> dict[str, float]:
    return {'bumpless_probe_value{probe="rows"}': count, 'bumpless_probe_success{probe="rows"}': 1.0}


def test_a_number_within_its_limits_passes_and_one_outside_fails() -> None:
    value = {"rule": "value", "probe": "rows", "min": 1, "max": 100}
    assert judged([value], every(rows(50)), probes=[ROWS]).verdict is Verdict.PASS
    found = judged([value], every(rows(0)), probes=[ROWS])
    assert (found.verdict, found.reason) == (Verdict.FAIL, Reason.REGRESSION)
    assert found.detail == "rows is 0 on n1, expected at least 1 and at most 100"
    assert judged([value], {}, probes=[ROWS]).reason is Reason.NO_DATA


def links(**up: float) -> dict[str, float]:
    detail = {0.0: ',detail="refused"', 1.0: ""}
    return {
        f'bumpless_dependency_up{{dependency="db",address="{name}:1"{detail[value]}}}': value
        for name, value in up.items()
    }


LINKS = {"rule": "dependencies", "failures": 2}


def test_one_address_of_a_dependency_is_enough_unless_all_are_needed() -> None:
    assert judged([LINKS], every(links(a=1.0, b=0.0))).verdict is Verdict.PASS
    found = judged([{**LINKS, "need": "all"}], every(links(a=1.0, b=0.0)))
    assert (found.verdict, found.reason) == (Verdict.FAIL, Reason.DEPENDENCY_DOWN)
    assert found.detail == "the link from api on n1 to db is broken: b:1 (refused)"


def test_a_link_that_is_broken_for_everybody_is_not_the_releases_fault() -> None:
    broken = every(links(a=0.0))
    assert judged([LINKS], broken).verdict is Verdict.FAIL
    found = judged([LINKS], broken, peers=broken)
    assert (found.verdict, found.reason) == (None, Reason.NO_DATA)
    assert "also for n2, with the earlier version" in found.detail


def test_without_links_nothing_is_known() -> None:
    assert judged([LINKS], {}).reason is Reason.NO_DATA


COUNTED = {"rule": "error_rate"}
INSTEAD = {"no_traffic": {"after_s": 30, "probe": "health"}, "probes": [HEALTH]}


def test_a_probe_stands_in_for_requests_where_there_are_none() -> None:
    found = judged([COUNTED], every(UP), **INSTEAD)
    assert found.verdict is Verdict.PASS, found.detail
    assert "no requests" in found.evidence[1].text
    early = judged([COUNTED], every(UP), now=34, **INSTEAD)
    assert (early.verdict, early.reason) == (None, Reason.LOW_TRAFFIC)
    failing = judged([COUNTED], every(DOWN), **INSTEAD)
    assert (failing.verdict, failing.reason) == (None, Reason.LOW_TRAFFIC)


def test_a_probe_stands_in_for_requests_of_a_sequential_rule() -> None:
    rule = {"rule": "sequential_errors"}
    spec = {**INSTEAD, "warm_up_s": 5, "baseline": {"history_s": 60}}
    found = judged([rule], every(UP, 90), now=90, **spec)
    assert found.verdict is Verdict.PASS, found.detail
    failing = judged([rule], every(DOWN, 90), now=90, **spec)
    assert (failing.verdict, failing.reason) == (None, Reason.LOW_TRAFFIC)


def test_a_probe_never_makes_up_for_too_few_requests() -> None:
    few = {at: {**UP, 'http_requests_total{status="200"}': at / 5} for at in every(UP)}
    found = judged([{**COUNTED, "max_rate": 0.5, "max_ratio": None}], few, **INSTEAD)
    assert (found.verdict, found.reason) == (None, Reason.LOW_TRAFFIC)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"rules": [PROBE]}, "expected one of the gate's probes"),
        ({"probes": [HEALTH, HEALTH]}, "found health twice"),
        ({"probes": [{"name": "x"}]}, "expected one of http, tcp, command"),
        ({"probes": [{"name": "x", "links": {"addresses": []}}]}, "expected no links"),
        ({"probes": [HEALTH], "rules": [{"rule": "value", "probe": "health", "min": 1}]}, "reads: number"),
        ({"probes": [ROWS], "rules": [{"rule": "value", "probe": "rows"}]}, "expected min or max"),
        ({"probes": [ROWS], "rules": [{"rule": "speed", "probe": "rows"}]}, "not tried"),
        ({"probes": [{"name": "x", "http": {"url": "healthz"}}]}, "expected a URL"),
        ({"probes": [{"name": "x", "tcp": {"address": "here"}}]}, "expected HOST:PORT"),
        ({"no_traffic": {"probe": "health"}}, "expected one of the gate's probes"),
    ],
)
def test_what_cannot_work_is_refused(spec: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        GateSpec.model_validate(spec)


def test_the_rule_about_dependencies_needs_some() -> None:
    gate = GateSpec.model_validate({"rules": [LINKS, COUNTED]})
    with pytest.raises(ValidationError, match="expected depends_on"):
        ComponentFile.model_validate({"name": "api", "gate": gate})
    assert [rule.rule for rule in gate.for_depending(False).rules] == ["error_rate"]
    assert gate.for_depending(True) is gate


SPEED = {"rule": "speed", "probe": "health"}


def took(seconds: float) -> dict[str, float]:
    return {**UP, 'bumpless_probe_duration_seconds{probe="health"}': seconds}


def varied(seconds: float) -> dict[float, dict[str, float]]:
    """Durations around `seconds`, as a small load shows them."""
    return {at: took(seconds * (1 + 0.1 * math.sin(at))) for at in every(UP)}


def test_the_new_version_may_not_be_slower_than_the_old() -> None:
    alike = judged([SPEED], varied(0.020), peers=varied(0.020), probes=[HEALTH])
    assert alike.verdict is Verdict.PASS, alike.detail
    found = judged([SPEED], varied(0.040), peers=varied(0.020), probes=[HEALTH])
    assert (found.verdict, found.reason) == (Verdict.FAIL, Reason.REGRESSION)
    assert found.detail == "health takes 39.2 ms, 19.6 ms before, limit 29.4 ms"


def test_few_or_no_durations_are_no_pass() -> None:
    few = {at: took(0.02) for at in (30.0, 35.0)}
    assert judged([SPEED], few, peers=varied(0.02), probes=[HEALTH]).reason is Reason.LOW_TRAFFIC
    assert judged([SPEED], {}, peers=varied(0.02), probes=[HEALTH]).reason is Reason.NO_DATA
    assert judged([SPEED], varied(0.02), probes=[HEALTH]).reason is Reason.BASELINE_MISSING


def test_what_may_be_chance_is_no_fail() -> None:
    same = [0.01 * (1 + i % 3) for i in range(12)]
    assert chance(same, same) > 0.3
    assert chance([1.0] * 5, [1.0] * 5) == 1.0
    assert chance([one + 1 for one in same], same) < 0.001
