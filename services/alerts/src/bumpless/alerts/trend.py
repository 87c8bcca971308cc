"""Where a value is going: the Theil-Sen line, and whether it goes there by more than chance.

Sources: Theil 1950 and Sen 1968 for the line, Kendall 1938 for the test (normal approximation of S without ties).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Trend:
    """`slope` per second, `level` now, and `chance`: how often so clear a direction comes about without one."""

    slope: float
    level: float
    chance: float

    def ahead(self, seconds: float) -> float:
        return self.level + self.slope * seconds


def trend(points: Sequence[tuple[float, float]]) -> Trend | None:
    """The line through `points` (seconds before now, negative; value); None: fewer than two moments."""
    slopes: list[float] = []
    agreement = 0
    for number, (at, value) in enumerate(points):
        for earlier, before in points[:number]:
            if at == earlier:
                continue
            slope = (value - before) / (at - earlier)
            slopes.append(slope)
            agreement += (slope > 0) - (slope < 0)
    if not slopes:
        return None
    slope = median(slopes)
    level = median(value - slope * at for at, value in points)
    count = len(points)
    spread = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    score = max(0, abs(agreement) - 1) / spread
    return Trend(slope, level, math.erfc(score / math.sqrt(2)) / 2)
