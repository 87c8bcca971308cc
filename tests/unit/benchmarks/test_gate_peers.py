"""The peers of the gate benchmark, on traces made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bumpless.health_gate.offline.traffic import BOUNDS, exceedance
from gate.grid import BAKE_TICKS, SCENARIOS, Traces, Unit, units
from gate.peers import PEERS, kayenta, promql, quantile, wilcoxon_quantile
from gate.report import markdown, summary
from gate.statistics import quantile as delay_quantile
from gate.work import OURS, measured

REQUESTS = 10_000.0


def traces(rate: float = 0.001, times: float = 1.0, slower: float = 1.0, canary: int = 1) -> Traces:
    """Two runs of one node against one, every tick alike but for a wave that both sides have in turn."""
    wave = 1 + 0.02 * np.sin(np.arange(BAKE_TICKS))
    requests = np.full((2, BAKE_TICKS, 2), REQUESTS)
    errors = np.stack([REQUESTS * rate * times * wave, REQUESTS * rate * wave[::-1]], axis=-1)[None].repeat(
        2, axis=0
    )
    late = np.stack([exceedance(0.04 * slower * wave[:, None]), exceedance(0.04 * wave[::-1, None])], axis=1)
    return Traces(requests, errors, REQUESTS * late[None].repeat(2, axis=0), canary)


def failed(name: str, found: Traces) -> float | None:
    at = PEERS[name](found)
    assert at.shape == (2,)
    return None if np.isnan(at[0]) else float(at[0])


@pytest.mark.parametrize("name", [name for name in PEERS if name != "PromQL rule"])
def test_nobody_fails_what_is_alike(name: str) -> None:
    assert failed(name, traces()) is None


@pytest.mark.parametrize(
    ("name", "times", "slower", "at"),
    [
        ("ratio AND, raw", 4, 3, 5), ("ratio AND, 30 s warm-up", 4, 3, 35), ("ratio AND, 30 s warm-up", 100, 1, None),
        ("ratio OR, 30 s warm-up", 4, 1, 35), ("ratio OR, 30 s warm-up", 1, 2.5, 35), ("ratio OR, 30 s warm-up", 2, 1.5, None),
        ("Flagger-like", 20, 1, 300), ("Flagger-like", 5, 1, None), ("Flagger-like", 1, 10, 300),
        ("Argo-like, 3 in all", 3, 1, 210), ("Argo-like, 3 in all", 1, 2, 210), ("tuned, 3 in a row", 3, 1, 210),
        ("Kayenta-like, every 5 min", 3, 1, 360), ("Kayenta-like, every minute", 1, 1.3, 360),
    ],
)  # fmt: skip
def test_when_a_peer_fails(name: str, times: float, slower: float, at: float | None) -> None:
    assert failed(name, traces(times=times, slower=slower)) == at


def test_the_promql_rule_counts_errors_a_second_of_a_node() -> None:
    assert np.isnan(promql(traces(rate=0.00001))).all()  # 0.02 a second
    assert (promql(traces(rate=0.001)) == 60).all()  # 2 a second, healthy or not
    assert np.isnan(promql(traces(rate=0.00006, times=1, canary=2))).all()


def test_kayenta_needs_a_shift_beyond_a_quarter_of_its_estimate() -> None:
    one_in_three = traces(slower=1.0)
    slow = one_in_three.slow.copy()
    slow[:, :, 0, 7:] *= 3  # only the 99th percentile moves: a third of one group
    assert np.isnan(kayenta(Traces(one_in_three.requests, one_in_three.errors, slow, 1), every=1)).all()


@pytest.mark.parametrize(("m", "n", "u"), [(5, 5, 2), (10, 10, 20), (5, 7, 4)])
def test_quantiles_of_mann_whitney(m: int, n: int, u: int) -> None:
    assert wilcoxon_quantile(0.01, m, n) == u  # R: qwilcox(0.01, m, n)


def test_quantiles_are_interpolated_as_prometheus_does() -> None:
    slow = np.zeros((1, len(BOUNDS)))
    slow[0, : BOUNDS.index(0.1)] = 100
    slow[0, BOUNDS.index(0.1) :] = 20
    assert quantile(np.array([100.0]), slow, 0.5) == pytest.approx([0.05 + 0.05 * 50 / 80])
    assert quantile(np.array([100.0]), slow, 0.99) == pytest.approx([10.0])
    assert np.isnan(quantile(np.array([0.0]), 0 * slow, 0.5)).all()


def test_delays_that_never_end_are_the_longest() -> None:
    assert delay_quantile([5.0, None, 3.0, 4.0], 0.5) == 4.0
    assert delay_quantile([5.0, None, 3.0, 4.0], 0.9) is None
    assert delay_quantile([], 0.5) is None


def test_a_unit_is_the_same_whenever_it_is_drawn() -> None:
    unit = Unit("real", 3, 2, runs=2)
    assert (unit.draw()[1].errors == unit.draw()[1].errors).all()
    assert len(units(1, 1)) == 48 * 11
    assert units(1, 1) == units(25, 11)[: 48 * 11]


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    wanted = [Unit(scenario, 7, runs=1) for scenario in SCENARIOS]
    first = list(measured(wanted, 0, tmp_path, 1))
    (kept,) = tmp_path.glob("*.jsonl")
    with kept.open("a") as out:
        out.write('{"key": "broken')  # a run that was stopped
    assert sorted(part["key"] for part in first) == sorted(
        part["key"] for part in measured(wanted, 0, tmp_path, 1)
    )
    found = summary(first)
    assert found["false_alarms"]["real"][OURS]["runs"] == 1
    assert found["detection"]["crash"][OURS]["median_s"] <= 40
    assert len(found["goals"]) == 18
    assert "| ours |" in markdown(found)
