"""The state of one run of a plan: facts keyed by node, never counters, so a late duplicate changes nothing."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from bumpless.common.contract.base import BatchId, Digest, Instant, MessageId, Model, RolloutId, derive_id
from bumpless.common.model.plan import Direction, Plan, StepKey
from bumpless.common.model.release import RollbackPolicy
from bumpless.common.model.verdict import CarriedEvidence


class RolloutStatus(StrEnum):
    PLANNED = "planned"
    STAGING = "staging"
    ROLLING = "rolling"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVERTED = "reverted"
    HALTED = "halted"
    CANCELLED = "cancelled"


TERMINAL = frozenset(
    {RolloutStatus.SUCCEEDED, RolloutStatus.REVERTED, RolloutStatus.HALTED, RolloutStatus.CANCELLED}
)
"""Nothing moves on from here by itself. FAILED is terminal too where nothing was switched or a person must act."""


class BatchStatus(StrEnum):
    PENDING = "pending"
    AWAITING_APPROVAL = "awaiting-approval"
    APPLYING = "applying"
    BAKING = "baking"
    PASSED = "passed"
    FAILED = "failed"


class StepFact(Model):
    """What a node last said about its step. `ok` is None until it said anything.

    `idle`: the node is drained, and nothing of what the step brought was started.
    """

    ok: bool | None = None
    outcome: str | None = None
    root: Digest | None = None
    reason: str | None = None
    switched_at: Instant | None = None
    idle: bool = False


class BatchState(Model):
    """`attempt` numbers the gates opened; `inconclusive` says that the last one could not decide; `carried` is what
    it left to the next batch.
    """

    status: BatchStatus = BatchStatus.PENDING
    since: Instant
    steps: dict[StepKey, StepFact] = {}
    approved: bool = False
    attempt: int = 0
    gate: MessageId | None = None
    inconclusive: bool = False
    reason: str = ""
    carried: CarriedEvidence | None = Field(default=None, exclude_if=lambda found: found is None)


class Rollout(Model):
    """One run of `plan`. `staged` holds what nodes said about pre-staging; `reason` and `by` why it is here.

    `answered` names the operator commands that were obeyed: a redelivered one must not act a second time. `out` has
    the nodes that are out for reasons outside of this rollout, and why; `held_since`: since when nothing but they keep
    a batch from starting. `taken_over`: it was stopped because somebody takes it back.
    """

    plan: Plan
    status: RolloutStatus = RolloutStatus.PLANNED
    since: Instant
    reason: str = ""
    by: str = ""
    approved: bool = False
    staged: dict[StepKey, bool] = {}
    answered: tuple[MessageId, ...] = ()
    out: dict[str, str] = {}
    held_since: Instant | None = None
    taken_over: bool = Field(default=False, exclude_if=lambda found: not found)
    batches: dict[BatchId, BatchState]

    @property
    def id(self) -> RolloutId:
        return self.plan.rollout

    @property
    def direction(self) -> Direction:
        return self.plan.direction

    @property
    def commanded(self) -> frozenset[StepKey]:
        """The steps whose nodes were told to switch, whether or not they answered."""
        return frozenset(key for batch in self.batches.values() for key in batch.steps)

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL or (self.status is RolloutStatus.FAILED and not self.commanded)

    @property
    def left_to_a_person(self) -> bool:
        """Nothing is done about its failure until somebody asks for it."""
        manual = self.plan.rollback_policy is RollbackPolicy.MANUAL
        return self.status is RolloutStatus.FAILED and manual and not self.taken_over


def rollout_id(product: str, digest: str, attempt: int) -> RolloutId:
    """One rollout per release and attempt, however often the announcement arrives."""
    return RolloutId(derive_id("rollout", product, digest, str(attempt)))
