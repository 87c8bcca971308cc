"""The outcome of a gate, with the numbers it rests on."""

from __future__ import annotations

from enum import StrEnum

from bumpless.common.contract.base import Model


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Evidence(Model):
    """One rule's numbers at the decision: what was seen on the canary, on the baseline, and the bound.

    `samples` counts requests (or readings of a gauge) behind `observed`; None stands for "no data".
    """

    rule: str
    verdict: Verdict
    observed: float | None = None
    baseline: float | None = None
    limit: float | None = None
    samples: int = 0
    text: str = ""
