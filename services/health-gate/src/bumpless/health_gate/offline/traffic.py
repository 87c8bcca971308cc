"""Simulated traffic of a canary and its peers, counted by tick: what `gate simulate` and the benchmark judge.

Requests come as a Poisson stream to every node, errors and latencies are independent given the node and the moment,
latencies are log-normal. `Noise` says what else goes on, although nothing is wrong with the release. Seeded: the same
generator state gives the same counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Finite bucket bounds in seconds: what Prometheus' client libraries have by default."""
CANARY, CONTROL = 0, 1
SIGMA = 0.8
"""Of log latency: the 99th percentile is six times the median."""
_KNOT_S = 60.0


@dataclass(frozen=True)
class Traffic:
    """`rps` requests a second reach every node; `error_rate` of them (0..1) fail in the old version."""

    rps: float
    canary: int
    control: int
    error_rate: float = 0.005
    median_s: float = 0.06
    sigma: float = SIGMA


@dataclass(frozen=True)
class Noise:
    """What happens to nodes whatever they run. Rates are per hour; `_e` is about errors, `_l` about latency.

    `spread`: standard deviation of the nodes' lasting log factors. `drift`: the same, changing from minute to minute.
    `blips` strike all nodes at once, `bursts` one: both multiply errors and latency while they last. `flips`: nodes
    fall into a state with more errors and leave it again. `jobs` slow one node down for minutes. `cold`: how many
    times more errors and latency a node has just after it was started, fading by e every ten seconds.
    """

    spread_e: float = 0.0
    spread_l: float = 0.0
    drift_e: float = 0.0
    drift_l: float = 0.0
    load: float = 0.0
    blips: float = 0.0
    blip_s: tuple[float, float] = (10.0, 40.0)
    blip_e: float = 1.0
    blip_l: float = 1.0
    bursts: float = 0.0
    burst_s: tuple[float, float] = (5.0, 15.0)
    burst_e: float = 1.0
    burst_l: float = 1.0
    flips: float = 0.0
    flip_s: float = 20.0
    flip_e: float = 1.0
    jobs: float = 0.0
    job_s: tuple[float, float] = (120.0, 300.0)
    job_l: float = 1.0
    cold_e: float = 0.0
    cold_l: float = 0.0


_REAL = Noise(
    spread_e=0.10, spread_l=0.03, drift_e=0.05, drift_l=0.02, load=0.1, cold_e=6.0, cold_l=2.0,
    blips=6, blip_e=5.0, blip_l=1.5, bursts=1, burst_e=5.0, burst_l=1.5,
)  # fmt: skip
NOISES = {
    "none": Noise(),
    "real": _REAL,
    "hostile": Noise(
        spread_e=0.20, spread_l=0.06, drift_e=0.10, drift_l=0.04, load=0.2, cold_e=6.0, cold_l=2.0,
        blips=12, blip_e=10.0, blip_l=2.0, bursts=4, burst_e=10.0, burst_l=2.0,
    ),
    "unseen": Noise(
        spread_e=0.10, spread_l=0.03, load=0.1, cold_e=6.0, cold_l=2.0,
        flips=10, flip_s=20.0, flip_e=4.0, jobs=1, job_l=1.15,
    ),
}  # fmt: skip
"""By name. `real` is what a quiet fleet shows, `hostile` twice that and more, `unseen` is of another kind: no gate's
settings were chosen with it."""


@dataclass(frozen=True)
class Fault:
    """What the new version does. `onset_s`: so long after the switch it begins. `odds`: multiplies the odds of an
    error instead of its rate, which is what a null hypothesis about odds has at its boundary."""

    errors: float = 1.0
    latency: float = 1.0
    crash: bool = False
    odds: float = 1.0
    onset_s: float = 0.0


HEALTHY = Fault()


