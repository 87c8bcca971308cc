"""Simulated traffic has the rates that were asked for, and depends on its seed alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bumpless.common.sequential import ErrorSpec, LatencySpec, TestSpec
from bumpless.health_gate.offline.bounds import clopper_pearson
from bumpless.health_gate.offline.simulate import Bake, simulate
from bumpless.health_gate.offline.sizing import requests_needed, seconds_needed
from bumpless.health_gate.offline.traffic import (
    BOUNDS,
    CANARY,
    CONTROL,
    HEALTHY,
    NOISES,
    Drawn,
    Fault,
    Traffic,
    draw,
    exceedance,
)  # fmt: skip

TRAFFIC = Traffic(rps=50, canary=2, control=4, error_rate=0.01)
SPEC = TestSpec(rules=(ErrorSpec("errors"), LatencySpec("latency", BOUNDS)), alpha=0.001, batches=None)


def drawn(fault: Fault = HEALTHY, noise: str = "none", seed: int = 1, **more: int) -> Drawn:
    return draw(TRAFFIC, NOISES[noise], fault, np.random.default_rng(seed), **more)


def test_requests_errors_and_latencies_have_the_means_that_were_asked_for() -> None:
    found = drawn()
    assert found.requests.mean(axis=0) == pytest.approx([500, 1000], rel=0.01)
    total = found.requests.sum(axis=0)
    assert found.errors.sum(axis=0) / total == pytest.approx([0.01, 0.01], rel=0.1)
    late = found.slow.sum(axis=0) / total[:, None]
    assert late[CONTROL][:6] == pytest.approx(exceedance(0.06)[:6], rel=0.05)
    wanted = 0.5 * math.erfc(math.log(0.1 / 0.06) / 0.8 / math.sqrt(2))
    assert exceedance(0.06)[BOUNDS.index(0.1)] == pytest.approx(wanted, rel=1e-4)


def test_requests_are_poisson_and_slow_ones_never_rise_with_their_bound() -> None:
    found = drawn()
    assert found.requests[:, CONTROL].var() == pytest.approx(1000, rel=0.2)
    assert (np.diff(found.slow, axis=2) <= 0).all()
    assert (found.slow[:, :, 0] <= found.requests).all()


@pytest.mark.parametrize(("fault", "errors"), [(Fault(errors=3), 0.03), (Fault(odds=2), 0.0198)])
def test_a_fault_strikes_the_canary_after_the_switch_alone(fault: Fault, errors: float) -> None:
    found = drawn(fault)
    before, after = slice(None, found.history), slice(found.history, None)
    rates = [found.errors[part].sum(axis=0) / found.requests[part].sum(axis=0) for part in (before, after)]
    assert rates[0] == pytest.approx([0.01, 0.01], rel=0.15)
    assert rates[1] == pytest.approx([errors, 0.01], rel=0.15)


def test_slower_means_slower_by_that_much() -> None:
    found = drawn(Fault(latency=2.0))
    late = found.slow[found.history :].sum(axis=0) / found.requests[found.history :].sum(axis=0)[:, None]
    assert late[CANARY][:6] == pytest.approx(exceedance(0.12)[:6], rel=0.05)


def test_crashes_restart_ever_more_slowly_and_refuse_meanwhile() -> None:
    found = drawn(Fault(crash=True))
    assert found.restarts[8].min() >= 2
    assert (np.diff(found.restarts, axis=0) >= 0).all()
    assert not found.up.all()
    share = found.errors[found.history :, CANARY].sum() / found.requests[found.history :, CANARY].sum()
    assert share > 0.3


@pytest.mark.parametrize("noise", [name for name in NOISES if name != "none"])
def test_noise_disperses_and_the_seed_decides(noise: str) -> None:
    one, same, other = drawn(noise=noise), drawn(noise=noise), drawn(noise=noise, seed=2)
    assert (one.errors == same.errors).all()
    assert not (one.errors == other.errors).all()
    quiet = drawn()
    first = slice(one.history, one.history + 2)
    assert one.slow[first, CANARY, 5].sum() > 1.5 * quiet.slow[first, CANARY, 5].sum()  # cold start


def test_figures_of_a_small_simulation() -> None:
    traffic = Traffic(rps=50, canary=1, control=3, error_rate=0.01)
    bake = Bake(warm_up_s=30, bake_s=300)
    healthy = simulate(SPEC, bake, traffic, NOISES["none"], HEALTHY, runs=6, seed=1)
    assert (healthy.failed, healthy.passed) == (0, 6)
    assert healthy == simulate(SPEC, bake, traffic, NOISES["none"], HEALTHY, runs=6, seed=1)
    broken = simulate(SPEC, bake, traffic, NOISES["none"], Fault(errors=10), runs=6, seed=1)
    assert broken.failed == 6
    assert broken.decided_s is not None
    assert broken.decided_s[0] <= 60
    assert broken.requests is not None
    assert 500 <= broken.requests[0] <= 1500


def test_the_formula_asks_for_more_where_there_is_less_to_see() -> None:
    base = requests_needed(0.005, 3, 1, 9, 0.001)
    assert 2000 < base < 10_000
    assert requests_needed(0.001, 3, 1, 9, 0.001) == pytest.approx(5 * base)
    assert requests_needed(0.005, 10, 1, 9, 0.001) < base / 5
    assert requests_needed(0.005, 1.2, 1, 9, 0.001) == math.inf
    assert seconds_needed(10, 100, 1, 5, 30) == 50
    assert seconds_needed(2501, 100, 1, 5, 30) == 60


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # The bounds of R's binom.test with one-sided alternatives.
    [(0, 100, 0.0, 0.02951305), (1, 100, 0.000512801, 0.04655981), (3, 10, 0.08726443, 0.6066242), (100, 100, 0.97048695, 1.0)],
)  # fmt: skip
def test_exact_bounds(hits: int, of: int, low: float, high: float) -> None:
    assert clopper_pearson(hits, of) == pytest.approx((low, high), abs=2e-5)
