"""The outcome of a gate, why, and the numbers it rests on."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from bumpless.common.contract.base import Instant, Model


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Reason(StrEnum):
    """Why a gate, or one rule of it, says what it says.

    `passed`: within its limits. `regression`, `crash_loop`, `version_mismatch`, `down`: the causes of a fail.
    `no_data`: something that was to be seen was not. `low_traffic`: too few requests to tell. `baseline_missing`:
    nothing to compare with. `limit_crossed`: a rule that may only pause is broken. `baseline_unstable`: the nodes differed from their peers before the batch already.
    `deadline`: the time was over before the rule could tell. `probe_failed`, `dependency_down`: what the
    nodes tried out for the gate did not work, so it is a fail.
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
    LIMIT_CROSSED = "limit_crossed"
    DEADLINE = "deadline"
    PROBE_FAILED = "probe_failed"
    DEPENDENCY_DOWN = "dependency_down"


class KindEvidence(Model):
    """One kind of event under sequential test: errors, or requests slower than `above_s`.

    `n`, `m` are the requests and `x`, `y` the events of canary and control in the judged time. `odds` is the odds
    ratio that the null allows, of which `rho` is what the canary's nodes had before; `tempering` <= 1 discounts
    bursts. `log_e` is the evidence (natural logarithm) for a fail, `log_pass` that for a pass.
    """

    name: str
    n: float
    m: float
    x: float
    y: float
    odds: float
    rho: float
    tempering: float
    log_e: float
    log_pass: float | None = None
    above_s: float | None = None


class Curve(Model):
    """The evidence as it grew: `log_m[i]` after the tick that ended at `since` + (i + 1) x `step_s`.

    `bound` is what it is held against. All are natural logarithms.
    """

    since: Instant
    step_s: float
    bound: float
    log_m: tuple[float, ...]


class SequentialEvidence(Model):
    """What a sequential test rests on, enough to draw it again.

    `alpha` is the share of the release's that this component has, `batches` how many share it. `log_batch` and
    `log_release` are the evidence of this batch and of all so far. `control` says what stood beside the canary:
    `peers`, `own past`, `pinned` or `nothing`; `nodes` how many nodes, of canary and control. `history_s` is how much of the
    time before the batch it was calibrated on.
    """

    alpha: float
    batches: int
    log_batch: float
    log_release: float
    log_startup: float | None = None
    control: str
    nodes: tuple[int, int]
    history_s: float
    judged_s: float
    source: str = "agent"
    kinds: tuple[KindEvidence, ...] = ()
    curve: Curve | None = None


class CarriedProcess(Model):
    """The evidence of one kind over the batches so far, by alternative, and the null that it was under."""

    name: str
    logs: tuple[float, ...]
    odds: float
    tempering: float


class CarriedEvidence(Model):
    """What a batch leaves to the next one of its component: see docs/gates.md, "Over the batches"."""

    batches: tuple[float, ...]
    kinds: tuple[CarriedProcess, ...]
    startup: float = 0.0


class Evidence(Model):
    """One rule's numbers at the decision: what was seen on the canary, on the baseline, and the bound.

    `samples` counts requests (or readings of a gauge) behind `observed`; None stands for "no data". A rule that is a
    `dry_run`, or a part of a composite, did not decide. `sequential` is there for sequential tests only.
    """

    rule: str
    verdict: Verdict
    observed: float | None = None
    baseline: float | None = None
    limit: float | None = None
    samples: int = 0
    text: str = ""
    decides: bool = Field(default=True, exclude_if=lambda decides: decides)
    sequential: SequentialEvidence | None = Field(default=None, exclude_if=lambda found: found is None)
