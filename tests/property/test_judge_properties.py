"""What must hold of every judgement, whatever the nodes report."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bumpless.common.contract.events import MetricsSampled
from bumpless.common.model.gate import (
    Baseline,
    ClassicRule,
    ErrorRateRule,
    GateSpec,
    GaugeRule,
    LatencyRule,
    SequentialErrors,
    SequentialLatency,
    ThresholdRule,
    TrendRule,
)
from bumpless.common.model.verdict import Verdict
from unit.health_gate.scenes import OLD, STEP, T0, Load, Scene, at, reports

END = 75.0

loads = st.builds(
    lambda requests, bad, slow, gauge: Load(requests, min(bad, requests), min(slow, requests), 0, gauge),
    st.integers(0, 60),
    st.integers(0, 6),
    st.integers(0, 6),
    st.one_of(st.none(), st.integers(0, 8).map(float)),
)
rules = st.lists(
    st.sampled_from(
        [
            ErrorRateRule(),
            ErrorRateRule(max_rate=0.05),
            LatencyRule(),
            LatencyRule(max_s=0.3),
            ClassicRule(),
            GaugeRule(metric="queue_length", max_ratio=2.0),
            SequentialErrors(),
            SequentialLatency(),
            ThresholdRule(value="queue_length", above=6, on_fail="fail"),
            TrendRule(value="queue_length", limit=100),
        ]
    ),
    min_size=1,
    max_size=3,
).map(tuple)
specs = st.builds(
    GateSpec,
    rules=rules,
    warm_up_s=st.just(5.0),
    min_samples=st.sampled_from([0, 20, 100]),
    timeout_s=st.sampled_from([65.0, 70.0, 900.0]),
    baseline=st.builds(
        Baseline,
        history_s=st.just(60.0),
        required=st.booleans(),
        mode=st.sampled_from(["concurrent", "self_history"]),
    ),
)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Scene, Load]:
    """One or two canary nodes under one load, with or without a peer and a past; and the canary's load."""
    canary = draw(st.sampled_from([("c0",), ("c0", "c1")]))
    control = draw(st.sampled_from([(), ("peer",)]))
    load, before = draw(loads), draw(loads)
    found = Scene(draw(specs), canary=canary, control=control)
    for node in canary:
        found = found.on(reports(node, -2, END, load))
        if draw(st.booleans()):
            found = found.on(reports(node, -60, -5, before, root=OLD))
    for node in control:
        found = found.on(reports(node, -60, END, before, root=OLD))
    return found, load


moments = st.integers(0, int(END)).map(float)


def up_times(found: Scene, node: str) -> list[float]:
    return sorted(
        (s.at - T0).total_seconds() for s in found.samples if s.node == node and s.root != OLD and s.up
    )


@settings(max_examples=200, deadline=None)
@given(scenes(), moments, st.randoms(use_true_random=False), st.floats(0, 0.9))
def test_a_pass_means_that_every_node_was_heard_of_all_the_time(
    drawn: tuple[Scene, Load], seconds: float, random: object, share: float
) -> None:
    scene, _ = drawn
    kept = tuple(s for s in scene.samples if random.random() >= share)  # type: ignore[attr-defined]
    scene = replace(scene, samples=kept)
    if scene.judged(seconds).verdict is not Verdict.PASS:
        return
    start = max(scene.spec.warm_up_s, seconds - scene.spec.window_s)
    for node in scene.canary:
        seen = [t for t in up_times(scene, node) if start <= t <= seconds]
        assert seen
        assert all(
            b - a <= scene.spec.missing_ticks * scene.spec.interval_s
            for a, b in pairwise([start, *seen, seconds])
        )


def silenced(sample: MetricsSampled) -> MetricsSampled:
    return sample.model_copy(update={"up": False, "samples": {}})


def emptied(sample: MetricsSampled) -> MetricsSampled:
    return sample.model_copy(update={"samples": {}})


def not_a_number(sample: MetricsSampled) -> MetricsSampled:
    return sample.model_copy(update={"samples": dict.fromkeys(sample.samples, math.nan)})


@settings(max_examples=100, deadline=None)
@given(
    scenes(),
    st.sampled_from([None, silenced, emptied, not_a_number]),
    st.floats(-10, END - 6 * STEP),
    moments,
)
def test_a_node_that_tells_nothing_never_passes(
    drawn: tuple[Scene, Load], loss: object, since: float, seconds: float
) -> None:
    scene, _ = drawn
    samples: list[MetricsSampled] = []
    for sample in scene.samples:
        if sample.node != "c0" or sample.at < at(since if loss in (None, silenced) else -10):
            samples.append(sample)
        elif callable(loss):
            samples.append(loss(sample))
    verdict = replace(scene, samples=tuple(samples)).judged(max(seconds, since + 5 * STEP)).verdict
    assert verdict is not Verdict.PASS


@settings(max_examples=200, deadline=None)
@given(scenes(), st.integers(1, 20), moments)
def test_turning_good_answers_into_errors_never_helps(
    drawn: tuple[Scene, Load], more: int, seconds: float
) -> None:
    scene, load = drawn
    others = tuple(s for s in scene.samples if s.root == OLD)
    worse_load = replace(load, bad=min(load.requests, load.bad + more))
    worse = replace(scene, samples=others).on(*(reports(n, -2, END, worse_load) for n in scene.canary))
    before, after = scene.judged(seconds).verdict, worse.judged(seconds).verdict
    assert after is not Verdict.PASS or before is Verdict.PASS
    if before is Verdict.FAIL:
        assert after is Verdict.FAIL


@settings(max_examples=100, deadline=None)
@given(scenes(), moments, st.data())
def test_order_and_repetition_change_nothing(
    drawn: tuple[Scene, Load], seconds: float, data: st.DataObject
) -> None:
    scene, _ = drawn
    shuffled = data.draw(st.permutations(scene.samples))
    again = data.draw(st.lists(st.sampled_from(scene.samples), max_size=10))
    expected = scene.judged(seconds)
    assert replace(scene, samples=(*shuffled, *again)).judged(seconds) == expected
    assert scene.judged(seconds) == expected


@settings(max_examples=50, deadline=None)
@given(scenes(), moments)
def test_what_comes_later_is_not_looked_at(drawn: tuple[Scene, Load], seconds: float) -> None:
    scene, _ = drawn
    known = tuple(s for s in scene.samples if s.at <= at(seconds))
    short, whole = replace(scene, samples=known).judged(seconds), scene.judged(seconds)
    # Only the words may differ: that a silent node's clock is ahead is told by what it reported from the future.
    assert (short.verdict, short.reason) == (whole.verdict, whole.reason)


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_at_the_deadline_there_is_a_verdict(drawn: tuple[Scene, Load]) -> None:
    scene, _ = drawn
    assert scene.judged(scene.spec.timeout_s).verdict is not None
