"""How many requests of a canary a fault of a given size takes to be found: the formula, without a simulation.

The evidence for a fault grows by the divergence between what a faulty canary's share of the events is and what the
null allows, for each event of either side. Fitted on faults of two and three times the errors, before a null is
widened for nodes that drift: a bake wants a margin over it.
"""

from __future__ import annotations

from math import ceil, log

_FIT = 1.4
_HURDLE = 11.0
"""Five alternatives and a weight of 0.45: what the evidence has to make up for beside 1 / alpha."""
LEAST_TICKS = 4
"""A tick multiplies the evidence by at most ten, so that it takes so many at least."""


def requests_needed(
    rate: float, ratio: float, canary: int, control: int, alpha: float, allowed: float = 1.2
) -> float:
    """Canary requests until events of `rate` (0..1, of the old version) that became `ratio` times as many are found.

    `alpha` is the false-alarm probability of the batch. inf: the null allows such a fault.
    """
    share = canary / (canary + control)
    wrong, null = _share(share, ratio), _share(share, allowed)
    if ratio <= allowed:
        return float("inf")
    divergence = wrong * log(wrong / null) + (1 - wrong) * log((1 - wrong) / (1 - null))
    return _FIT * log(_HURDLE / alpha) / (rate * (ratio + (1 - share) / share) * divergence)


def seconds_needed(requests: float, rps: float, canary: int, interval_s: float, warm_up_s: float) -> float:
    """From the switch on: the warm-up, then whole ticks, at least LEAST_TICKS of them."""
    ticks = max(LEAST_TICKS, ceil(requests / (rps * canary * interval_s)))
    return warm_up_s + ticks * interval_s


def _share(share: float, ratio: float) -> float:
    """The canary's share of the events where it has `ratio` times as many."""
    return share * ratio / (share * ratio + 1 - share)
