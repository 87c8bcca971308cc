"""Which series the rules of a gate would read now. Pure: from the newest value of every series, by node.

Rules are asked by the names of their fields, so that a new kind of rule is understood as soon as it calls its metric
`metric`, `total` with `bad`, or `histogram`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from bumpless.common.contract.gate_dry_run import GateDryRun, MetricRead, SeriesRead
from bumpless.common.model.expression import parse_expression
from bumpless.common.model.gate import Rule, ThresholdRule, TrendRule
from bumpless.health_gate.series import Series, parse_series, selector, selects

SHOWN = 50
"""Series of one metric that are told."""
AS_ZERO = "none is as good as zero"
HISTOGRAM = ("_bucket", "_count", "_sum")
LE, INFINITE = "le", "+Inf"

Newest = Mapping[str, Mapping[str, float]]
"""By node: series, as text, to value."""


@dataclass(frozen=True)
class _Wanted:
    metric: str
    keeps: Callable[[Series], bool]
    needed: bool = True
    note: str = ""


def read(asked: GateDryRun, newest: Newest) -> tuple[MetricRead, ...]:
    """One entry for every metric of every rule, in their order."""
    parsed = {node: _parsed(series) for node, series in newest.items()}
    return tuple(
        _read(rule.rule, wanted, asked.nodes, parsed) for rule in asked.spec.rules for wanted in _wanted(rule)
    )


def _parsed(series: Mapping[str, float]) -> list[tuple[str, Series, float]]:
    found = []
    for text, value in sorted(series.items()):
        try:
            found.append((text, parse_series(text), value))
        except ValueError:
            continue
    return found


def _wanted(rule: Rule) -> Iterator[_Wanted]:
    total, bad = getattr(rule, "total", None), getattr(rule, "bad", None)
    metric, histogram = getattr(rule, "metric", None), getattr(rule, "histogram", None)
    if isinstance(total, str):
        yield _Wanted(total, lambda series: series.name == total)
        if isinstance(bad, str):
            yield _bad(total, bad)
    if isinstance(histogram, str):
        buckets = histogram + "_bucket"
        yield _Wanted(f"{buckets}", lambda series: series.name == buckets)
        yield _Wanted(
            f'{buckets}{{le="+Inf"}}',
            lambda series: series.name == buckets and dict(series.labels).get(LE) == INFINITE,
        )
    if isinstance(metric, str):
        yield _metric(metric)
    counted = getattr(rule, "bad_total", None)
    if isinstance(counted, str):
        yield replace(_metric(counted), needed=False, note=AS_ZERO)
    if isinstance(rule, ThresholdRule | TrendRule):
        for name in sorted(parse_expression(rule.value).metrics):
            yield _metric(name)


def _metric(name: str) -> _Wanted:
    """A family, or a histogram called by its name without endings."""
    names = (name, *(name + ending for ending in HISTOGRAM))
    return _Wanted(name, lambda series: series.name in names)


def _bad(total: str, bad: str) -> _Wanted:
    matchers = selector(bad)
    return _Wanted(
        f"{total}{{{bad}}}",
        lambda series: series.name == total and selects(matchers, series.labels),
        needed=False,
        note=AS_ZERO,
    )


def _read(
    rule: str, wanted: _Wanted, nodes: tuple[str, ...], newest: Mapping[str, list[tuple[str, Series, float]]]
) -> MetricRead:
    found = [
        SeriesRead(node=node, series=text, value=value)
        for node in nodes
        for text, series, value in newest.get(node, [])
        if wanted.keeps(series)
    ]
    having = {one.node for one in found}
    return MetricRead(
        rule=rule,
        metric=wanted.metric,
        series=tuple(found[:SHOWN]),
        more=max(0, len(found) - SHOWN),
        missing=tuple(node for node in nodes if node not in having),
        needed=wanted.needed,
        note=wanted.note,
    )
