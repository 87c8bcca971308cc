"""Where a value is going: the slope of Theil and Sen, and whether it is more than chance (Mann and Kendall).

Robust to single outliers, and a forecast all the same: there is no bound on how often it is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median

LEAST_READINGS = 10
MOST_READINGS = 120
"""Of more readings every second one is left out, and so on: the pairs grow with the square."""
CHANCE_Z = 2.326
"""One-sided 1 %."""

Points = Sequence[tuple[float, float]]
"""Seconds and value, by time."""


@dataclass(frozen=True)
class Forecast:
    """`slope` per second; `level` is the fitted value at the last reading; `certain`: more than chance."""

    slope: float
    level: float
    certain: bool

    def reaches_in(self, limit: float, *, up: bool) -> float | None:
        """Seconds from the last reading until `limit`; 0: it is there; None: never, as it goes now."""
        if (self.level >= limit) if up else (self.level <= limit):
            return 0.0
        if not self.certain or (self.slope <= 0 if up else self.slope >= 0):
            return None
        return (limit - self.level) / self.slope


def forecast(points: Points) -> Forecast | None:
    """The trend of `points`; None: too few to tell."""
    stride = -(-len(points) // MOST_READINGS) if points else 1
    kept = points[(len(points) - 1) % stride :: stride] if points else points
    if len(kept) < LEAST_READINGS:
        return None
    slopes: list[float] = []
    sign = 0
    for index, (at, value) in enumerate(kept):
        for later, found in kept[index + 1 :]:
            if later > at:
                slopes.append((found - value) / (later - at))
                sign += (found > value) - (found < value)
    if not slopes:
        return None
    slope = median(slopes)
    level = median(value + slope * (kept[-1][0] - at) for at, value in kept)
    count = len(kept)
    z = (abs(sign) - 1) / sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return Forecast(slope, level, z >= CHANCE_Z)
