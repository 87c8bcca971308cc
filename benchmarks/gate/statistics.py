"""Quantiles of delays some of which never ended."""

from __future__ import annotations

import math
from collections.abc import Sequence


def quantile(delays: Sequence[float | None], q: float) -> float | None:
    """The least delay that the share `q` of all runs did not exceed; None: not so many ended (None in `delays`)."""
    if not delays:
        return None
    ordered = sorted(math.inf if delay is None else delay for delay in delays)
    found = ordered[max(0, math.ceil(q * len(ordered)) - 1)]
    return None if math.isinf(found) else found
