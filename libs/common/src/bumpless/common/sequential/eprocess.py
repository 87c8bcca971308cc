"""Evidence against "the canary is not worse", tick by tick, as e-processes.

An e-process is a number that starts at 1 and whose expectation never exceeds 1 while the null hypothesis holds, at
whatever moment one looks. By Ville's inequality it then ever reaches 1/alpha with a probability of at most alpha.

`EProcess` conditions on the totals of a tick. Of n + m requests x + y were events; were the odds of an event on
the canary at most `odds` times those of the control, x is at most binomial(x + y, p1) in increasing convex order,
with p1 = n odds / (n odds + m), so the likelihood ratio of any worse odds to `odds` has an expectation of at most 1.
A power of at most 1 (`tempering`), a cap, and the mean over alternatives keep that.

Sources: Lindon and Malek, arXiv:2011.03567; Turner, Ly and Grünwald, arXiv:2106.02693; the onset mixture: Shin,
Ramdas and Rinaldo, arXiv:2203.03532.

Not here: how `odds` and `tempering` are found (`calibration`), and how several of these are put together
(`combined`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import exp, log

ALTERNATIVES = (1.5, 2.0, 3.0, 6.0, 20.0)
"""How many times the null's odds ratio a bad canary may have: small faults to crashes."""
CAP = log(10.0)
"""No tick multiplies the evidence by more than ten, so that no single one can fail a release."""
_LOG_ALTERNATIVES = tuple(log(ratio) for ratio in ALTERNATIVES)
_LOG_COUNT = log(len(ALTERNATIVES))
_NEGLIGIBLE = 40.0
"""A term smaller than the largest by exp(-40) does not change a sum of doubles."""

STARTUP_LIMIT = 0.2
"""The error rate above which a start is broken, whatever the control does."""
_STARTUP_ALTERNATIVES = (0.5, 0.9)


def log_sum(logs: Sequence[float]) -> float:
    """log(sum(exp(v))) without overflow; -inf for nothing."""
    peak = max(logs, default=-math.inf)
    if peak == -math.inf or peak == math.inf:
        return peak
    floor = peak - _NEGLIGIBLE
    return peak + log(sum([exp(value - peak) for value in logs if value > floor]))


class EProcess:
    """E = mean over alternatives of the product of the ticks' likelihood ratios.

    `onset_ticks` K: the onset mixture, in which the fault may begin at any of the first K ticks (1/2 on the first,
    the rest evenly). It is quicker where a fault comes late, and alarms more often on transient troubles of nodes.
    """

    __slots__ = ("_logs", "_onset", "_spent", "_ticks", "odds", "tempering")

    def __init__(self, odds: float, tempering: float = 1.0, onset_ticks: int | None = None) -> None:
        self.odds = odds
        self.tempering = tempering
        self._onset = onset_ticks if onset_ticks is not None and onset_ticks > 1 else None
        self._ticks = 0
        self._spent = 1.0 if self._onset is None else 0.0
        start = 0.0 if self._onset is None else -math.inf
        self._logs = [start] * len(ALTERNATIVES)

    @classmethod
    def resumed(cls, logs: Sequence[float], odds: float, tempering: float) -> EProcess:
        """One without onset mixture that goes on from `logs` (`EProcess.logs`), with a new null."""
        found = cls(odds, tempering)
        found._logs = list(logs)
        return found

    @property
    def logs(self) -> tuple[float, ...]:
        """log of the product of likelihood ratios, by alternative."""
        return tuple(self._logs)

    def update(self, n: float, m: float, x: float, y: float) -> None:
        """One tick: `n`, `m` requests and `x`, `y` events of canary and control. Without either: a factor of 1."""
        if self._onset is not None:
            self._enter(self._onset)
        events = x + y
        if n <= 0 or m <= 0 or events <= 0:
            return
        # x log(pr/p1) + y log((1-pr)/(1-p1)), with p = n w / (n w + m), is x log r - events log(ratio of sums).
        worse, base, power, logs = n * self.odds, log(n * self.odds + m), self.tempering, self._logs
        for index, ratio in enumerate(ALTERNATIVES):
            step = power * (x * _LOG_ALTERNATIVES[index] - events * (log(worse * ratio + m) - base))
            logs[index] += step if step < CAP else CAP

    def _enter(self, onset: int) -> None:
        """Let in the share of the mixture whose fault begins at this tick."""
        self._ticks += 1
        if self._ticks > onset:
            return
        share = 0.5 if self._ticks == 1 else 0.5 / (onset - 1)
        self._spent += share
        self._logs = [log_sum((value, log(share))) for value in self._logs]

    @property
    def log_e(self) -> float:
        """log of the evidence; 0 before the first tick."""
        found = log_sum(self._logs) - _LOG_COUNT
        rest = 1.0 - self._spent
        return found if rest <= 1e-9 else log_sum((found, log(rest)))


class StartUp:
    """Evidence that the canary's error rate is above STARTUP_LIMIT; from the switch on, and without any control.

    `n`, `x`: the requests and errors so far.
    """

    __slots__ = ("_logs", "n", "x")
    _STEPS = tuple(
        (log(rate / STARTUP_LIMIT), log((1 - rate) / (1 - STARTUP_LIMIT))) for rate in _STARTUP_ALTERNATIVES
    )

    def __init__(self) -> None:
        self._logs = [0.0] * len(_STARTUP_ALTERNATIVES)
        self.n = self.x = 0.0

    def update(self, n: float, x: float) -> None:
        """One tick: `x` errors of `n` requests of the canary."""
        if n <= 0:
            return
        self.n += n
        self.x += x
        for index, (bad, good) in enumerate(self._STEPS):
            step = x * bad + (n - x) * good
            self._logs[index] += step if step < CAP else CAP

    @property
    def log_e(self) -> float:
        return log_sum(self._logs) - log(len(self._logs))
