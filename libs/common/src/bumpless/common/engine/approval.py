"""Approvals: a rollout, or one batch of it, waits until a person approves or denies the plan that was shown. Pure."""

from __future__ import annotations

from bumpless.common.contract import commands as c
from bumpless.common.engine.turn import Turn
from bumpless.common.model.rollout import BatchStatus, RolloutStatus

S = RolloutStatus
B = BatchStatus


def approve(turn: Turn, message: c.Approve) -> None:
    """Also ahead of time: a batch that was approved does not wait when its turn comes."""
    if _is_for_another_plan(turn, message):
        return None
    if message.batch is not None:
        known = turn.state.batches.get(message.batch)
        if known is None or known.status not in (B.PENDING, B.AWAITING_APPROVAL):
            return turn.refuse(f"batch {message.batch} does not wait for approval")
        turn.batch(message.batch, approved=True, status=B.PENDING, since=turn.now)
        turn.answer(f"batch {message.batch} approved")
        return turn.advance()
    if turn.state.status is not S.PLANNED:
        return turn.refuse(f"the rollout is {turn.state.status}")
    turn.state = turn.state.model_copy(update={"approved": True})
    turn.answer("approved")
    return turn.start()


def deny(turn: Turn, message: c.Deny) -> None:
    """Only what waits at this moment: a denial that comes after an approval changes nothing."""
    if _is_for_another_plan(turn, message):
        return None
    reason = f"denied by {message.by}" + (f": {message.reason}" if message.reason else "")
    if message.batch is not None:
        known = turn.state.batches.get(message.batch)
        if known is None or known.status is not B.AWAITING_APPROVAL:
            return turn.refuse(f"batch {message.batch} does not wait for approval")
        turn.batch(message.batch, status=B.FAILED, since=turn.now, reason=reason)
        turn.answer(f"batch {message.batch} denied, so the rollout fails")
        return turn.fail(f"batch {message.batch} failed: {reason}")
    if turn.state.status is not S.PLANNED:
        return turn.refuse(f"the rollout is {turn.state.status}")
    turn.answer("denied; nothing was started")
    return turn.cancel(reason)


def _is_for_another_plan(turn: Turn, message: c.Approve | c.Deny) -> bool:
    """Refuses it where it is."""
    wanted = turn.state.plan.hash
    if message.plan_hash == wanted:
        return False
    turn.refuse(f"expected the plan {wanted}, found {message.plan_hash}")
    return True
