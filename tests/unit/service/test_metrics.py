"""The exposition is what a Prometheus parser expects."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bumpless.service.metrics import Metrics, add_process_metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.expose().decode())
        for sample in family.samples
    }


def test_counters_and_gauges() -> None:
    metrics = Metrics()
    plain, labelled = metrics.counter("a_total", "A."), metrics.counter("b_total", "B.", ("kind",))
    gauge = metrics.gauge("c", "C.")
    metrics.gauge("d", "D.", read=lambda: 4.5)
    labelled.inc(2, kind='odd "\\\n one')
    gauge.set(3)
    gauge.dec()
    found = samples(metrics)
    assert found == {
        ("a_total", ()): 0,
        ("b_total", (("kind", 'odd "\\\n one'),)): 2,
        ("c", ()): 2,
        ("d", ()): 4.5,
    }
    assert plain.value() == 0
    assert labelled.value(kind="other") == 0


def test_histogram_buckets_are_cumulative_and_include_their_bound() -> None:
    metrics = Metrics()
    histogram = metrics.histogram("t", "T.", buckets=(0.1, 1))
    for value in (0.05, 0.1, 0.5, 7):
        histogram.observe(value)
    found = samples(metrics)
    assert [found["t_bucket", (("le", bound),)] for bound in ("0.1", "1", "+Inf")] == [2, 3, 4]
    assert found["t_count", ()] == 4
    assert found["t_sum", ()] == pytest.approx(7.65)


def test_process_metrics() -> None:
    metrics = Metrics()
    add_process_metrics(metrics)
    found = samples(metrics)
    assert found["process_cpu_seconds_total", ()] > 0
    assert found["process_resident_memory_bytes", ()] > 1_000_000


def test_misuse_is_refused() -> None:
    metrics = Metrics()
    counter = metrics.counter("a_total", "A.", ("kind",))
    with pytest.raises(ValueError, match="expected the labels"):
        counter.inc()
    with pytest.raises(ValueError, match="expected the labels"):
        counter.inc(kind="x", other="y")
    with pytest.raises(ValueError, match="to grow"):
        counter.inc(-1, kind="x")
    with pytest.raises(ValueError, match="a_total twice"):
        metrics.gauge("a_total", "A.")
    with pytest.raises(ValueError, match="growing buckets"):
        metrics.histogram("h", "H.", buckets=(1, 0.5))
