"""Evidence that builds up over the batches of one release.

M = E_release / 2 + (sum of all batches' E) / (2 B), of B batches; a batch that has not begun has an E of 1. Each E
has an expectation of at most 1, and so has M: the release fails when M reaches 1 / alpha. That a single batch fails
alone at 2 B / alpha follows.

E_release sets all nodes upgraded so far against all that are not. It goes on from batch to batch by alternative,
with each batch's null widened to the widest so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from bumpless.common.sequential.eprocess import ALTERNATIVES, log_sum


@dataclass(frozen=True, slots=True)
class CarriedKind:
    """E_release of one kind at the end of a batch: `EProcess.logs`, and the null it was under."""

    name: str
    logs: tuple[float, ...] = (0.0,) * len(ALTERNATIVES)
    odds: float = 1.0
    tempering: float = 1.0


@dataclass(frozen=True, slots=True)
class Carried:
    """What earlier batches leave to the next. `batches`: log E of each that is over; `startup`: log of the product
    of their start-up tests' evidence.
    """

    batches: tuple[float, ...] = ()
    kinds: tuple[CarriedKind, ...] = ()
    startup: float = 0.0

    def kind(self, name: str) -> CarriedKind:
        return next((kind for kind in self.kinds if kind.name == name), CarriedKind(name))


def log_m(log_release: float, log_batch: float, earlier: Sequence[float], batches: int) -> float:
    """log M. More batches than were announced (`batches`) count as announced: the bound is then a little weaker."""
    count = max(batches, len(earlier) + 1)
    to_come = count - len(earlier) - 1
    sums = [log_batch, *earlier, *([log(to_come)] if to_come else [])]
    return log_sum((log_release - log(2), log_sum(sums) - log(2 * count)))
