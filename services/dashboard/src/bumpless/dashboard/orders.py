"""What the buttons do: the same messages as the command line's, to the service that owns the rollout. Pure."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from bumpless.common.contract import commands as c
from bumpless.common.contract.base import BatchId, MessageId, PlanHash, RolloutId
from bumpless.dashboard.users import Role

KINDS: dict[str, type[c.OperatorCommand]] = {
    "pause": c.Pause,
    "resume": c.Resume,
    "promote": c.Promote,
    "abort": c.Abort,
    "retry": c.Retry,
    "rollback": c.Rollback,
    "approve": c.Approve,
    "deny": c.Deny,
}


class Wish(BaseModel):
    """What a browser sends. `plan_hash` is that of the plan that was shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = Field(min_length=1, max_length=1000)
    batch: str | None = None
    plan_hash: str | None = None


def needed(command: str) -> Role:
    return Role.APPROVER if KINDS[command] in (c.Approve, c.Deny) else Role.OPERATOR


def order(
    command: str, rollout: str, wish: Wish, *, by: str, revert: bool, id: MessageId, now: datetime
) -> c.OperatorCommand:
    """Raises: ValueError, if a field is there that the command does not have, or one is missing."""
    kind = KINDS[command]
    given: dict[str, object] = {}
    if wish.batch is not None:
        given["batch"] = BatchId(wish.batch)
    if wish.plan_hash is not None:
        given["plan_hash"] = PlanHash(wish.plan_hash)
    strange = set(given) - set(kind.model_fields)
    if strange:
        raise ValueError(f"expected a {command} without {', '.join(sorted(strange))}")
    owner = "rollback" if revert or kind is c.Rollback else "planner"
    common = {
        "id": id,
        "at": now,
        "rollout": RolloutId(rollout),
        "by": by,
        "reason": wish.reason,
        "to": owner,
    }
    return kind.model_validate({**common, **given})
