from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bumpless.common.model.gate import (
    Baseline,
    ClassicRule,
    ErrorRateRule,
    GateSpec,
    GaugeRule,
    LatencyRule,
    RestartsRule,
    VersionRule,
)
from bumpless.common.model.verdict import Reason, Verdict
from unit.health_gate.scenes import OLD, RATIO, Load, Scene, reports, sample, scene

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
QUEUE = (GaugeRule(metric="queue_length", max_ratio=2, max_value=50),)
ERRORS, LATENCY, CLASSIC = (ErrorRateRule(),), (LatencyRule(),), (ClassicRule(),)
OPTIONAL = Baseline(required=False)


def outcome(found: Scene, seconds: float) -> tuple[Verdict | None, Reason]:
    judgement = found.judged(seconds)
    return judgement.verdict, judgement.reason


@pytest.mark.parametrize(
    ("canary", "control", "spec", "expected"),
    [
        pytest.param(Load(), Load(), {}, (PASS, "passed"), id="as good as before"),
        pytest.param(Load(bad=1), Load(bad=1), {}, (PASS, "passed"), id="as bad as before"),
        pytest.param(Load(bad=5), Load(bad=1), {}, (FAIL, "regression"), id="five times the errors"),
        pytest.param(Load(bad=5), Load(), {}, (FAIL, "regression"), id="errors against none"),
        pytest.param(
            Load(requests=500, bad=4), Load(requests=500), {}, (PASS, "passed"), id="errors below the floor"
        ),
        pytest.param(
            Load(bad=4),
            Load(bad=3),
            {"rules": (ErrorRateRule(max_rate=0.05),)},
            (FAIL, "regression"),
            id="max_rate",
        ),
        pytest.param(
            Load(bad=4),
            Load(),
            {"rules": (ErrorRateRule(max_ratio=None, max_rate=0.1),)},
            (PASS, "passed"),
            id="max_rate alone needs no baseline",
        ),
        pytest.param(Load(slow=5), Load(), {}, (FAIL, "regression"), id="slower"),
        pytest.param(Load(slow=5), Load(slow=5), {}, (PASS, "passed"), id="as slow as before"),
        pytest.param(
            Load(slow=5), Load(slow=5), {"rules": (LatencyRule(max_s=0.5),)}, (FAIL, "regression"), id="max_s"
        ),
        pytest.param(
            Load(endless=5), Load(), {"rules": LATENCY}, (FAIL, "regression"), id="slower than any bucket"
        ),
        pytest.param(
            Load(endless=5),
            Load(slow=9),
            {"rules": (LatencyRule(max_ratio=3),)},
            (None, "no_data"),
            id="slower than any bucket, and nobody can say by how much",
        ),
        pytest.param(
            Load(endless=5),
            Load(endless=5),
            {"rules": LATENCY},
            (None, "no_data"),
            id="both beyond the buckets",
        ),
        pytest.param(
            Load(slow=5),
            Load(endless=5),
            {"rules": LATENCY},
            (PASS, "passed"),
            id="baseline beyond the buckets",
        ),
        pytest.param(Load(bad=5), Load(), {"rules": CLASSIC}, (PASS, "passed"), id="classic: errors alone"),
        pytest.param(Load(slow=5), Load(), {"rules": CLASSIC}, (PASS, "passed"), id="classic: latency alone"),
        pytest.param(
            Load(bad=5, slow=5), Load(), {"rules": CLASSIC}, (FAIL, "regression"), id="classic: both"
        ),
        pytest.param(
            Load(bad=5, slow=5),
            Load(bad=4, slow=5),
            {"rules": CLASSIC},
            (PASS, "passed"),
            id="classic: neither",
        ),
        pytest.param(Load(requests=0), Load(), {"rules": ERRORS}, (None, "low_traffic"), id="no traffic"),
        pytest.param(
            Load(requests=0),
            Load(),
            {"no_traffic": "allowed"},
            (PASS, "passed"),
            id="no traffic, and allowed",
        ),
        pytest.param(Load(requests=5), Load(), {}, (None, "low_traffic"), id="little traffic"),
        pytest.param(Load(), Load(requests=1), {}, (None, "low_traffic"), id="little traffic on the peers"),
        pytest.param(
            Load(requests=5, bad=5), Load(), {"rules": ERRORS}, (FAIL, "regression"), id="little, and all bad"
        ),
        pytest.param(
            Load(requests=1, bad=1), Load(), {}, (None, "low_traffic"), id="so little that it may be chance"
        ),
        pytest.param(
            Load(gauge=3), Load(gauge=2), {"rules": QUEUE}, (PASS, "passed"), id="gauge within its ratio"
        ),
        pytest.param(
            Load(gauge=9), Load(gauge=2), {"rules": QUEUE}, (FAIL, "regression"), id="gauge above its ratio"
        ),
        pytest.param(
            Load(gauge=1), Load(gauge=0), {"rules": QUEUE}, (PASS, "passed"), id="gauge below its floor"
        ),
        pytest.param(
            Load(gauge=60),
            Load(gauge=40),
            {"rules": QUEUE},
            (FAIL, "regression"),
            id="gauge above its maximum",
        ),
        pytest.param(Load(), Load(gauge=2), {"rules": QUEUE}, (None, "no_data"), id="gauge missing"),
        pytest.param(
            Load(gauge=3),
            Load(),
            {"rules": (GaugeRule(metric="queue_length", max_ratio=2),)},
            (INCONCLUSIVE, "baseline_missing"),
            id="gauge without a baseline",
        ),
    ],
)
def test_rules_at_the_end_of_the_window(
    canary: Load, control: Load, spec: dict[str, Any], expected: tuple[Verdict | None, str]
) -> None:
    assert outcome(scene(canary, control, **spec), 66) == expected


