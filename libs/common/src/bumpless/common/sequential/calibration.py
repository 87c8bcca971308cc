"""What the half hour before a batch says about its nodes: how unlike their peers they are, and how bursty.

Both ran the earlier version then, so every difference between them is no fault of the release. What is found is
frozen when the batch starts; a test that used the judged ticks themselves for it would lose its guarantee.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import NamedTuple


class Pair(NamedTuple):
    """One kind of event in one tick: `n`, `m` requests and `x`, `y` events of canary and control."""

    n: float
    m: float
    x: float
    y: float


NOTHING = Pair(0.0, 0.0, 0.0, 0.0)
DRIFT_WINDOW_S = 120.0
BURST_WINDOW_S = 30.0
_PSEUDO_EVENTS = 10.0
_RHO_MOST = 2.0
_TEMPER_MOST = 20.0
_DRIFT_WIDTH = 2.5
"""How many standard deviations of the nodes' drift the null covers."""
_LEAST_DRIFT_WINDOWS = 4
_LEAST_BURST_WINDOWS = 10
_LEAST_EVENTS = 8


@dataclass(frozen=True, slots=True)
class Calibration:
    """`rho` is the odds ratio of canary to control under the earlier version, at least 1; `free` is the same where
    the canary may also be the better one; `tolerance` is what the null allows on top of `rho`; `tempering` <= 1.
    """

    rho: float = 1.0
    free: float = 1.0
    tolerance: float = 1.0
    tempering: float = 1.0

    @property
    def odds(self) -> float:
        """The null's odds ratio."""
        return self.rho * self.tolerance


def calibrate(history: Sequence[Pair], tolerance: float, interval_s: float) -> Calibration:
    """From ticks of `interval_s` in which both sides ran the earlier version.

    `tolerance` is the least that the null allows. Without requests on both sides: nothing but that.
    """
    n, m, x, y = _sum(history)
    if n <= 0 or m <= 0:
        return Calibration(tolerance=tolerance)
    expected_x, expected_y = n * (x + y) / (n + m), m * (x + y) / (n + m)
    ratio = ((x + _PSEUDO_EVENTS) / (expected_x + _PSEUDO_EVENTS)) / (
        (y + _PSEUDO_EVENTS) / (expected_y + _PSEUDO_EVENTS)
    )
    free = min(_RHO_MOST, max(1 / _RHO_MOST, ratio))
    rho = max(1.0, free)
    drift = _drift([_log_odds(pair) for pair in _windows(history, DRIFT_WINDOW_S, interval_s)])
    bursts = [_dispersion(pair, rho) for pair in _windows(history, BURST_WINDOW_S, interval_s)]
    return Calibration(rho, free, max(tolerance, drift), _tempering(bursts))


def calibrate_alone(history: Sequence[Pair], tolerance: float, interval_s: float) -> Calibration:
    """The same where there is no control: the nodes against their own mean over the whole of `history`."""
    n, _, x, _ = _sum(history)
    if n <= 0:
        return Calibration(tolerance=tolerance)
    rate = x / n
    against = [Pair(pair.n, n, pair.x, x) for pair in history if pair.n > 0]
    drift = _drift([_log_odds(pair) for pair in _windows(against, DRIFT_WINDOW_S, interval_s)])
    bursts = [
        (pair.x - pair.n * rate) ** 2 / (pair.n * rate * (1 - rate)) if 0 < rate < 1 and pair.n > 0 else None
        for pair in _windows(history, BURST_WINDOW_S, interval_s)
    ]
    return Calibration(tolerance=max(tolerance, drift), tempering=_tempering(bursts))


def _sum(pairs: Sequence[Pair]) -> Pair:
    if not pairs:
        return NOTHING
    columns = zip(*pairs, strict=True)
    return Pair(*(sum(column) for column in columns))


def _windows(history: Sequence[Pair], seconds: float, interval_s: float) -> Iterator[Pair]:
    """Sums over stretches of `seconds` that do not overlap; what is left at the end is left out."""
    ticks = max(1, round(seconds / interval_s))
    for start in range(0, len(history) - ticks + 1, ticks):
        yield _sum(history[start : start + ticks])


def _log_odds(pair: Pair) -> float | None:
    """log-odds-ratio squared less its sampling variance; None: too few events to tell."""
    n, m, x, y = pair
    if x + y < _LEAST_EVENTS or n <= 0 or m <= 0:
        return None
    well, well_there = n - x + 0.5, m - y + 0.5
    found = log((x + 0.5) / well) - log((y + 0.5) / well_there)
    return found * found - (1 / (x + 0.5) + 1 / well + 1 / (y + 0.5) + 1 / well_there)


def _drift(squares: Sequence[float | None]) -> float:
    """exp(2.5 s), with s squared what the nodes differ by from window to window beyond chance, less one error."""
    found = [square for square in squares if square is not None]
    if len(found) < _LEAST_DRIFT_WINDOWS:
        return 1.0
    mean = sum(found) / len(found)
    error = sqrt(sum((square - mean) ** 2 for square in found)) / len(found)
    return exp(_DRIFT_WIDTH * sqrt(max(0.0, mean - error)))


def _dispersion(pair: Pair, rho: float) -> float | None:
    """Pearson's statistic of one window; None: nothing to disperse."""
    n, m, x, y = pair
    if n <= 0 or m <= 0 or x + y <= 0:
        return None
    share = n * rho / (n * rho + m)
    return (x - (x + y) * share) ** 2 / ((x + y) * share * (1 - share))


def _tempering(dispersions: Sequence[float | None]) -> float:
    """1 / the mean dispersion, from 1/20 to 1."""
    found = [value for value in dispersions if value is not None]
    mean = sum(found) / len(found) if len(found) >= _LEAST_BURST_WINDOWS else 1.0
    return 1 / min(_TEMPER_MOST, max(1.0, mean))
