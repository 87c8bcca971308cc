"""The outcome of a gate, why, and the numbers it rests on."""

from __future__ import annotations

from enum import StrEnum

from bumpless.common.contract.base import Model


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Reason(StrEnum):
    """Why a gate, or one rule of it, says what it says.

    `passed`: within its limits. `regression`, `crash_loop`, `version_mismatch`, `down`: the causes of a fail.
    `no_data`: something that was to be seen was not. `low_traffic`: too few requests to tell. `baseline_missing`:
    nothing to compare with. `baseline_unstable`: the nodes differed from their peers before the batch already.
    `deadline`: the time was over before the rule could tell.
    """

    PASSED = "passed"
    REGRESSION = "regression"
    CRASH_LOOP = "crash_loop"
    VERSION_MISMATCH = "version_mismatch"
    DOWN = "down"
    NO_DATA = "no_data"
    LOW_TRAFFIC = "low_traffic"
    BASELINE_MISSING = "baseline_missing"
    BASELINE_UNSTABLE = "baseline_unstable"
    DEADLINE = "deadline"


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