@pytest.mark.parametrize(
    ("canary", "control", "seconds", "expected"),
    [
        pytest.param(Load(bad=25), Load(), 9, (None, "no_data"), id="warm-up does not count"),
        pytest.param(Load(bad=25), Load(), 14, (FAIL, "regression"), id="at the first increase after it"),
        pytest.param(
            Load(requests=15, bad=15), Load(), 14, (None, "low_traffic"), id="with 15 requests: wait"
        ),
        pytest.param(Load(requests=15, bad=15), Load(), 19, (FAIL, "regression"), id="with 30: fail"),
        pytest.param(Load(requests=25, bad=1), Load(), 24, (None, "low_traffic"), id="3 bad of 75: chance"),
        pytest.param(
            Load(requests=25, bad=1), Load(), 34, (FAIL, "regression"), id="5 bad of 125: not chance"
        ),
        pytest.param(Load(), Load(), 64.9, (None, "deadline"), id="no pass before the window is over"),
        pytest.param(Load(), Load(), 65, (PASS, "passed"), id="pass when it is"),
    ],
)
def test_when_a_verdict_comes(
    canary: Load, control: Load, seconds: float, expected: tuple[Verdict | None, str]
) -> None:
    assert outcome(scene(canary, control), seconds) == expected


def gated(*canary: Load, until: float = 70, control: bool = True, history: bool = True, **spec: Any) -> Scene:
    """Several canary nodes, with or without a peer and a past."""
    nodes = tuple(f"c{n}" for n in range(len(canary)))
    found = Scene(GateSpec(**{"rules": RATIO, **spec}), canary=nodes, control=("peer",) if control else ())
    for node, load in zip(nodes, canary, strict=True):
        found = found.on(reports(node, -2, until, load))
        if history:
            found = found.on(reports(node, -60, -5, Load(), root=OLD))
    return found.on(reports("peer", -60, until, root=OLD)) if control else found


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(gated(Load(), control=False), (PASS, "passed"), id="own past: good"),
        pytest.param(gated(Load(bad=5), control=False), (FAIL, "regression"), id="own past: bad"),
        pytest.param(
            gated(Load(bad=5), baseline=Baseline(mode="self_history")),
            (FAIL, "regression"),
            id="only own past",
        ),
        pytest.param(
            gated(Load(), history=False, control=False),
            (INCONCLUSIVE, "baseline_missing"),
            id="first install",
        ),
        pytest.param(
            gated(Load(), history=False, baseline=Baseline(mode="self_history")),
            (INCONCLUSIVE, "baseline_missing"),
            id="peers do not count as own past",
        ),
        pytest.param(
            gated(Load(), history=False, control=False, baseline=OPTIONAL),
            (PASS, "passed"),
            id="not required",
        ),
        pytest.param(
            gated(Load(bad=5), history=False, control=False, baseline=OPTIONAL),
            (FAIL, "regression"),
            id="not required: the floor is the limit",
        ),
        pytest.param(
            gated(
                Load(slow=5),
                history=False,
                control=False,
                rules=(ErrorRateRule(max_rate=0.1), LatencyRule(max_s=0.5)),
            ),
            (FAIL, "regression"),
            id="absolute limits stand alone",
        ),
        pytest.param(
            gated(
                Load(),
                history=False,
                control=False,
                rules=(ErrorRateRule(max_rate=0.1), LatencyRule(max_s=0.5)),
            ),
            (PASS, "passed"),
            id="and let pass",
        ),
        pytest.param(
            replace(gated(Load(), control=False), control=("peer",)),
            (PASS, "passed"),
            id="silent peers: own past",
        ),
        pytest.param(
            replace(gated(Load(), control=False, history=False), control=("peer",)),
            (INCONCLUSIVE, "baseline_missing"),
            id="silent peers, no past",
        ),
        pytest.param(
            replace(gated(Load(), history=False, control=False), control=("peer",)).on(
                reports("peer", -60, 70)
            ),
            (INCONCLUSIVE, "baseline_missing"),
            id="a peer that was upgraded is no peer",
        ),
        pytest.param(gated(Load(), Load()), (PASS, "passed"), id="two nodes"),
        pytest.param(gated(Load(), Load(bad=12)), (FAIL, "regression"), id="one of two is bad"),
        pytest.param(gated(Load(), Load(), until=35), (None, "no_data"), id="everybody fell silent"),
        pytest.param(
            replace(gated(Load()), canary=("c0", "c9")), (None, "no_data"), id="one node was never heard of"
        ),
    ],
)
def test_baselines_and_nodes(found: Scene, expected: tuple[Verdict | None, str]) -> None:
    assert outcome(found, 66) == expected


