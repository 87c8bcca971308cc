from __future__ import annotations

import math
from typing import Any

import pytest

from bumpless.health_gate.histogram import Histogram, pooled
from bumpless.health_gate.window import (
    Instance,
    Member,
    SampleWindow,
    down_run,
    gauge,
    increase,
    resets,
)
from unit.health_gate.scenes import at, sample

GET, POST = 'hits_total{m="GET"}', 'hits_total{m="POST"}'


def readings(*samples: tuple[int, dict[str, float] | None], **more: Any) -> Instance:
    """Readings of one instance by (sequence, series); None is a scrape that was not answered."""
    window = SampleWindow()
    for sequence, series in samples:
        window.add(sample("n1", sequence * 5, sequence, series or {}, up=series is not None, **more))
    found = window.instances(Member("n1", "api"), at(-1000), at(1000), lambda _: True)
    return found[0] if found else ()


def grown(*samples: tuple[int, dict[str, float] | None]) -> float | None:
    found = increase(readings(*samples), "hits_total")
    return None if found is None else sum(found.values())


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([(7, {GET: 10})], None, id="one value has no increase"),
        pytest.param([(1, {GET: 10})], 10, id="the first scrape counts from zero"),
        pytest.param([(1, {GET: 10}), (2, {GET: 15})], 15, id="from the first scrape on"),
        pytest.param([(7, {GET: 10}), (8, {GET: 15})], 5, id="from the first value seen"),
        pytest.param([(7, {GET: 10}), (9, {GET: 15})], 5, id="a lost scrape loses nothing"),
        pytest.param([(7, {GET: 10}), (8, None), (9, {GET: 15})], 5, id="an unanswered scrape loses nothing"),
        pytest.param([(7, {GET: 10}), (8, {GET: 3})], 3, id="a fall is a reset"),
        pytest.param([(7, {GET: 10}), (8, {GET: 3}), (9, {GET: 4})], 4, id="and goes on from there"),
        pytest.param([(7, {GET: 10, POST: 1}), (8, {GET: 3, POST: 2})], 5, id="a family resets as one"),
        pytest.param([(7, {GET: 10}), (8, {GET: 12, POST: 4})], 6, id="a series is born at zero"),
        pytest.param([(7, {GET: 10, POST: 4}), (8, {GET: 12}), (9, {GET: 12, POST: 5})], 3, id="a gap"),
        pytest.param([(7, {}), (8, {GET: 6})], 6, id="a family is born at zero"),
        pytest.param([(7, {"up": 1}), (8, {"up": 1})], None, id="a family that is not there is missing"),
        pytest.param([(7, {GET: math.nan}), (8, {GET: math.nan})], None, id="NaN is missing"),
        pytest.param([(7, {GET: 1}), (8, {GET: math.nan}), (9, {GET: 4})], 3, id="NaN is no reset"),
        pytest.param([(7, {GET: 1}), (8, {GET: math.inf}), (9, {GET: 4})], 3, id="infinity is missing"),
        pytest.param([(7, {GET: 1}), (8, {"hits_total{": 9, GET: 2})], 1, id="a broken series is missing"),
        pytest.param([(7, {GET: 5}), (8, {GET: 5})], 0, id="zero is a value"),
    ],
)
def test_counters_grow(samples: list[tuple[int, dict[str, float] | None]], expected: float | None) -> None:
    assert grown(*samples) == expected
    assert grown(*reversed(samples)) == expected
    assert grown(*samples, *samples) == expected


def test_a_late_copy_changes_nothing() -> None:
    window = SampleWindow()
    for number in (7, 8, 9, 7, 8, 8):
        window.add(sample("n1", number, number, {GET: number}))
    assert len(window) == 3


def test_an_executor_that_counts_scrapes_from_the_start_again_makes_no_newborn() -> None:
    window = SampleWindow()
    samples = [(0, 700, 1000.0), (5, 701, 1010.0), (20, 1, 1040.0), (25, 2, 1050.0)]
    for seconds, sequence, value in reversed(samples):
        window.add(sample("n1", seconds, sequence, {GET: value}))

    def total(start: float) -> float:
        (instance,) = window.instances(Member("n1", "api"), at(start), at(99), lambda _: True)
        return sum((increase(instance, "hits_total") or {}).values())

    assert (total(0), total(20)) == (50, 10)
    window.forget(at(20))
    assert total(20) == 10


