"""What the canary of a gate is compared with."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from bumpless.common.contract.base import StrictModel
from bumpless.common.model.gate_rules import RuleName


def _text_keys(found: Any) -> Any:
    """Bounds as text, as they are on the wire; in YAML they may be numbers."""
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else found


class Pinned(StrictModel):
    """What one rule counted once, at a time that is taken as good: the sum over all nodes.

    `bad` of `requests`; and, or, `buckets`: a cumulative histogram, upper bounds in seconds to counts, with "+Inf".
    """

    requests: float | None = Field(default=None, gt=0)
    bad: float | None = Field(default=None, ge=0)
    buckets: Annotated[dict[str, float], BeforeValidator(_text_keys)] = Field(
        default={}, exclude_if=lambda found: not found
    )

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if (self.requests is None) is not (self.bad is None):
            raise ValueError("expected both requests and bad, found one of them")
        if self.requests is None and not self.buckets:
            raise ValueError("expected requests and bad, or buckets, found neither")
        if self.requests is not None and self.bad is not None and self.bad > self.requests:
            raise ValueError(
                f"expected at most as many bad as requests, found {self.bad:g} of {self.requests:g}"
            )
        if self.buckets:
            _check_buckets(self.cumulative)
        return self

    @property
    def cumulative(self) -> dict[float, float]:
        """The buckets by their bounds, rising."""
        try:
            found = {float(bound): count for bound, count in self.buckets.items()}
        except ValueError as error:
            raise ValueError(f"expected bounds that are numbers: {error}") from error
        return dict(sorted(found.items()))


def _check_buckets(found: dict[float, float]) -> None:
    bounds, counts = list(found), list(found.values())
    if any(math.isnan(bound) for bound in bounds) or len(bounds) < 2 or not math.isinf(bounds[-1]):
        raise ValueError('expected a finite bound and "+Inf" in buckets, found no two of such')
    if counts[0] < 0 or counts[-1] <= 0 or any(later < earlier for earlier, later in pairwise(counts)):
        raise ValueError("expected cumulative buckets, of which none has less than a lower one, found others")


class Baseline(StrictModel):
    """What the canary is compared with.

    `concurrent` compares with nodes that still run the earlier version in the same window, and falls back to the
    batch's own nodes before their switch where there are none; `self_history` always takes the latter; `pinned`
    always takes the numbers in `pinned`, which are there for every rule, by its name, that compares requests.
    `history_s` is how far back the past reaches, as a baseline and for the sequential rules' calibration; left out,
    it is half an hour in a gate with sequential rules and a minute in any other. An instance that is younger than
    `least_age_s` is no peer for a sequential rule while older ones are there. `required` False is for first installs: where neither
    exists, rules that compare are judged by what is absolute in them (`floor` of an error rate, `max_s`,
    `max_value`) or not at all, and say so; True makes the gate inconclusive instead.
    """

    mode: Literal["concurrent", "self_history", "pinned"] = "concurrent"
    history_s: float = Field(default=60, gt=0)
    required: bool = True
    least_age_s: float = Field(default=600, ge=0, exclude_if=lambda age: age == 600)
    pinned: dict[RuleName, Pinned] = Field(default={}, exclude_if=lambda found: not found)

    @model_validator(mode="after")
    def _pins_what_it_uses(self) -> Self:
        if self.pinned and self.mode != "pinned":
            raise ValueError(f"expected mode: pinned beside pinned numbers, found {self.mode}")
        return self
