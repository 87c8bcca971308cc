"""What a comparison of a plan with the log of its rollout takes in, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bumpless.common.contract.base import BatchId, Message, Model, PlanHash, RolloutId


@dataclass(frozen=True)
class Turn:
    """One change of the log: what came in at `at`, and what was sent because of it."""

    at: datetime
    inputs: tuple[Message, ...]
    sent: tuple[Message, ...]


class Kind(StrEnum):
    """`missing`: shown and not done. `outside`: done and not shown. `twice`, `order`, `gate`, `approval`: done, but not
    as shown. `result`: what a node says it runs is not what was shown. `plan`: another plan was run."""

    PLAN = "plan"
    MISSING = "missing"
    OUTSIDE = "outside"
    TWICE = "twice"
    ORDER = "order"
    GATE = "gate"
    APPROVAL = "approval"
    RESULT = "result"


class Discrepancy(Model):
    """One thing that was done otherwise than it was shown. `subject` is a step, a batch or the rollout."""

    kind: Kind
    subject: str
    text: str


class Comparison(Model):
    """`batches`, `steps` and `gates` count what was done; `left_out` are batches that were not commanded, which is
    right for a rollout that did not succeed. It holds when there is no discrepancy."""

    rollout: RolloutId
    plan_hash: PlanHash
    status: str
    batches: int
    steps: int
    answered: int
    gates: int
    left_out: tuple[BatchId, ...] = ()
    discrepancies: tuple[Discrepancy, ...] = ()
