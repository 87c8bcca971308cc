"""Where a value is going: the Theil-Sen line, and whether it goes there by more than chance.

Sources: Theil 1950 and Sen 1968 for the line, Kendall 1938 for the test (normal approximation of S without ties).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


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
    import numpy as np  # half of what the service needs to start, and most fleets have no trends

    if len(points) < 2:
        return None
    at, values = np.array(points, dtype=float).T
    earlier, later = np.triu_indices(len(points), 1)
    apart = at[later] - at[earlier]
    slopes = (values[later] - values[earlier])[apart != 0] / apart[apart != 0]
    if not len(slopes):
        return None
    slope = float(np.median(slopes))
    level = float(np.median(values - slope * at))
    count = len(points)
    spread = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    score = max(0.0, abs(float(np.sign(slopes).sum())) - 1) / spread
    return Trend(slope, level, math.erfc(score / math.sqrt(2)) / 2)