def test_only_growth_within_the_span_counts() -> None:
    window = SampleWindow()
    for sequence in range(1, 6):
        window.add(sample("n1", sequence * 5, sequence, {GET: sequence * 10}))
    (instance,) = window.instances(Member("n1", "api"), at(10), at(20), lambda _: True)
    assert increase(instance, "hits_total") == {(("m", "GET"),): 20}


def test_members_and_instances_are_kept_apart_and_forgotten() -> None:
    window = SampleWindow()
    window.add(sample("n1", 0, 1, {GET: 1}, instance="a"))
    window.add(sample("n1", 5, 1, {GET: 1}, instance="b"))
    window.add(sample("n2", 0, 1, {GET: 1}))
    assert len(window.instances(Member("n1", "api"), at(0), at(9), lambda _: True)) == 2
    assert window.instances(Member("n3", "api"), at(0), at(9), lambda _: True) == ()
    window.forget(at(5))
    assert len(window) == 1
    window.forget(at(6))
    assert len(window) == 0


def test_gauges_sum_over_labels_and_skip_what_is_missing() -> None:
    found = readings((1, {'q{a="1"}': 2, 'q{a="2"}': 3}), (2, None), (3, {"other": 1}), (4, {"q": 1}))
    assert gauge(found, "q") == [(at(5), 5), (at(20), 1)]


def test_falls_of_counters_are_resets_and_falls_of_gauges_are_not() -> None:
    found = readings(
        (1, {GET: 5, "q": 9}), (2, {GET: 7, "q": 1}), (3, {GET: 1}), (4, {GET: 2}), (5, {GET: 0})
    )
    assert resets(found) == 2


@pytest.mark.parametrize(
    ("ups", "run"),
    [
        ([], 0),
        ([(1, True), (2, True)], 0),
        ([(1, False), (2, False), (3, True), (4, False)], 2),
        ([(1, False), (2, False), (4, False), (5, False), (6, False)], 3),
    ],
)
def test_unanswered_scrapes_in_a_row(ups: list[tuple[int, bool]], run: int) -> None:
    assert down_run(readings(*((n, {} if up else None) for n, up in ups))) == run


def buckets(**counts: float) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        (("le", name.replace("_", ".").replace("inf", "+Inf").lstrip("b")),): n for name, n in counts.items()
    }


@pytest.mark.parametrize(
    ("q", "value", "beyond"), [(0.2, 0.05, False), (0.4, 0.1, False), (0.6, 0.55, False), (0.99, 1.0, True)]
)
def test_quantiles_are_interpolated_in_their_bucket(q: float, value: float, beyond: bool) -> None:
    found = Histogram((0.1, 1.0, math.inf), (40, 80, 100)).quantile(q)
    assert found is not None
    assert found.value == pytest.approx(value)
    assert found.beyond is beyond


def test_a_histogram_without_requests_or_bounds_has_no_quantile() -> None:
    assert Histogram((0.1, math.inf), (0, 0)).quantile(0.5) is None
    assert Histogram((math.inf,), (9,)).quantile(0.5) is None


@pytest.mark.parametrize(("limit", "above"), [(0.0, 100), (0.1, 60), (0.55, 40), (1.0, 20), (7.0, 20)])
def test_requests_above_a_limit(limit: float, above: float) -> None:
    assert Histogram((0.1, 1.0, math.inf), (40, 80, 100)).above(limit) == pytest.approx(above)


def test_pooling_keeps_common_bounds_and_refuses_what_has_no_end() -> None:
    one, two = buckets(b0_1=1, b0_5=2, binf=3), buckets(b0_1=10, b1_0=20, binf=30)
    assert pooled([one, two]) == Histogram([0.1, math.inf], [11, 33])
    assert pooled([one, buckets(b0_1=1)]) is None
    assert pooled([]) is None
    assert pooled([{(("le", "x"),): 1.0, **one}]) == Histogram([0.1, 0.5, math.inf], [1, 2, 3])


def test_pooling_mends_buckets_that_fall_after_a_reset() -> None:
    assert pooled([buckets(b0_1=9, b0_5=4, binf=9)]) == Histogram([0.1, 0.5, math.inf], [9, 9, 9])
