"""Gates as others have them, each from its documented rule, on the same traces. Where a choice is left, it favours
the peer; docs/gate-figures.md names sources and settings.

Every gate answers with the seconds from the switch to its first fail, by run; nan: it did not fail. All of them know
counts of canary and baseline by tick of 5 s and interpolate quantiles as Prometheus does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from bumpless.health_gate.offline.traffic import BOUNDS, CANARY, CONTROL, Array
from gate.grid import TICK_S, Traces

Flags = NDArray[np.bool_]
Gate = Callable[[Traces], Array]
MINUTE = round(60 / TICK_S)
WARM_UP = round(30 / TICK_S)


def quantile(requests: Array, slow: Array, q: float) -> Array:
    """`histogram_quantile` of the last axis: linear within a bucket, the last finite bound beyond it; nan: no requests."""
    below = requests[..., None] - slow
    rank = (q * requests)[..., None]
    inside = np.argmax(below >= rank, axis=-1)
    beyond = ~(below >= rank).any(axis=-1)
    bounds = np.array((0.0, *BOUNDS))
    under = np.concatenate([np.zeros((*requests.shape, 1)), below], axis=-1)
    low = np.take_along_axis(under, inside[..., None], -1)[..., 0]
    high = np.take_along_axis(under, inside[..., None] + 1, -1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(high > low, (rank[..., 0] - low) / (high - low), 1.0)
    found = bounds[inside] + (bounds[inside + 1] - bounds[inside]) * share
    answer: Array = np.where(requests > 0, np.where(beyond, BOUNDS[-1], found), np.nan)
    return answer


def rate(errors: Array, requests: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = errors / requests
    return found


def first(failed: Flags, at: Array) -> Array:
    """The moment of the first True by row, or nan."""
    return np.where(failed.any(axis=1), at[np.argmax(failed, axis=1)], np.nan)


def trailing(values: Array, start: int, ticks: int) -> Array:
    """Sums over the last `ticks` ticks, as far as they come after tick `start`."""
    total = np.cumsum(values[:, start:], axis=1)
    total[:, ticks:] = (
        total[:, ticks:] - total[:, :-ticks].copy() if total.shape[1] > ticks else total[:, ticks:]
    )
    return total


def minutes(values: Array, start: int) -> Array:
    """Sums of whole minutes from tick `start` on."""
    count = (values.shape[1] - start) // MINUTE
    kept = values[:, start : start + count * MINUTE]
    found: Array = kept.reshape(kept.shape[0], count, MINUTE, *kept.shape[2:]).sum(axis=2)
    return found


def tick_ends(count: int, start: int) -> Array:
    return np.asarray((start + np.arange(count) + 1) * TICK_S, dtype=np.float64)


def minute_ends(count: int, start: int) -> Array:
    return np.asarray((start + MINUTE * (np.arange(count) + 1)) * TICK_S, dtype=np.float64)


# The classic ratio rule: error rate > 3 x baseline and (or) p95 > 2 x baseline over five minutes, asked every tick.


def ratio(traces: Traces, *, both: bool, start: int) -> Array:
    """A baseline without errors makes any error infinitely many times as much, as in the rule's words."""
    window = 5 * MINUTE
    requests, errors = trailing(traces.requests, start, window), trailing(traces.errors, start, window)
    late = quantile(requests, trailing(traces.slow, start, window), 0.95)
    share = rate(errors, requests)
    more = share[..., CANARY] > 3 * share[..., CONTROL]
    slower = late[..., CANARY] > 2 * late[..., CONTROL]
    failed = (more & slower) if both else (more | slower)
    return first(failed, tick_ends(failed.shape[1], start))


# rate(http_requests_total{status=~"5.."}[2m]) > 0.1 for 1m: errors a second, whatever the traffic.


def promql(traces: Traces) -> Array:
    """Of the mean node of the canary: its series by node and status are noisier, and split what adds up here."""
    window = 2 * MINUTE
    errors = trailing(traces.errors[..., CANARY], 0, window)
    span = np.minimum(np.arange(errors.shape[1]) + 1, window) * TICK_S
    above = errors / span / traces.canary > 0.1
    held = trailing(above.astype(float), 0, MINUTE) >= MINUTE
    return first(held, tick_ends(held.shape[1], 0))


# Flagger: request-success-rate >= 99 %, request-duration P99 <= 500 ms over 1m; five failed checks, never forgiven.