@dataclass(frozen=True)
class Drawn:
    """Counts by tick, the first `history` of them before the switch. `[tick, CANARY or CONTROL]`.

    `slow[tick, side, j]` requests took longer than BOUNDS[j]. `restarts[tick, node]` (cumulative) and `up` are the
    canary nodes' after the switch.
    """

    history: int
    interval_s: float
    requests: Array
    errors: Array
    slow: Array
    restarts: Array
    up: NDArray[np.bool_]

    @property
    def after(self) -> int:
        """How many ticks there are after the switch."""
        return len(self.requests) - self.history


def draw(
    traffic: Traffic,
    noise: Noise,
    fault: Fault,
    rng: np.random.Generator,
    *,
    history: int = 360,
    after: int = 180,
    interval_s: float = 5.0,
) -> Drawn:
    """One batch: `history` ticks in which all nodes run the old version, then `after` with a new canary."""
    ticks, nodes = history + after, traffic.canary + traffic.control
    errors, latency = np.ones((ticks, nodes)), np.ones((ticks, nodes))
    _disturb(noise, rng, errors, latency, interval_s)
    since = np.arange(after) * interval_s
    new = (slice(history, None), slice(0, traffic.canary))
    cold = np.exp(-since / 10.0)[:, None]
    errors[new] *= 1 + noise.cold_e * cold
    latency[new] *= 1 + noise.cold_l * cold
    wrong = (since >= fault.onset_s)[:, None]
    errors[new] *= np.where(wrong, fault.errors, 1.0)
    latency[new] *= np.where(wrong, fault.latency, 1.0)
    share = np.minimum(1.0, traffic.error_rate * errors)
    if fault.odds != 1.0:
        odds = share[new] / (1 - share[new]) * np.where(wrong, fault.odds, 1.0)
        share[new] = odds / (1 + odds)
    restarts, down = np.zeros((after, traffic.canary)), np.zeros((after, traffic.canary))
    up = np.ones((after, traffic.canary), dtype=bool)
    if fault.crash:
        for node in range(traffic.canary):
            _crash(rng, fault.onset_s, interval_s, restarts[:, node], down[:, node], up[:, node])
        share[new] = down + (1 - down) * share[new]
    weight = traffic.rps * interval_s * _load(noise, rng, ticks, nodes, interval_s)
    beyond = exceedance(traffic.median_s * latency[:, :, None], traffic.sigma)
    sides = (slice(0, traffic.canary), slice(traffic.canary, None))
    requests, bad = np.empty((ticks, 2)), np.empty((ticks, 2))
    slow = np.empty((ticks, 2, len(BOUNDS)))
    for side, part in enumerate(sides):
        rates = np.einsum("tn,tnk->tk", weight[:, part], beyond[:, part])
        all_of = weight[:, part].sum(axis=1)
        inside = -np.diff(np.concatenate([all_of[:, None], rates, np.zeros((ticks, 1))], axis=1), axis=1)
        counts = rng.poisson(np.maximum(inside, 0.0))
        requests[:, side] = counts.sum(axis=1)
        slow[:, side] = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        with np.errstate(invalid="ignore"):
            mean = np.where(all_of > 0, (weight[:, part] * share[:, part]).sum(axis=1) / all_of, 0.0)
        bad[:, side] = rng.binomial(requests[:, side].astype(np.int64), np.clip(mean, 0.0, 1.0))
    return Drawn(history, interval_s, requests, bad, slow, restarts, up)


