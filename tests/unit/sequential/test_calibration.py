"""What the past says: numbers by hand for the ratio, and the direction of the widening and the tempering."""

from __future__ import annotations

import math

import pytest

from bumpless.common.sequential import latency
from bumpless.common.sequential.calibration import Pair, calibrate, calibrate_alone

EVEN = [Pair(100, 100, 1, 1)] * 360


def test_nodes_like_their_peers_change_nothing() -> None:
    found = calibrate(EVEN, 1.2, 5)
    assert (found.rho, found.free, found.tempering) == (1.0, 1.0, 1.0)
    assert found.tolerance == 1.2
    assert found.odds == 1.2


def test_without_a_past_nothing_is_widened() -> None:
    assert calibrate([], 1.2, 5).odds == 1.2
    assert calibrate([Pair(0, 10, 0, 1)], 1.2, 5).odds == 1.2
    assert calibrate_alone([], 2.0, 5).odds == 2.0


def test_the_ratio_by_hand() -> None:
    # 60 and 30 events where 45 were expected of either: (70 / 55) / (40 / 55).
    assert calibrate([Pair(1000, 1000, 60, 30)], 1.2, 5).rho == pytest.approx(70 / 40)
    assert calibrate([Pair(1000, 1000, 30, 60)], 1.2, 5).rho == 1.0
    assert calibrate([Pair(1000, 1000, 30, 60)], 1.2, 5).free == pytest.approx(40 / 70)
    assert calibrate([Pair(1000, 1000, 600, 30)], 1.2, 5).rho == 2.0


def test_nodes_that_drift_widen_the_null() -> None:
    slow = [Pair(1000, 1000, 100 if tick // 24 % 2 else 25, 50) for tick in range(360)]
    assert calibrate(slow, 1.2, 5).tolerance > 2
    # At a longer tick the same two minutes are fewer ticks.
    coarse = [Pair(6000, 6000, 600 if tick // 4 % 2 else 150, 300) for tick in range(60)]
    assert calibrate(coarse, 1.2, 30).tolerance > 2


def test_bursts_temper() -> None:
    bursts = [Pair(1000, 1000, 200 if tick % 12 == 0 else 0, 17) for tick in range(360)]
    found = calibrate(bursts, 1.2, 5).tempering
    assert 1 / 20 <= found < 0.5
    lonely = [Pair(1000, 0, 200 if tick % 12 == 0 else 0, 0) for tick in range(360)]
    assert calibrate_alone(lonely, 2.0, 5).tempering < 0.5


def test_the_bound_whose_exceedance_is_nearest() -> None:
    exceeded = (1.0, 0.62, 0.18, 0.03, 0.004, 0.0)
    assert [latency.boundary(exceeded, quantile) for quantile in (0.5, 0.9, 0.99)] == [1, 2, 4]
    assert latency.boundary((1.0, 0.0, 0.0), 0.5) == 1, "all in one bucket: the end of that one"
    assert latency.boundary((1.0, 1.0), 0.5) is None
    assert latency.boundary((), 0.5) is None


def test_a_shift_in_time_as_odds_by_hand() -> None:
    bounds, exceeded = (0.1, 0.2), (0.5, 0.2)
    # log-odds 0 and -1.386 over log 2; a shift of 10 % moves 0.1375 of that: 0.1906.
    expected = math.exp(-math.log(0.25) * math.log(1.1) / math.log(2))
    assert latency.tolerance(exceeded, bounds, 1, 1.1) == pytest.approx(expected)
    assert latency.tolerance(exceeded, bounds, 1, 1.01) == pytest.approx(1.2)
    assert latency.tolerance(exceeded, bounds, 1, 8.0) == pytest.approx(3.0)
    assert latency.critical(exceeded, bounds, 1, 1.01) == 1.5
