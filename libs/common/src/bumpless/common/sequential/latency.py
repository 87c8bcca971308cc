"""Slow requests as events: which bucket bound of a histogram stands for a quantile, and what a shift in time means.

A quantile is never interpolated: what is counted is how many requests took longer than a bound that the histogram
has. Only the tolerance is: a latency that grows by a tenth moves about so much of the distribution over the bound
as a straight line through the log-odds at this bound and the one below says.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

_LEAST_STEP = 0.1
_LEAST, _MOST = 1.2, 3.0
_LEAST_CRITICAL = 1.5
"""A bound that a critical shift hardly moves would make good and bad look alike, and a pass would take for ever."""


def boundary(exceedance: Sequence[float], quantile: float) -> int | None:
    """The index of the bound that the share 1 - `quantile` of the history's requests exceeded most nearly.

    `exceedance[j]` is that share for bound j. None: every request exceeded every bound.
    """
    wanted = 1 - quantile
    usable = [index for index, share in enumerate(exceedance) if share < 1]
    # By ratio: 0.001 is not near to 0.01.
    return min(
        usable, key=lambda index: (abs(_logit(exceedance[index]) - _logit(wanted)), index), default=None
    )


def tolerance(exceedance: Sequence[float], bounds: Sequence[float], index: int, shift: float) -> float:
    """The odds ratio of exceeding `bounds[index]` that a latency `shift` times as long brings; 1.2 to 3."""
    here = _logit(exceedance[index])
    before = _logit(exceedance[index - 1] if index else 1.0)
    step = _LEAST_STEP
    if index and bounds[index - 1] > 0:
        step = max(_LEAST_STEP, log(bounds[index] / bounds[index - 1]))
    grown = (before - here) * min(1.0, log(shift) / step)
    return exp(min(log(_MOST), max(log(_LEAST), grown)))


def critical(exceedance: Sequence[float], bounds: Sequence[float], index: int, shift: float) -> float:
    """The odds ratio that the pass side rules out, as `tolerance`, but at least 1.5."""
    return max(_LEAST_CRITICAL, tolerance(exceedance, bounds, index, shift))


def far_below(exceedance: float, quantile: float) -> bool:
    """Whether a bound is exceeded so seldom that the quantile lies well within the bucket below it.

    There a longer latency hardly shows, and what can be said for a pass is that the quantile is still in that bucket.
    """
    return 3 * exceedance < 1 - quantile


def _logit(share: float) -> float:
    inside = min(1 - 1e-4, max(1e-4, share))
    return log(inside / (1 - inside))
