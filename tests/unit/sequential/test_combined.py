"""The whole test of a batch, driven tick by tick as the judge and the simulation drive it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from bumpless.common.model.verdict import Reason, Verdict
from bumpless.common.sequential import (
    Carried,
    CarriedKind,
    Counts,
    ErrorSpec,
    LatencySpec,
    SequentialTest,
    TestSpec,
    Tick,
)
from bumpless.common.sequential.release import log_m

BOUNDS = (0.1, 0.2, 0.5)
BOTH = TestSpec((ErrorSpec("error_rate"), LatencySpec("latency", BOUNDS)))
ERRORS = TestSpec((ErrorSpec("error_rate"),))


def tick(errors: float = 1, slow: Sequence[float] = (100, 20, 2), requests: float = 200) -> Tick:
    return (
        Counts(requests, 200, (errors,), (1,)),
        Counts(requests, 200, slow, (100, 20, 2)),
    )


PAST = [tick()] * 360


def run(spec: TestSpec, ticks: Sequence[Tick], past: Sequence[Tick] = PAST) -> SequentialTest:
    found = SequentialTest.begin(spec, past)
    for each in ticks:
        found.update(each)
        if found.verdict is not None:
            break
    return found


def test_weights_are_those_of_errors_quantiles_and_start() -> None:
    found = SequentialTest.begin(BOTH, PAST)
    assert [kind.name for kind in found.kinds] == ["error_rate", "latency_p50", "latency_p90", "latency_p99"]
    assert [0.9 * kind.weight for kind in found.kinds] == pytest.approx([0.45, 0.15, 0.15, 0.15])
    assert [kind.level for kind in found.kinds] == [0, 0, 1, 2]
    assert found.log_batch == pytest.approx(0.0)
    assert found.log_release == pytest.approx(0.0)


def test_the_combination_by_hand() -> None:
    found = SequentialTest.begin(BOTH, PAST)
    found.update(tick(errors=9))
    logs = [kind.failing.log_e for kind in found.kinds]
    whole = sum(w * math.exp(v) for w, v in zip((0.45, 0.15, 0.15, 0.15), logs, strict=True))
    whole += 0.1 * math.exp(found.startups[0].log_e)
    assert found.log_batch == pytest.approx(math.log(whole))
    assert found.curve == pytest.approx([math.log(whole)]), "of one batch, M is E"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (tick(errors=12), Reason.REGRESSION),
        (tick(slow=(190, 90, 20)), Reason.REGRESSION),
        (tick(errors=200), Reason.REGRESSION),
    ],
)
def test_what_is_worse_fails_but_not_at_once(bad: Tick, reason: Reason) -> None:
    found = run(BOTH, [bad] * 60)
    assert (found.verdict, found.reason) == (Verdict.FAIL, reason)
    assert found.ticks >= 3
    assert found.curve[-1] >= found.bound > found.curve[-2]


def test_a_broken_start_fails_within_the_warm_up_and_without_control() -> None:
    found = SequentialTest.begin(BOTH, PAST)
    for _ in range(6):
        found.warm((Counts(20, 0, (19,), (0,)), None))
    assert found.verdict is Verdict.FAIL


def test_what_is_as_before_passes_after_a_minute() -> None:
    found = run(BOTH, [tick()] * 100)
    assert found.verdict is Verdict.PASS
    assert found.ticks * BOTH.interval_s >= 60


def test_absence_never_passes() -> None:
    silent: Tick = (None, None)
    assert run(BOTH, [silent] * 500).verdict is None
    nothing: Tick = (Counts(0, 200, (0,), (1,)), Counts(0, 200, (0, 0, 0), (100, 20, 2)))
    assert run(BOTH, [nothing] * 500).verdict is None
    one: Tick = (tick()[0], None)
    found = run(BOTH, [one] * 500)
    assert found.verdict is None
    assert found.lacking(1) is Reason.LOW_TRAFFIC


def test_missing_ticks_change_no_evidence() -> None:
    whole, holed = SequentialTest.begin(BOTH, PAST), SequentialTest.begin(BOTH, PAST)
    for index in range(20):
        whole.update(tick(errors=index % 3))
        holed.update(tick(errors=index % 3))
        holed.update((None, None))
    assert whole.log_batch == pytest.approx(holed.log_batch)
    assert whole.log_pass(1) == pytest.approx(holed.log_pass(1))


def test_fewer_than_the_wanted_requests_do_not_pass() -> None:
    spec = TestSpec(ERRORS.rules, min_samples=10_000)
    found = run(spec, [(tick(errors=0)[0],)] * 20, [t[:1] for t in PAST])
    assert found.verdict is None
    assert found.lacking(0) is Reason.LOW_TRAFFIC


def test_an_objective_lets_few_errors_pass_that_the_control_alone_would_not() -> None:
    few: Tick = (Counts(400, 400, (1,), (0.5,)),)
    past: list[Tick] = [(Counts(400, 400, (0,), (0,)),)] * 360
    assert run(ERRORS, [few] * 30, past).verdict is Verdict.PASS
    strict = TestSpec((ErrorSpec("error_rate", slo=None),))
    assert run(strict, [few] * 30, past).verdict is not Verdict.PASS


def test_a_past_in_which_nodes_differed_is_no_baseline() -> None:
    past = [*PAST[:300], *[tick(errors=60)] * 60]
    found = SequentialTest.begin(BOTH, past)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, Reason.BASELINE_UNSTABLE)


def test_a_histogram_without_a_past_has_no_meaning() -> None:
    found = run(BOTH, [tick()] * 100, [])
    assert found.verdict is None
    assert found.lacking(1) is Reason.BASELINE_MISSING


def test_a_histogram_with_everything_in_one_bucket_can_pass_and_fail() -> None:
    nothing = (0.0, 0.0, 0.0)
    quick: Tick = (Counts(200, 200, (1,), (1,)), Counts(200, 200, nothing, nothing))
    assert run(BOTH, [quick] * 30, [quick] * 360).verdict is Verdict.PASS
    slow: Tick = (quick[0], Counts(200, 200, (80, 0, 0), nothing))
    assert run(BOTH, [slow] * 30, [quick] * 360).verdict is Verdict.FAIL


def test_a_component_that_always_failed_much_has_no_start_up_test() -> None:
    past: list[Tick] = [(Counts(200, 200, (60,), (60,)),)] * 360
    assert SequentialTest.begin(ERRORS, past).startups == {}
    assert SequentialTest.begin(ERRORS, [t[:1] for t in PAST]).startups.keys() == {0}


def test_their_own_past_stands_in_for_peers_and_is_used_once() -> None:
    spec = TestSpec(ERRORS.rules, alone=True, most_ticks=180)
    past: list[Tick] = [(Counts(200, 0, (1,), (0,)),)] * 360
    bad: Tick = (Counts(200, 0, (12,), (0,)),)
    assert run(spec, [bad] * 60, past).verdict is Verdict.FAIL
    found = SequentialTest.begin(spec, past)
    for _ in range(400):
        found.update((Counts(200, 0, (1,), (0,)),))
    assert found.kinds[0].m == 200 * 360
    assert found.verdict is Verdict.PASS


def test_m_by_hand() -> None:
    # Three batches: the second is running, the third counts 1. 8/2 + (2 + 4 + 1)/6.
    assert log_m(math.log(8), math.log(4), [math.log(2)], 3) == pytest.approx(math.log(4 + 7 / 6))
    assert log_m(0.0, 0.0, [], 5) == pytest.approx(0.0)
    assert log_m(math.log(8), math.log(8), [], 1) == pytest.approx(math.log(8))


def test_small_faults_add_up_over_batches() -> None:
    rules = ERRORS.rules
    past = [t[:1] for t in PAST]
    spec = TestSpec(rules, batches=4)
    first = SequentialTest.begin(spec, past)
    for _ in range(30):
        first.update((Counts(200, 200, (2,), (1,)),))
    assert first.verdict is None
    carried = first.carried()
    assert carried.batches == (first.log_batch,)
    second = SequentialTest.begin(spec, past, carried)
    assert second.log_batch == pytest.approx(0.0)
    assert second.log_release == pytest.approx(first.log_release)
    for _ in range(10):
        second.update((Counts(200, 200, (2,), (1,)),), (Counts(400, 200, (4,), (1,)),))
    assert second.log_release > first.log_release
    assert second.curve[-1] == pytest.approx(
        log_m(second.log_release, second.log_batch, [first.log_batch], 4)
    )


def test_a_later_batch_keeps_the_widest_null() -> None:
    carried = Carried((0.0,), (CarriedKind("error_rate", odds=2.5, tempering=0.3),), 0.0)
    found = SequentialTest.begin(TestSpec(ERRORS.rules, batches=2), [t[:1] for t in PAST], carried)
    assert (found.release[0].odds, found.release[0].tempering) == (2.5, 0.3)
    assert found.kinds[0].failing.odds == pytest.approx(1.2)
