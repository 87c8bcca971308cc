"""Quantiles from cumulative histogram buckets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bumpless.health_gate.window import Family


@dataclass(frozen=True)
class Quantile:
    """An estimate in the histogram's unit. `beyond`: it lies above the last bound, which is `value`."""

    value: float
    beyond: bool = False


@dataclass(frozen=True)
class Histogram:
    """`cumulative[i]` requests took at most `bounds[i]`; the bounds rise and the last one is infinite."""

    bounds: Sequence[float]
    cumulative: Sequence[float]

    @property
    def requests(self) -> float:
        return self.cumulative[-1]

    def quantile(self, q: float) -> Quantile | None:
        """The `q` quantile by linear interpolation within its bucket, as Prometheus' `histogram_quantile` has it.

        None: no requests, or no finite bound.
        """
        if self.requests <= 0 or len(self.bounds) < 2:
            return None
        rank = q * self.requests
        index = next(i for i, count in enumerate(self.cumulative) if count >= rank)
        if math.isinf(self.bounds[index]):
            return Quantile(self.bounds[-2], beyond=True)
        low, below = (self.bounds[index - 1], self.cumulative[index - 1]) if index else (0.0, 0.0)
        if index == 0 and self.bounds[0] <= 0:
            return Quantile(self.bounds[0])
        inside = self.cumulative[index] - below
        share = (rank - below) / inside if inside > 0 else 1.0
        return Quantile(low + (self.bounds[index] - low) * share)

    def above(self, limit: float) -> float:
        """About how many requests took longer than `limit`, by the same interpolation.

        Where `limit` is not below the last finite bound: how many lie beyond that bound, which is at most.
        """
        low, below = 0.0, 0.0
        for bound, count in zip(self.bounds, self.cumulative, strict=True):
            if math.isinf(bound):
                break
            if limit < bound:
                share = max(0.0, (limit - low) / (bound - low))
                return self.requests - (below + (count - below) * share)
            low, below = bound, count
        return self.requests - below


def pooled(families: Iterable[Family]) -> Histogram | None:
    """One histogram from the bucket increases of several instances; None: none of them has usable buckets.

    Only bounds that all of them have are kept; an instance without `+Inf` says nothing about how many requests
    there were and is refused as a whole (None).
    """
    found: list[Mapping[float, float]] = []
    for family in families:
        buckets: dict[float, float] = {}
        for labels, value in family.items():
            try:
                bound = float(dict(labels)["le"])
            except (KeyError, ValueError):
                continue
            buckets[bound] = buckets.get(bound, 0.0) + value
        if math.inf not in buckets:
            return None
        found.append(buckets)
    if not found:
        return None
    bounds = sorted(b for b in set.intersection(*(set(buckets) for buckets in found)) if not math.isnan(b))
    cumulative: list[float] = []
    for bound in bounds:
        here = sum(buckets[bound] for buckets in found)
        cumulative.append(max(here, cumulative[-1]) if cumulative else here)
    return Histogram(bounds, cumulative)
