"""The rules over requests: error rate, latency, and the classic one that wants both.

A limit that is crossed is a fail only when enough requests carry it (`View.few`) and at least LEAST_EVENTS of them
are bad or slow, because one request more or less moves a small sample across any ratio. Below that the rule waits;
it does not pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from bumpless.common.model.gate import ClassicRule, ErrorRateRule, LatencyRule
from bumpless.common.model.verdict import Reason
from bumpless.health_gate.counting import (
    Bound,
    Errors,
    bound,
    errors,
    latencies,
    pinned_errors,
    pinned_latencies,
    unmet,
    unseen,
)
from bumpless.health_gate.histogram import Histogram, Quantile
from bumpless.health_gate.view import Finding, View, finding

LEAST_EVENTS = 5
"""Bad or slow requests that a fail needs."""


@dataclass(frozen=True)
class _Compared:
    """One quantity of the canary against its bound. `events` are the requests that lie above it."""

    value: Quantile
    bound: Bound
    requests: float
    events: float
    text: str

    @property
    def crossed(self) -> bool:
        return self.bound.limit is not None and self.value.value > self.bound.limit

    @property
    def hidden(self) -> bool:
        """Whether the histograms' last bounds hide the answer."""
        if self.bound.limit is None:
            return False
        return self.bound.vague if self.crossed else self.value.beyond

    def sure(self, view: View) -> bool:
        return self.requests >= view.few and self.events >= LEAST_EVENTS


def error_rate(view: View, rule: ErrorRateRule) -> Finding:
    """Fails when bad / total > min(max_rate, max(max_ratio x baseline, floor))."""
    measure = partial(errors, name=rule.total, bad=rule.bad)
    seen, silent = measure(view.canary)
    nothing = unseen(view, rule.rule, seen, silent, f"counter {rule.total}")
    if nothing is not None or seen is None:
        return nothing or finding(rule.rule, Reason.NO_DATA, "")
    limit = bound(
        view,
        measure,
        _rate,
        ratio=rule.max_ratio,
        floor=rule.floor,
        absolute=rule.max_rate,
        without=rule.floor,
        pinned=pinned_errors(view, rule.called),
    )
    return _judged(view, rule.rule, _error_rate(seen, limit), silent)


def latency(view: View, rule: LatencyRule) -> Finding:
    """Fails when the quantile > min(max_s, max(max_ratio x baseline, floor_s))."""
    measure = partial(latencies, name=rule.histogram)
    seen, silent = measure(view.canary)
    nothing = unseen(view, rule.rule, seen, silent, f"histogram {rule.histogram} with a bucket +Inf")
    found = None if seen is None else seen.quantile(rule.quantile)
    if nothing is not None or seen is None or found is None:
        return nothing or finding(rule.rule, Reason.NO_DATA, f"{rule.histogram} has no finite bucket")
    limit = bound(
        view,
        measure,
        partial(Histogram.quantile, q=rule.quantile),
        ratio=rule.max_ratio,
        floor=rule.floor_s,
        absolute=rule.max_s,
        pinned=pinned_latencies(view, rule.called),
    )
    return _judged(view, rule.rule, _latency(seen, found, limit, rule.quantile), silent)


def classic(view: View, rule: ClassicRule) -> Finding:
    """Fails when bad / total > max(error_ratio x baseline, floor) AND the quantile > latency_ratio x baseline."""
    count = partial(errors, name=rule.total, bad=rule.bad)
    time = partial(latencies, name=rule.histogram)
    seen, silent = count(view.canary)
    timed, untimed = time(view.canary)
    silent = sorted({*silent, *untimed})
    nothing = unseen(view, rule.rule, seen, silent, f"counter {rule.total}") or unseen(
        view, rule.rule, timed, silent, f"histogram {rule.histogram} with a bucket +Inf"
    )
    found = None if timed is None else timed.quantile(rule.quantile)
    if nothing is not None or seen is None or timed is None or found is None:
        return nothing or finding(rule.rule, Reason.NO_DATA, f"{rule.histogram} has no finite bucket")
    usual, usual_time = pinned_errors(view, rule.called), pinned_latencies(view, rule.called)
    rate = _error_rate(
        seen, bound(view, count, _rate, ratio=rule.error_ratio, floor=rule.floor, pinned=usual)
    )
    quantile = partial(Histogram.quantile, q=rule.quantile)
    limit = bound(view, time, quantile, ratio=rule.latency_ratio, floor=0.0, pinned=usual_time)
    slow = _latency(timed, found, limit, rule.quantile)
    if not (rate.crossed and slow.crossed):
        within = slow if rate.crossed else rate
        return _judged(view, rule.rule, within, silent, text=f"{rate.text}; {slow.text}")
    reason = Reason.REGRESSION if rate.sure(view) and slow.sure(view) else Reason.LOW_TRAFFIC
    if slow.hidden:
        reason = Reason.NO_DATA
    return _stated(rule.rule, reason, rate, f"{rate.text}; {slow.text}")


def _rate(found: Errors) -> Quantile:
    return Quantile(found.rate)


def _error_rate(seen: Errors, limit: Bound) -> _Compared:
    text = f"error rate {seen.rate:.2%} ({seen.bad:.0f} of {seen.requests:.0f})"
    text += "" if limit.base is None else f", baseline {limit.base:.2%}"
    text += ", no baseline" if limit.limit is None else f", limit {limit.limit:.2%}"
    return _Compared(Quantile(seen.rate), limit, seen.requests, seen.bad, text)


def _latency(seen: Histogram, found: Quantile, limit: Bound, q: float) -> _Compared:
    text = f"p{q * 100:g} {'above ' if found.beyond else ''}{found.value * 1000:.3g} ms"
    text += "" if limit.base is None else f", baseline {limit.base * 1000:.3g} ms"
    text += ", no baseline" if limit.limit is None else f", limit {limit.limit * 1000:.3g} ms"
    events = 0.0 if limit.limit is None else seen.above(limit.limit)
    return _Compared(found, limit, seen.requests, events, text)


def _judged(view: View, rule: str, found: _Compared, silent: list[str], text: str | None = None) -> Finding:
    text = found.text if text is None else text
    if found.hidden:
        return _stated(rule, Reason.NO_DATA, found, text + "; the histogram's last bound is too low to tell")
    if found.crossed:
        return _stated(rule, Reason.REGRESSION if found.sure(view) else Reason.LOW_TRAFFIC, found, text)
    if found.bound.lacking is not None:
        return _stated(rule, found.bound.lacking, found, text + "; the baseline is lacking")
    lack = unmet(view, found.requests, silent)
    if lack is not None:
        return _stated(rule, lack[0], found, text + lack[1])
    if found.bound.limit is None:
        text += ", not judged"
    return _stated(rule, Reason.PASSED, found, text)


def _stated(rule: str, reason: Reason, found: _Compared, text: str) -> Finding:
    return finding(
        rule,
        reason,
        text,
        observed=found.value.value,
        baseline=found.bound.base,
        limit=found.bound.limit,
        samples=found.requests,
    )