def flagger(traces: Traces, threshold: int = 5) -> Array:
    requests, errors = minutes(traces.requests, 0)[..., CANARY], minutes(traces.errors, 0)[..., CANARY]
    late = quantile(requests, minutes(traces.slow, 0)[:, :, CANARY], 0.99)
    failed = (rate(errors, requests) > 0.01) | (late > 0.5) | (requests == 0)
    return first(failed.cumsum(axis=1) >= threshold, minute_ends(failed.shape[1], 0))


# Argo Rollouts with a condition against the baseline, once a minute after 30 s: three failed measurements in all
# (failureLimit 2), or three in a row (a consecutive rule, as many write it by hand).


def _worse(traces: Traces) -> Flags:
    requests, errors = minutes(traces.requests, WARM_UP), minutes(traces.errors, WARM_UP)
    late = quantile(requests, minutes(traces.slow, WARM_UP), 0.95)
    share = rate(errors, requests)
    found: Flags = (share[..., CANARY] > 1.5 * share[..., CONTROL] + 0.0005) | (
        late[..., CANARY] > 1.5 * late[..., CONTROL]
    )
    return found


def argo(traces: Traces) -> Array:
    failed = _worse(traces)
    return first(failed.cumsum(axis=1) >= 3, minute_ends(failed.shape[1], WARM_UP))


def consecutive(traces: Traces) -> Array:
    failed = _worse(traces)
    row = failed[:, 2:] & failed[:, 1:-1] & failed[:, :-2]
    return first(row, minute_ends(failed.shape[1], WARM_UP)[2:])


# Kayenta: Mann-Whitney between one-minute points of canary and baseline; score by groups; pass needs 75.


def kayenta(traces: Traces, *, every: int) -> Array:
    """Judged after a warm-up of a minute and five points, then every `every` minutes and at the end.

    Groups errors and latency weigh the same; latency is p50, p90 and p99. Below 75 (marginal) the release fails.
    """
    requests, errors = minutes(traces.requests, MINUTE), minutes(traces.errors, MINUTE)
    slow = minutes(traces.slow, MINUTE)
    metrics = [rate(errors, requests), *(quantile(requests, slow, q) for q in (0.5, 0.9, 0.99))]
    last = requests.shape[1]
    looks = sorted({*range(5, last + 1, every), last})
    failed = np.stack([_score(metrics, look) < 75 for look in looks], axis=1)
    return first(failed, np.array([(look + 1) * 60.0 for look in looks]))


def _score(metrics: list[Array], points: int) -> Array:
    high = [_high(values[:, :points, CANARY], values[:, :points, CONTROL]) for values in metrics]
    latency = 100 * (1 - np.mean(high[1:], axis=0))
    found: Array = 50 * (1 - high[0]) + 0.5 * latency
    return found


def _high(canary: Array, control: Array) -> Array:
    """Whether the lower end of the 98 % interval of the shift exceeds a quarter of its Hodges-Lehmann estimate."""
    shifts = np.sort((canary[:, :, None] - control[:, None, :]).reshape(len(canary), -1), axis=1)
    lower = shifts[:, max(1, wilcoxon_quantile(0.01, canary.shape[1], control.shape[1])) - 1]
    found: Array = (lower > 0.25 * np.abs(np.median(shifts, axis=1))).astype(float)
    return found


@lru_cache(maxsize=64)
def wilcoxon_quantile(p: float, m: int, n: int) -> int:
    """The least u with P(U <= u) >= p, for the Mann-Whitney statistic of m and n values without ties."""
    counts = np.zeros((n + 1, m * n + 1))
    counts[:, 0] = 1
    for _ in range(m):  # counts[j][u]: orders of as many values as rounds and j others with the statistic u
        for j in range(1, n + 1):
            shifted = np.zeros(m * n + 1)
            shifted[j:] = counts[j, : m * n + 1 - j]
            counts[j] = counts[j - 1] + shifted
    whole = np.cumsum(counts[n]) / counts[n].sum()
    return int(np.argmax(whole >= p))


PEERS: dict[str, Gate] = {
    "ratio AND, raw": partial(ratio, both=True, start=0),
    "ratio AND, 30 s warm-up": partial(ratio, both=True, start=WARM_UP),
    "ratio OR, 30 s warm-up": partial(ratio, both=False, start=WARM_UP),
    "PromQL rule": promql,
    "Flagger-like": flagger,
    "tuned, 3 in a row": consecutive,
    "Argo-like, 3 in all": argo,
    "Kayenta-like, every 5 min": partial(kayenta, every=5),
    "Kayenta-like, every minute": partial(kayenta, every=1),
}
