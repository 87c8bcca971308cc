"""The sequential rules on what nodes report: verdicts, their reasons, and every kind of bad data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from bumpless.common.contract.commands import OpenGate
from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.gate import Baseline, CompositeRule, GateSpec, SequentialErrors, SequentialLatency
from bumpless.common.model.verdict import CarriedEvidence, Evidence, KindEvidence, Reason, Verdict
from bumpless.health_gate.judge import Judgement, judge
from bumpless.health_gate.trial import Trials
from bumpless.health_gate.window import SampleWindow
from unit.health_gate.scenes import OLD, Load, Scene, at, reports

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
USUAL = Load(requests=100, bad=1, slow=5)
HISTORY_S = 400.0


def scene(
    canary: Load = USUAL,
    usual: Load = USUAL,
    *,
    peers: int = 2,
    nodes: int = 1,
    until: float = 250,
    history_s: float = HISTORY_S,
    **spec: Any,
) -> Scene:
    """Canary nodes switched at T0 under `canary`, peers and the past under `usual`; the default rules."""
    names = tuple(f"c{i}" for i in range(nodes)), tuple(f"p{i}" for i in range(peers))
    found = Scene(GateSpec(**spec), canary=names[0], control=names[1])
    for node in names[0]:
        found = found.on(reports(node, -history_s, -5, usual, root=OLD), reports(node, -2, until, canary))
    for node in names[1]:
        found = found.on(reports(node, -history_s + 2, until, usual, root=OLD))
    return found


def decided(found: Scene, *, until: float = 300, gate: OpenGate | None = None) -> tuple[float, Judgement]:
    """The first verdict, and when; or the last look."""
    window, memory, now = window_of(found), Trials(), 0.0
    while True:
        now += 5
        judgement = judge(gate or found.gate, window, at(now), memory)
        if judgement.verdict is not None or now >= until:
            return now, judgement


def window_of(found: Scene) -> SampleWindow:
    window = SampleWindow()
    for sample in found.samples:
        window.add(sample)
    return window


def evidence(judgement: Judgement, rule: str) -> Evidence:
    return next(found for found in judgement.evidence if found.rule == rule)


@pytest.mark.parametrize(
    ("canary", "more", "verdict", "reason", "latest"),
    [
        pytest.param(USUAL, {}, PASS, "passed", 120, id="as before"),
        pytest.param(USUAL, {"peers": 0}, PASS, "passed", 120, id="as before, without peers"),
        pytest.param(Load(100, 10, 5), {}, FAIL, "regression", 60, id="ten times the errors"),
        pytest.param(Load(100, 10, 5), {"peers": 0}, FAIL, "regression", 60, id="the same without peers"),
        pytest.param(Load(100, 3, 5), {}, FAIL, "regression", 150, id="three times the errors"),
        pytest.param(Load(100, 1, 30), {}, FAIL, "regression", 60, id="slow"),
        pytest.param(
            Load(100, 95, 5), {}, FAIL, "regression", 30, id="broken from the start, in the warm-up"
        ),
        pytest.param(Load(0), {}, INCONCLUSIVE, "low_traffic", 95, id="no requests"),
        pytest.param(
            Load(0), {"no_traffic": "allowed"}, PASS, "passed", 95, id="no requests, and that is allowed"
        ),
        pytest.param(
            USUAL, {"peers": 0, "history_s": 4}, INCONCLUSIVE, "baseline_missing", 95, id="a first install"
        ),
        pytest.param(
            Load(100, 0, 5),
            {"peers": 0, "history_s": 4, "baseline": Baseline(required=False)},
            PASS,
            "passed",
            120,
            id="a first install that may be judged by its objective alone",
        ),
        pytest.param(USUAL, {"history_s": 4}, PASS, "passed", 120, id="peers without a past"),
        pytest.param(USUAL, {"until": 60}, INCONCLUSIVE, "no_data", 125, id="everybody falls silent"),
    ],
)
def test_verdicts(canary: Load, more: dict[str, Any], verdict: Verdict, reason: str, latest: float) -> None:
    when, found = decided(scene(canary, **more))
    assert (found.verdict, found.reason) == (verdict, reason), found.detail
    assert when <= latest


def test_the_evidence_can_be_drawn_again() -> None:
    when, found = decided(scene(Load(100, 10, 5), nodes=2))
    shown = evidence(found, "sequential").sequential
    assert shown is not None
    assert shown.curve is not None
    assert (shown.alpha, shown.batches, shown.control, shown.nodes) == (0.01, 1, "peers", (2, 2))
    assert shown.curve.bound == pytest.approx(math.log(100), abs=1e-3)
    assert shown.curve.log_m[-1] >= shown.curve.bound > shown.curve.log_m[-2]
    assert shown.curve.since == at(0)
    assert len(shown.curve.log_m) * shown.curve.step_s == pytest.approx(when, abs=5)
    errors = shown.kinds[0]
    assert errors.x / errors.n == pytest.approx(0.1)
    assert errors.y / errors.m == pytest.approx(0.01)
    assert evidence(found, "sequential_errors").observed == pytest.approx(0.1)
    assert len(evidence(found, "sequential").model_dump_json()) < 4000


def test_a_long_curve_is_thinned_out_to_its_last_point() -> None:
    long = scene(until=900, interval_s=1, timeout_s=1500, min_samples=10**9, history_s=100)
    found = judge(long.gate, window_of(long), at(900))
    shown = evidence(found, "sequential").sequential
    assert shown is not None
    assert shown.curve is not None
    assert len(shown.curve.log_m) <= 240
    last = shown.curve.since.timestamp() + len(shown.curve.log_m) * shown.curve.step_s
    assert last == pytest.approx(at(900).timestamp(), abs=2)


def unreadable(found: MetricsSampled) -> MetricsSampled:
    return found.model_copy(update={"samples": dict.fromkeys(found.samples, math.nan)})


def crowded(found: MetricsSampled) -> MetricsSampled:
    more = {f'http_requests_total{{path="{i}"}}': 1.0 for i in range(20_001)}
    return found.model_copy(update={"samples": {**found.samples, **more}})


def renamed(found: MetricsSampled) -> MetricsSampled:
    return found.model_copy(
        update={"samples": {k: v for k, v in found.samples.items() if not k.startswith("http_requests")}}
    )


def without_infinity(found: MetricsSampled) -> MetricsSampled:
    return found.model_copy(update={"samples": {k: v for k, v in found.samples.items() if "+Inf" not in k}})


def other_bounds(found: MetricsSampled) -> MetricsSampled:
    samples = {
        key.replace('le="', 'le="7') if "+Inf" not in key else key: v for key, v in found.samples.items()
    }
    return found.model_copy(update={"samples": samples})


def ahead(found: MetricsSampled) -> MetricsSampled:
    return found.model_copy(update={"at": found.at.replace(year=2027)})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (unreadable, "expected http_requests_total"),
        (renamed, "expected http_requests_total"),
        (without_infinity, "expected http_request_duration_seconds_bucket"),
        (other_bounds, "no bound in common"),
        (crowded, "too many series"),
        (ahead, "clock"),
    ],
)
def test_what_cannot_be_read_never_passes_and_is_named(spoil: Any, words: str) -> None:
    whole = scene(until=130)
    samples = tuple(spoil(s) if s.node == "c0" and s.root != OLD else s for s in whole.samples)
    _, found = decided(replace(whole, samples=samples), until=125)
    assert found.verdict in (None, INCONCLUSIVE)
    assert found.reason is Reason.NO_DATA
    assert words in " ".join([found.detail, *(e.text for e in found.evidence)])


def test_one_silent_node_of_two_keeps_the_gate_from_passing() -> None:
    whole = scene(nodes=2)
    kept = tuple(s for s in whole.samples if s.node != "c1" or s.root == OLD)
    _, found = decided(replace(whole, samples=kept), until=240)
    assert (found.verdict, found.reason) == (None, Reason.NO_DATA)
    assert "c1" in found.detail


def test_a_counter_that_starts_again_is_not_negative_and_a_gap_is_nobodys() -> None:
    whole = scene()
    first = [s for s in whole.samples if s.node == "c0" and s.root != OLD and s.at < at(60)]
    others = [s for s in whole.samples if s.node != "c0" or s.root == OLD]
    again = reports("c0", 95, 250, USUAL, first=len(first) + 1)
    found = decided(Scene(whole.spec, ("c0",), whole.control).on(others, first, again), until=240)[1]
    errors = evidence(found, "sequential").sequential
    assert errors is not None
    assert all(kind.x >= 0 and kind.n >= kind.x for kind in errors.kinds)
    assert errors.kinds[0].n % 100 == 0
    assert found.verdict is PASS


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        (USUAL, (INCONCLUSIVE, Reason.BASELINE_UNSTABLE)),
        # Broken from the start is broken, whatever was before.
        (Load(100, 95, 5), (FAIL, Reason.REGRESSION)),
    ],
)
def test_nodes_that_were_worse_before_are_no_baseline(canary: Load, expected: tuple[Verdict, Reason]) -> None:
    names = ("c0",)
    found = Scene(GateSpec(), names, ("p0", "p1"))
    found = found.on(
        reports("c0", -400, -205, USUAL, root=OLD),
        reports("c0", -200, -5, Load(100, 40, 5), root=OLD, already=Load(4000, 40, 200), first=41),
        reports("c0", -2, 200, canary),
        *(reports(peer, -398, 200, USUAL, root=OLD) for peer in ("p0", "p1")),
    )
    _, judged = decided(found)
    assert (judged.verdict, judged.reason) == expected


def test_a_bad_release_in_between_is_no_past() -> None:
    bad = "sha256:" + "c" * 64
    found = Scene(GateSpec(), ("c0",), ("p0", "p1")).on(
        reports("c0", -600, -305, USUAL, root=OLD),
        reports("c0", -300, -155, Load(100, 60, 50), root=bad, instance="c0-bad"),
        reports("c0", -150, -5, USUAL, root=OLD, instance="c0-again"),
        reports("c0", -2, 200, USUAL),
        *(reports(peer, -598, 200, USUAL, root=OLD) for peer in ("p0", "p1")),
    )
    _, judged = decided(found)
    assert judged.verdict is PASS
    assert all(kind.rho < 1.1 for kind in kinds(judged))


def test_young_peers_give_way_to_old_ones() -> None:
    # p0 has been there for long; p1 came a minute before the switch, and fails much.
    found = scene(peers=1, baseline=Baseline(history_s=400, least_age_s=300))
    found = replace(found, control=("p0", "p1")).on(
        reports("p1", -60, 250, Load(100, 40, 5), root=OLD), reports("p0", -500, -400, USUAL, root=OLD)
    )
    _, judged = decided(found)
    shown = evidence(judged, "sequential").sequential
    assert shown is not None
    assert shown.nodes == (1, 1)


def test_the_memory_changes_no_answer_in_whatever_order_samples_come() -> None:
    found = scene(Load(100, 2, 6), until=90, history_s=100, warm_up_s=20)
    memory, live = Trials(), SampleWindow()
    waiting = sorted(found.samples, key=lambda s: (s.at, s.node))
    # Every seventh comes late, after ones of its own node that are later.
    late = waiting[::7]
    for now in range(5, 90, 5):
        arrived = [s for s in waiting if s.at <= at(now) and (s not in late or s.at <= at(now - 15))]
        for sample in arrived:
            live.add(sample)
        fresh = SampleWindow()
        for sample in reversed(arrived):
            fresh.add(sample)
        assert judge(found.gate, live, at(now), memory) == judge(found.gate, fresh, at(now), Trials())


def test_a_forgetful_window_does_not_change_what_was_counted() -> None:
    found = scene(until=140)
    memory, window = Trials(), window_of(found)
    before = judge(found.gate, window, at(60), memory)
    window.forget(at(-100))
    after = judge(found.gate, window, at(65), memory)
    first, second = evidence(before, "sequential").sequential, evidence(after, "sequential").sequential
    assert first is not None
    assert second is not None
    assert second.history_s == first.history_s
    assert second.kinds[0].n > first.kinds[0].n


def test_a_dry_run_is_shown_and_decides_nothing() -> None:
    rules = (SequentialLatency(), SequentialErrors(name="orders", dry_run=True))
    _, found = decided(scene(Load(100, 10, 5), rules=rules))
    assert found.verdict is PASS
    orders = evidence(found, "orders")
    assert (orders.verdict, orders.decides) == (FAIL, False)
    assert orders.sequential is not None


def test_one_that_may_only_pause_pauses() -> None:
    rules = (SequentialLatency(), SequentialErrors(on_fail="pause"))
    _, found = decided(scene(Load(100, 10, 5), rules=rules))
    assert (found.verdict, found.reason) == (INCONCLUSIVE, Reason.LIMIT_CROSSED)


def test_parts_of_a_composite_are_tested_and_do_not_decide_alone() -> None:
    rules = (
        SequentialErrors(),
        SequentialLatency(),
        CompositeRule(of=("sequential_errors", "sequential_latency")),
    )
    _, errors = decided(scene(Load(100, 10, 5), rules=rules))
    assert errors.verdict is PASS
    _, both = decided(scene(Load(100, 10, 30), rules=rules))
    assert (both.verdict, both.reason) == (FAIL, Reason.REGRESSION)


def test_a_business_metric_is_a_rule_like_any_other() -> None:
    rule = SequentialErrors(name="orders", total="orders_total", bad_total="failed_orders_total", slo=None)

    def orders(found: list[MetricsSampled], failed: int) -> list[MetricsSampled]:
        return [
            s.model_copy(
                update={
                    "samples": {"orders_total": 50.0 * s.sequence, "failed_orders_total": failed * s.sequence}
                }
            )
            for s in found
        ]

    def story(failed: int) -> Scene:
        return Scene(GateSpec(rules=(rule,)), ("c0",), ("p0",)).on(
            orders(reports("c0", -400, -5, root=OLD), 1),
            orders(reports("c0", -2, 250), failed),
            orders(reports("p0", -398, 250, root=OLD), 1),
        )

    assert decided(story(1), until=250)[1].verdict is PASS
    assert decided(story(9))[1].verdict is FAIL


def test_small_faults_add_up_over_batches_and_alone_do_not() -> None:
    slightly = scene(Load(100, 2, 5), until=100)
    gate = slightly.gate.model_copy(update={"batches": 4})
    _, alone = decided(slightly, until=100, gate=gate)
    assert alone.verdict is None
    logs = {"sequential_errors": math.log(300)}
    carried = CarriedEvidence.model_validate(
        {
            "batches": [2.0],
            "kinds": [
                {"name": kind.name, "logs": [logs.get(kind.name, 0.0)] * 5, "odds": 1.2, "tempering": 1.0}
                for kind in kinds(alone)
            ],
        }
    )
    _, found = decided(slightly, until=100, gate=gate.model_copy(update={"carried": carried}))
    assert found.verdict is FAIL
    assert found.carried is not None
    assert len(found.carried.batches) == 2


def kinds(judgement: Judgement) -> tuple[KindEvidence, ...]:
    shown = evidence(judgement, "sequential").sequential
    assert shown is not None
    return shown.kinds
