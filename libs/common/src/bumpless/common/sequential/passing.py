"""Evidence that the canary is good enough, tick by tick: the pass side.

`ReverseRatio` sets "as good as before" against "worse by the critical ratio". Its bound is approximate: events are
drawn without replacement within a tick, so the canary's share of them lies a little below the binomial one. That is
on the safe side of a fail, and on the other side of a pass. `BelowRate` asks an absolute question, whether the
error rate is below an objective, and is exact for independent requests.
"""

from __future__ import annotations

from math import log

from bumpless.common.sequential.eprocess import CAP, log_sum


class ReverseRatio:
    """Likelihood ratio of odds ratio `good` to `bad` (> `good`), tempered and capped as the fail side is."""

    __slots__ = ("_bad", "_good", "_log_ratio", "_tempering", "log_e")

    def __init__(self, good: float, bad: float, tempering: float = 1.0) -> None:
        self._good, self._bad, self._tempering = good, bad, tempering
        self._log_ratio = log(bad / good)
        self.log_e = 0.0

    def update(self, n: float, m: float, x: float, y: float) -> None:
        """One tick, as for `EProcess.update`."""
        events = x + y
        if n <= 0 or m <= 0 or events <= 0:
            return
        sums = log((n * self._bad + m) / (n * self._good + m))
        step = self._tempering * (events * sums - x * self._log_ratio)
        self.log_e += step if step < CAP else CAP


class BelowRate:
    """Evidence that the canary's error rate is below `rate` (0..1), without any control.

    The mean of two likelihood ratios, of half and of a tenth of `rate` against `rate`.
    """

    __slots__ = ("_logs", "_steps", "_tempering")

    def __init__(self, rate: float, tempering: float = 1.0) -> None:
        self._tempering = tempering
        self._steps = tuple((log(share), log((1 - rate * share) / (1 - rate))) for share in (0.5, 0.1))
        self._logs = [0.0, 0.0]

    def update(self, n: float, x: float) -> None:
        """One tick: `x` errors of `n` requests of the canary."""
        if n <= 0:
            return
        for index, (bad, good) in enumerate(self._steps):
            step = self._tempering * (x * bad + (n - x) * good)
            self._logs[index] += step if step < CAP else CAP

    @property
    def log_e(self) -> float:
        return log_sum(self._logs) - log(2)
