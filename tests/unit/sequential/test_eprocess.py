"""The evidence of one tick against numbers worked out by hand, and its expectation at the edge of the null."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest

from bumpless.common.sequential.eprocess import CAP, EProcess, StartUp, log_sum
from bumpless.common.sequential.passing import BelowRate, ReverseRatio


def test_one_event_of_the_canary_by_hand() -> None:
    # Odds 1.2 and 10 requests each: p1 = 12/22. Twice that: 24/34. Their ratio 22/17, and so on by alternative.
    process = EProcess(1.2)
    process.update(10, 10, 1, 0)
    p1 = 12 / 22
    expected = [18 / 28 / p1, 22 / 17, 36 / 46 / p1, 72 / 82 / p1, 240 / 250 / p1]
    assert [math.exp(value) for value in process.logs] == pytest.approx(expected)
    assert process.log_e == pytest.approx(math.log(sum(expected) / 5))


def test_one_event_of_the_control_by_hand() -> None:
    process = EProcess(1.2)
    process.update(10, 10, 0, 1)
    assert math.exp(process.logs[1]) == pytest.approx(22 / 34)


def test_tempering_is_a_power() -> None:
    plain, tempered = EProcess(1.2), EProcess(1.2, 0.25)
    plain.update(40, 60, 3, 2)
    tempered.update(40, 60, 3, 2)
    assert [value / 4 for value in plain.logs] == pytest.approx(list(tempered.logs))


def test_no_tick_multiplies_by_more_than_ten() -> None:
    process = EProcess(1.2)
    process.update(1000, 1000, 1000, 0)
    assert process.log_e <= CAP
    for _ in range(2):
        process.update(1000, 1000, 1000, 0)
    assert process.log_e < math.log(1 / 0.0005), "three ticks must not fail a release of ten batches"


@pytest.mark.parametrize("tick", [(0, 10, 0, 3), (10, 0, 3, 0), (10, 10, 0, 0), (0, 0, 0, 0)])
def test_a_tick_that_compares_nothing_is_a_factor_of_one(tick: tuple[int, int, int, int]) -> None:
    process = EProcess(1.2)
    process.update(40, 60, 3, 2)
    before = process.logs
    process.update(*tick)
    assert process.logs == before


def test_the_onset_mixture_starts_at_one_and_keeps_what_has_not_begun() -> None:
    process = EProcess(1.2, onset_ticks=10)
    assert process.log_e == pytest.approx(0.0)
    process.update(10, 10, 0, 0)
    assert process.log_e == pytest.approx(0.0)
    late, plain = EProcess(1.2, onset_ticks=40), EProcess(1.2)
    for found in (late, plain):
        for _ in range(30):
            found.update(100, 100, 1, 2)
        for _ in range(4):
            found.update(100, 100, 12, 1)
    assert late.log_e > plain.log_e


def test_a_process_goes_on_where_it_was() -> None:
    whole, first = EProcess(1.3), EProcess(1.3)
    for found in (whole, first):
        found.update(50, 70, 2, 1)
    second = EProcess.resumed(first.logs, 1.3, 1.0)
    whole.update(50, 70, 3, 1)
    second.update(50, 70, 3, 1)
    assert second.log_e == pytest.approx(whole.log_e)


@pytest.mark.parametrize("odds", [1.0, 1.2, 2.0, 4.0])
@pytest.mark.parametrize("tempering", [1.0, 0.4])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 20), (20, 5), (30, 30), (1, 60)])
def test_the_expectation_at_the_boundary_is_at_most_one(
    n: int, m: int, odds: float, tempering: float
) -> None:
    for events in range(1, n + m + 1, 3):
        chances = list(fisher(n, m, events, odds))
        ratios: list[float] = []
        for x, _ in chances:
            process = EProcess(odds, tempering)
            process.update(n, m, x, events - x)
            ratios.append(math.exp(process.log_e))
        expected = sum(chance * ratio for (_, chance), ratio in zip(chances, ratios, strict=True))
        assert expected <= 1 + 1e-9, (events, expected)


def test_below_the_boundary_it_is_less() -> None:
    assert expectation(fisher(20, 20, 6, 1.0), lambda x: evidence(1.2, 20, 20, x, 6 - x)) < 0.95


def test_the_start_up_test_has_expectation_one_at_its_limit_and_less_below() -> None:
    def ratio(x: int) -> float:
        found = StartUp()
        found.update(n, x)
        return math.exp(found.log_e)

    n = 1  # too few to reach the cap
    assert expectation(binomial(n, 0.2), ratio) == pytest.approx(1)
    assert expectation(binomial(n, 0.05), ratio) < 0.7
    n = 6
    assert expectation(binomial(n, 0.2), ratio) < 1


def test_dead_from_the_start_is_seen_within_five_ticks() -> None:
    found = StartUp()
    for _ in range(5):
        found.update(20, 20)
    assert found.log_e + math.log(0.1) > math.log(1000)


def test_below_an_objective_is_exact() -> None:
    def ratio(x: int) -> float:
        found = BelowRate(0.1)
        found.update(8, x)
        return math.exp(found.log_e)

    assert expectation(binomial(8, 0.1), ratio) == pytest.approx(1)
    assert expectation(binomial(8, 0.2), ratio) < 1
    assert expectation(binomial(8, 0.01), ratio) > 1


def test_the_reverse_ratio_by_hand() -> None:
    # Good: 10/20. Bad, three times the odds: 30/40. One event of the control: (1/2)/(1/4).
    found = ReverseRatio(1.0, 3.0)
    found.update(10, 10, 0, 1)
    assert found.log_e == pytest.approx(math.log(2))
    found.update(10, 10, 1, 0)
    assert found.log_e == pytest.approx(math.log(2 * 0.5 / 0.75))
    for _ in range(2):
        found.update(1000, 1000, 0, 1000)
    assert found.log_e == pytest.approx(math.log(4 / 3) + 2 * CAP)


def test_log_sum_of_the_far_apart_and_of_nothing() -> None:
    assert log_sum([1000.0, 0.0]) == pytest.approx(1000.0)
    assert log_sum([]) == -math.inf
    assert log_sum([-math.inf, 2.0]) == pytest.approx(2.0)


def evidence(odds: float, n: int, m: int, x: int, y: int) -> float:
    process = EProcess(odds)
    process.update(n, m, x, y)
    return math.exp(process.log_e)


def expectation(chances: Iterator[tuple[int, float]], value: Callable[[int], float]) -> float:
    return sum(chance * value(x) for x, chance in chances)


def fisher(n: int, m: int, events: int, odds: float) -> Iterator[tuple[int, float]]:
    """Fisher's noncentral hypergeometric distribution: how many of `events` are the canary's, and how likely."""
    inside = range(max(0, events - m), min(n, events) + 1)
    weights = [math.comb(n, x) * math.comb(m, events - x) * odds**x for x in inside]
    return ((x, weight / sum(weights)) for x, weight in zip(inside, weights, strict=True))


def binomial(n: int, rate: float) -> Iterator[tuple[int, float]]:
    return ((x, math.comb(n, x) * rate**x * (1 - rate) ** (n - x)) for x in range(n + 1))
