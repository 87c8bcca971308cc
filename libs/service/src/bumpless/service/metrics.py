"""Counters, gauges and histograms, and their Prometheus text exposition (format 0.0.4).

Made for one event loop: not safe to change from several threads. Label values must come from small sets;
nothing here limits how many series there are.
"""

from __future__ import annotations

import os
import resource
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_STARTED = time.time()


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _series(name: str, labels: Sequence[tuple[str, str]], value: float) -> str:
    inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


class _Metric:
    kind = "untyped"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)

    def _key(self, labels: dict[str, str]) -> tuple[str, ...]:
        try:
            key = tuple(str(labels[name]) for name in self.labels)
        except KeyError:
            key = ()
        if len(labels) != len(self.labels) or len(key) != len(self.labels):
            raise ValueError(f"expected the labels {self.labels} of {self.name}, found {tuple(labels)}")
        return key

    def _pairs(self, key: tuple[str, ...]) -> list[tuple[str, str]]:
        return list(zip(self.labels, key, strict=True))

    def lines(self) -> list[str]:
        raise NotImplementedError


class Counter(_Metric):
    """A number that only grows; with `read`, one that is asked for at every scrape."""

    kind = "counter"

    def __init__(
        self, name: str, help: str, labels: Sequence[str] = (), read: Callable[[], float] | None = None
    ) -> None:
        super().__init__(name, help, labels)
        self._read = read
        self._values: dict[tuple[str, ...], float] = {} if labels or read else {(): 0.0}

    def inc(self, amount: float = 1.0, **labels: str) -> None:
        if amount < 0:
            raise ValueError(f"expected {self.name} to grow, found {amount}")
        key = self._key(labels)
        self._values[key] = self._values.get(key, 0.0) + amount

    def value(self, **labels: str) -> float:
        return self._values.get(self._key(labels), 0.0)

    def lines(self) -> list[str]:
        if self._read is not None:
            return [_series(self.name, (), self._read())]
        return [_series(self.name, self._pairs(key), value) for key, value in self._values.items()]


class Gauge(_Metric):
    """A number that goes up and down; with `read`, one that is asked for at every scrape."""

    kind = "gauge"

    def __init__(
        self, name: str, help: str, labels: Sequence[str] = (), read: Callable[[], float] | None = None
    ) -> None:
        super().__init__(name, help, labels)
        self._read = read
        self._values: dict[tuple[str, ...], float] = {} if labels or read else {(): 0.0}

    def set(self, value: float, **labels: str) -> None:
        self._values[self._key(labels)] = value

    def inc(self, amount: float = 1.0, **labels: str) -> None:
        key = self._key(labels)
        self._values[key] = self._values.get(key, 0.0) + amount

    def dec(self, amount: float = 1.0, **labels: str) -> None:
        self.inc(-amount, **labels)

    def lines(self) -> list[str]:
        if self._read is not None:
            return [_series(self.name, (), self._read())]
        return [_series(self.name, self._pairs(key), value) for key, value in self._values.items()]


class Histogram(_Metric):
    """Observations counted in buckets by upper bound."""

    kind = "histogram"

    def __init__(
        self, name: str, help: str, labels: Sequence[str] = (), buckets: Sequence[float] = DURATION_BUCKETS
    ) -> None:
        super().__init__(name, help, labels)
        if list(buckets) != sorted(set(buckets)):
            raise ValueError(f"expected growing buckets of {name}, found {tuple(buckets)}")
        self._bounds = tuple(bound for bound in buckets if bound != float("inf"))
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if not labels:
            self._start(())

    def _start(self, key: tuple[str, ...]) -> list[int]:
        self._sums[key] = 0.0
        return self._counts.setdefault(key, [0] * (len(self._bounds) + 1))

    def observe(self, value: float, **labels: str) -> None:
        key = self._key(labels)
        counts = self._counts.get(key) or self._start(key)
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[key] += value

    def lines(self) -> list[str]:
        out = []
        for key, counts in self._counts.items():
            pairs, total = self._pairs(key), 0
            for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
                total += count
                out.append(_series(f"{self.name}_bucket", [*pairs, ("le", _number(bound))], total))
            out.append(_series(f"{self.name}_sum", pairs, self._sums[key]))
            out.append(_series(f"{self.name}_count", pairs, total))
        return out


M = TypeVar("M", bound=_Metric)


class Metrics:
    """The metrics of one process, by name."""

    def __init__(self) -> None:
        self._metrics: dict[str, _Metric] = {}

    def counter(
        self, name: str, help: str, labels: Sequence[str] = (), read: Callable[[], float] | None = None
    ) -> Counter:
        return self._add(Counter(name, help, labels, read))

    def gauge(
        self, name: str, help: str, labels: Sequence[str] = (), read: Callable[[], float] | None = None
    ) -> Gauge:
        return self._add(Gauge(name, help, labels, read))

    def histogram(
        self, name: str, help: str, labels: Sequence[str] = (), buckets: Sequence[float] = DURATION_BUCKETS
    ) -> Histogram:
        return self._add(Histogram(name, help, labels, buckets))

    def _add(self, metric: M) -> M:
        if metric.name in self._metrics:
            raise ValueError(f"expected a new metric name, found {metric.name} twice")
        self._metrics[metric.name] = metric
        return metric

    def expose(self) -> bytes:
        """Every series, with its help and type."""
        out = []
        for metric in self._metrics.values():
            text = metric.help.replace("\\", r"\\").replace("\n", r"\n")
            out += [f"# HELP {metric.name} {text}", f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
        return ("\n".join(out) + "\n").encode()


def add_process_metrics(metrics: Metrics) -> None:
    """The process_* series every Prometheus client gives, as far as Linux tells them cheaply."""
    metrics.gauge("process_start_time_seconds", "When this process started, Unix time.").set(_STARTED)
    metrics.counter("process_cpu_seconds_total", "CPU time used.", read=_cpu_seconds)
    metrics.gauge("process_resident_memory_bytes", "Memory resident.", read=_resident_bytes)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident_bytes() -> float:
    try:
        with open("/proc/self/statm", encoding="ascii") as pages:
            return float(int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, IndexError, ValueError):
        return 0.0