def test_silent_peers_give_way_to_the_past_only_when_the_window_is_over() -> None:
    found = replace(gated(Load(bad=25), control=False), control=("peer",))
    assert outcome(found, 60) == (None, Reason.LOW_TRAFFIC)
    assert outcome(found, 65) == (FAIL, Reason.REGRESSION)


@pytest.mark.parametrize(
    ("silence", "expected"), [((30, 45), (PASS, "passed")), ((30, 55), (None, "no_data"))]
)
def test_a_short_silence_is_forgiven_a_long_one_is_not(
    silence: tuple[float, float], expected: tuple[Verdict | None, str]
) -> None:
    found = scene()
    kept = tuple(
        s
        for s in found.samples
        if s.node != "n1" or not silence[0] < (s.at - found.gate.at).seconds < silence[1]
    )
    assert outcome(replace(found, samples=kept), 66) == expected
    assert outcome(scene(until=200), 120) == (PASS, "passed")


@pytest.mark.parametrize(
    ("downs", "seconds", "expected"),
    [(3, 66, (PASS, "passed")), (4, 20, (FAIL, "down")), (4, 15, (None, "no_data"))],
)
def test_an_instance_that_does_not_answer(
    downs: int, seconds: float, expected: tuple[Verdict | None, str]
) -> None:
    found = scene()
    dead = {"n1-2": range(2, 2 + downs)}
    samples = tuple(
        s.model_copy(update={"up": False, "samples": {}}) if s.sequence in dead.get(s.instance, ()) else s
        for s in found.samples
    )
    assert outcome(replace(found, samples=samples), seconds) == expected


def test_a_drained_predecessor_that_stops_answering_is_no_fault() -> None:
    found = scene().on([sample("n1", n * 5, 20 + n, root=OLD, up=False) for n in range(9)])
    assert outcome(found, 66) == (PASS, "passed")


@pytest.mark.parametrize(
    ("restarts", "expected"), [([0] * 15, (PASS, "passed")), ([0] * 5 + [1] * 10, (PASS, "passed"))]
)
def test_a_restart_or_none(restarts: list[int], expected: tuple[Verdict | None, str]) -> None:
    assert outcome(_with_restarts(restarts), 66) == expected


def test_a_crash_loop_fails_during_the_warm_up() -> None:
    assert outcome(_with_restarts([0, 2] + [2] * 13), 4) == (FAIL, "crash_loop")


def test_restarts_before_the_switch_do_not_count() -> None:
    found = scene()
    samples = tuple(s.model_copy(update={"restarts": 7}) for s in found.samples)
    assert outcome(replace(found, samples=samples), 66) == (PASS, "passed")


def test_counters_that_keep_falling_are_a_crash_loop_that_nobody_counted() -> None:
    found = scene(rules=(RestartsRule(max_restarts=1),))
    samples = tuple(
        s.model_copy(update={"samples": {"x_total": float(s.sequence % 2)}}) if s.instance == "n1-2" else s
        for s in found.samples
    )
    assert outcome(replace(found, samples=samples), 66) == (FAIL, "crash_loop")


def _with_restarts(restarts: list[int]) -> Scene:
    found = scene()
    counts = dict(enumerate(restarts, start=1))
    samples = tuple(
        s.model_copy(update={"restarts": counts.get(s.sequence, 0)}) if s.instance == "n1-2" else s
        for s in found.samples
    )
    return replace(found, samples=samples)