def _disturb(noise: Noise, rng: np.random.Generator, errors: Array, latency: Array, tick_s: float) -> None:
    ticks, nodes = errors.shape
    for into, spread, drift in (
        (errors, noise.spread_e, noise.drift_e),
        (latency, noise.spread_l, noise.drift_l),
    ):
        if spread:
            into *= np.exp(spread * rng.standard_normal(nodes))
        if drift:
            into *= np.exp(drift * _smooth(rng, ticks, nodes, tick_s))
    everyone = slice(None)
    for when in _spells(rng, noise.blips, noise.blip_s, ticks, tick_s):
        errors[when, everyone] *= noise.blip_e
        latency[when, everyone] *= noise.blip_l
    for node in range(nodes):
        for when in _spells(rng, noise.bursts, noise.burst_s, ticks, tick_s):
            errors[when, node] *= noise.burst_e
            latency[when, node] *= noise.burst_l
        for when in _spells(rng, noise.flips, (noise.flip_s, noise.flip_s), ticks, tick_s, random=True):
            errors[when, node] *= noise.flip_e
        for when in _spells(rng, noise.jobs, noise.job_s, ticks, tick_s):
            latency[when, node] *= noise.job_l


def _spells(
    rng: np.random.Generator,
    per_hour: float,
    lasts: tuple[float, float],
    ticks: int,
    tick_s: float,
    *,
    random: bool = False,
) -> list[slice]:
    """When something was going on; `random`: for exponential times with the mean `lasts[0]`."""
    if not per_hour:
        return []
    count = rng.poisson(per_hour * ticks * tick_s / 3600)
    starts = rng.integers(0, ticks, count)
    lengths = rng.exponential(lasts[0], count) if random else rng.uniform(*lasts, count)
    return [
        slice(int(start), int(start) + max(1, round(length / tick_s)))
        for start, length in zip(starts, lengths, strict=True)
    ]


def _load(noise: Noise, rng: np.random.Generator, ticks: int, nodes: int, tick_s: float) -> Array:
    """Factors of the traffic: one that all share, and one of each node."""
    if not noise.load:
        return np.ones((ticks, nodes))
    shared = noise.load * _smooth(rng, ticks, 1, tick_s)
    own: Array = np.exp(shared + 0.5 * noise.load * rng.standard_normal((ticks, nodes)))
    return own


def _smooth(rng: np.random.Generator, ticks: int, columns: int, tick_s: float) -> Array:
    """Standard normal values, one a minute, and straight lines between them."""
    weights = _lines(ticks, tick_s)
    found: Array = weights @ rng.standard_normal((weights.shape[1], columns))
    return found


@lru_cache(maxsize=8)
def _lines(ticks: int, tick_s: float) -> Array:
    at = np.arange(ticks) * tick_s / _KNOT_S
    knots = math.ceil(at[-1]) + 2
    distance = np.abs(at[:, None] - np.arange(knots)[None, :])
    weights: Array = np.maximum(0.0, 1 - distance)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return weights


def _crash(
    rng: np.random.Generator,
    onset_s: float,
    tick_s: float,
    restarts: Array,
    down: Array,
    up: NDArray[np.bool_],
) -> None:
    """A process that lives for 2 to 10 s again and again; it is started after 1, 2, 4, ... s."""
    end = len(down) * tick_s
    at, delay, count = onset_s + rng.uniform(2.0, 10.0), 1.0, 0
    while at < end:
        back = min(end, at + delay)
        for tick in range(int(at // tick_s), min(len(down), math.ceil(back / tick_s))):
            down[tick] += (min(back, (tick + 1) * tick_s) - max(at, tick * tick_s)) / tick_s
            up[tick] &= not at <= (tick + 1) * tick_s < back
        count += 1
        restarts[min(len(down), int(back // tick_s)) :] = count
        at, delay = back + rng.uniform(2.0, 10.0), min(60.0, 2 * delay)


_GRID = np.linspace(-9.0, 9.0, 4001)
_TAIL = np.array([0.5 * math.erfc(z / math.sqrt(2)) for z in _GRID])


def exceedance(median_s: Array | float, sigma: float = SIGMA) -> Array:
    """The share of requests that take longer than each of BOUNDS, along a new (or the last, of length 1) axis."""
    found: Array = np.interp((np.log(BOUNDS) - np.log(median_s)) / sigma, _GRID, _TAIL)
    return found