@pytest.mark.parametrize(
    ("seconds", "change", "expected"),
    [
        pytest.param(9, {"version": "9"}, (None, "no_data"), id="not looked at yet"),
        pytest.param(14, {"version": "9"}, (FAIL, "version_mismatch"), id="another version"),
        pytest.param(14, {"root": "sha256:" + "c" * 64}, (FAIL, "version_mismatch"), id="another digest"),
        pytest.param(14, {"root": "sha256:" + "c" * 64, "up": False}, (None, "no_data"), id="says nothing"),
    ],
)
def test_the_wrong_version(
    seconds: float, change: dict[str, Any], expected: tuple[Verdict | None, str]
) -> None:
    found = scene(rules=(VersionRule(),))
    samples = tuple(s.model_copy(update=change) if s.instance == "n1-2" else s for s in found.samples)
    assert outcome(replace(found, samples=samples), seconds) == expected


def test_a_predecessor_that_still_drains_is_no_mismatch() -> None:
    found = scene().on(reports("n1", 0, 70, root=OLD, first=40))
    assert outcome(found, 66) == (PASS, "passed")


def test_a_gauge_fails_only_when_it_stays_above() -> None:
    found = scene(Load(gauge=3), Load(gauge=3), rules=QUEUE)
    for spike, expected in ((2, (PASS, "passed")), (3, (FAIL, "regression"))):
        samples = tuple(
            s.model_copy(update={"samples": {**s.samples, "queue_length": 99.0}})
            if s.instance == "n1-2" and 5 <= s.sequence < 5 + spike
            else s
            for s in found.samples
        )
        assert outcome(replace(found, samples=samples), 66) == expected


def test_a_silence_between_two_high_readings_is_not_held_against_a_gauge() -> None:
    found = scene(Load(gauge=3), Load(gauge=3), rules=QUEUE)
    samples = tuple(
        s.model_copy(update={"samples": {**s.samples, "queue_length": 99.0}})
        if s.instance == "n1-2" and s.sequence in (4, 10)
        else s
        for s in found.samples
        if s.instance != "n1-2" or not 4 < s.sequence < 10
    )
    assert outcome(replace(found, samples=samples), 66)[0] is None


def test_a_window_shorter_than_the_patience_still_needs_a_word() -> None:
    found = Scene(GateSpec(window_s=10, rules=(RestartsRule(),))).on([sample("n1", 2, 1)])
    assert outcome(found, 15) == (None, "no_data")
    assert outcome(found.on([sample("n1", 7, 2)]), 15) == (PASS, "passed")


def test_a_gauge_above_its_limit_at_the_end_of_the_window_is_no_pass() -> None:
    found = scene(Load(gauge=3), Load(gauge=3), rules=QUEUE)
    last = max(
        s.sequence for s in found.samples if s.instance == "n1-2" and (s.at - found.gate.at).seconds < 66
    )
    samples = tuple(
        s.model_copy(update={"samples": {**s.samples, "queue_length": 99.0}})
        if s.instance == "n1-2" and s.sequence == last
        else s
        for s in found.samples
    )
    assert outcome(replace(found, samples=samples), 66) == (None, "deadline")


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        pytest.param(Load(requests=0), "low_traffic", id="no traffic"),
        pytest.param(Load(requests=2), "low_traffic", id="little traffic"),
    ],
)
def test_at_the_deadline_there_is_an_answer(canary: Load, expected: str) -> None:
    found = scene(canary, until=100, timeout_s=100, rules=ERRORS)
    assert outcome(found, 99) == (None, expected)
    assert outcome(found, 100) == (INCONCLUSIVE, expected)


def test_no_data_at_all_is_inconclusive_at_the_deadline() -> None:
    found = Scene(GateSpec(rules=RATIO, timeout_s=100))
    assert outcome(found, 99)[0] is None
    assert outcome(found, 100) == (INCONCLUSIVE, Reason.NO_DATA)


def test_a_family_that_one_node_does_not_report_is_missing() -> None:
    found = gated(Load(), Load(), rules=ERRORS)
    samples = tuple(
        s.model_copy(update={"samples": {"other_total": 1.0}}) if s.instance == "c1-2" else s
        for s in found.samples
    )
    judgement = replace(found, samples=samples).judged(66)
    assert (judgement.verdict, judgement.reason) == (None, Reason.NO_DATA)
    assert "c1" in judgement.detail


def test_the_evidence_carries_the_numbers() -> None:
    judgement = scene(Load(bad=5), Load(bad=1), rules=ERRORS).judged(66)
    evidence = judgement.evidence[1]
    assert (evidence.rule, evidence.verdict) == ("error_rate", FAIL)
    assert evidence.observed == pytest.approx(0.1)
    assert evidence.baseline == pytest.approx(0.02)
    assert evidence.limit == pytest.approx(0.06)
    assert evidence.samples == 550
    assert judgement.detail == "error rate 10.00% (55 of 550), baseline 2.00%, limit 6.00%"
