"""One decision in the making: a copy of the state that moves, and the messages and notes that come of it.

The steps every input shares: starting, advancing through the graph of batches, completing, failing. Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, Message, RolloutId, derive_id
from bumpless.common.engine import batch as b
from bumpless.common.engine.decision import Deadline, Decision
from bumpless.common.model.plan import MAX_HOPS, Batch, Direction, Step, StepKey
from bumpless.common.model.release import RollbackPolicy
from bumpless.common.model.rollout import BatchStatus, Rollout, RolloutStatus, StepFact

S = RolloutStatus
B = BatchStatus
F = TypeVar("F", bool, StepFact)


def next_deadline(state: Rollout) -> Deadline | None:
    """The earliest moment at which something is overdue, or may start."""
    plan = state.plan
    found: list[Deadline] = []

    def after(name: str, since: datetime, seconds: float) -> None:
        found.append(Deadline(name, since + timedelta(seconds=seconds)))

    match state.status:
        case S.PLANNED:
            after("approval", state.since, plan.approval_timeout_s)
        case S.STAGING:
            after("staging", state.since, plan.stage_timeout_s)
        case S.PAUSED:
            after("pause", state.since, plan.pause_timeout_s)
        case S.FAILED if state.commanded and not state.left_to_a_person:
            after("revert", state.since, plan.revert_timeout_s)
        case _:
            pass
    if state.status in (S.ROLLING, S.PAUSED):
        if state.held_since is not None and state.status is S.ROLLING:
            after("held", state.held_since, plan.pause_timeout_s)
        for batch in plan.batches:
            known = state.batches[batch.id]
            match known.status:
                case B.APPLYING:
                    after("apply:" + batch.id, known.since, batch.apply_timeout_s)
                case B.BAKING if batch.gate is not None and not known.inconclusive:
                    after("bake:" + batch.id, known.since, batch.gate.timeout_s + b.GATE_GRACE_S)
                case B.AWAITING_APPROVAL:
                    after("approve:" + batch.id, known.since, plan.approval_timeout_s)
                case B.PENDING if state.status is S.ROLLING:
                    due = b.start_due(state, batch)
                    # A batch that is held is looked at again when the nodes that are out change.
                    mine = state.held_since is None
                    if due is not None and (
                        b.fits(state, batch) or (mine and b.fits(state, batch, alone=True))
                    ):
                        found.append(Deadline("start:" + batch.id, due))
                case _:
                    pass
    return min(found, key=lambda d: (d.due, d.name), default=None)


def _who_is_out(state: Rollout) -> str:
    """The nodes that take up the budget, at most five of each kind by name."""
    mine = sorted(b.unavailable(state))
    said = [f"{len(mine)} nodes of this rollout are unavailable"] if mine else []
    said += [f"{node} is out ({why})" for node, why in sorted(state.out.items())[:5]]
    said += [f"{len(state.out) - 5} more are out"] if len(state.out) > 5 else []
    return f"{'; '.join(said) or 'it is larger than the budget'}; at most {state.plan.max_unavailable} may be"


def answered(
    command: Message, rollout: RolloutId, text: str, now: datetime, *, accepted: bool
) -> e.CommandAnswered:
    """The one answer to `command`: given again, it has the same id."""
    return e.CommandAnswered(
        id=derive_id(command.id, "answer"),
        at=now,
        cause=command.id,
        rollout=rollout,
        command=type(command).__name__.lower(),
        accepted=accepted,
        text=text,
    )


class Turn:
    """One decision in the making: a copy of the state that moves, and what is said on the way.

    `message` is the one that is being decided; a turn may take in several, one after the other.
    """

    def __init__(self, state: Rollout, message: Message, now: datetime) -> None:
        self.state, self._before = state, state
        self.message, self.now = message, now
        self.out: list[Message] = []
        self._notes: list[str] = []
        self._mine: dict[int, object] = {}
        """The facts that were copied for this turn, by their `id()`: they are written to, not copied again."""

    def decision(self) -> Decision[Rollout]:
        # What was copied was changed: comparing great states would cost more than everything else.
        state = self.state if self._mine or self.state != self._before else self._before
        return Decision(state, tuple(self.out), tuple(self._notes))

    # saying ---------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        self._notes.append(text)

    def answer(self, text: str, accepted: bool = True) -> None:
        """Answer the command; an accepted one is remembered, so that its late copy does nothing."""
        if accepted:
            obeyed = (*self.state.answered, self.message.id)
            self.state = self.state.model_copy(update={"answered": obeyed})
        self.out.append(answered(self.message, self.state.id, text, self.now, accepted=accepted))

    def refuse(self, why: str, *, answer: bool = True) -> None:
        self.note(f"{type(self.message).__name__} has no effect: {why}")
        if answer:
            self.answer(why, accepted=False)

    def move(self, status: RolloutStatus, reason: str = "") -> None:
        self.state = self.state.model_copy(update={"status": status, "since": self.now, "reason": reason})

    def head(self, role: str) -> dict[str, object]:
        return {"id": derive_id(self.message.id, role), "at": self.now, "cause": self.message.id}

    def _command_head(self, role: str) -> dict[str, object]:
        plan = self.state.plan
        return {
            "id": derive_id(plan.rollout, role),
            "at": self.now,
            "cause": self.message.id,
            "rollout": plan.rollout,
            "plan_hash": plan.hash,
            "direction": plan.direction,
            "generation": plan.generation,
        }

    def staged(self, place: StepKey, ok: bool) -> None:
        """Take in that everything for `place` is there, or cannot be had."""
        known = self.state.staged
        if id(known) not in self._mine:
            known = self._copied(known)
            self.state = self.state.model_copy(update={"staged": known})
        known[place] = ok

    def fact(self, batch: BatchId, step: Step, fact: StepFact) -> None:
        """Take in what is known of `step` from now on."""
        known = self.state.batches[batch].steps
        if id(known) not in self._mine:
            known = self._copied(known)
            self.batch(batch, steps=known)
        known[step.key] = fact

    def _copied(self, known: dict[StepKey, F]) -> dict[StepKey, F]:
        copied = dict(known)
        self._mine[id(copied)] = copied
        return copied

    def batch(self, batch: BatchId, **changes: object) -> None:
        changed = self.state.batches[batch].model_copy(update=changes)
        self.state = self.state.model_copy(update={"batches": {**self.state.batches, batch: changed}})

    # going forward --------------------------------------------------------------------------------------

    def start(self) -> None:
        plan = self.state.plan
        staged = plan.fence if plan.direction is Direction.REVERT else plan.first_steps()
        if staged:
            self._stage(staged)
        if plan.direction is Direction.FORWARD and staged:
            self.move(S.STAGING)
            return
        self.move(S.ROLLING, self.state.reason)
        self.advance()

    def _stage(self, steps: tuple[Step, ...]) -> None:
        plan = self.state.plan
        self.out.append(
            c.StageArtifacts.model_validate(
                {
                    **self._command_head("stage"),
                    "sequence": plan.sequence_base + 1,
                    "steps": steps,
                    "expires_at": self.now + timedelta(seconds=plan.stage_timeout_s),
                }
            )
        )

    def advance(self) -> None:
        """Start whatever may start, and end the rollout when nothing is left to do."""
        if self.state.status is not S.ROLLING:
            return
        for batch in self.state.plan.batches:
            known = self.state.batches[batch.id]
            if known.status is not B.PENDING:
                continue
            due = b.start_due(self.state, batch)
            if due is None or due > self.now:
                continue
            if batch.approval and not known.approved:
                self.batch(batch.id, status=B.AWAITING_APPROVAL, since=self.now)
                self.note(f"batch {batch.id} waits for approval")
            elif b.fits(self.state, batch):
                self._apply(batch)
            else:
                self.note(f"batch {batch.id} waits: " + _who_is_out(self.state))
        self._hold()
        states = {known.status for known in self.state.batches.values()}
        if states <= {B.PASSED}:
            self._complete()
        elif B.PENDING in states and states <= {B.PASSED, B.PENDING} and next_deadline(self.state) is None:
            nodes = ", ".join(sorted(b.unavailable(self.state)))
            self.fail(
                f"no batch can start within max_unavailable={self.state.plan.max_unavailable}: {nodes} are out"
            )

    def _hold(self) -> None:
        """Remember since when nothing but others' nodes keep a batch from starting: that wait has a deadline."""
        waits = bool(b.held(self.state, self.now))
        if waits != (self.state.held_since is not None):
            self.state = self.state.model_copy(update={"held_since": self.now if waits else None})

    def _apply(self, batch: Batch) -> None:
        plan = self.state.plan
        # Back, the last hop is the first: the numbers must rise on a node all the same.
        place = batch.hop if plan.direction is Direction.FORWARD else MAX_HOPS + 1 - batch.hop
        self.batch(
            batch.id,
            status=B.APPLYING,
            since=self.now,
            steps={step.key: StepFact() for step in batch.steps},
        )
        self.out.append(
            c.ApplyBatch.model_validate(
                {
                    **self._command_head("apply:" + batch.id),
                    "batch": batch.id,
                    "hold_s": batch.hold_s,
                    "for_good": batch.for_good,
                    "sequence": plan.sequence_base + 1 + place,
                    "steps": batch.steps,
                    "expires_at": self.now + timedelta(seconds=batch.apply_timeout_s),
                }
            )
        )

    def _complete(self) -> None:
        plan = self.state.plan
        if plan.direction is Direction.REVERT:
            self.move(S.REVERTED, self.state.reason)
            self.out.append(
                e.RolloutReverted.model_validate(
                    {
                        **self.head("reverted"),
                        "rollout": plan.of,
                        "revert": plan.rollout,
                        "partial": plan.partial,
                    }
                )
            )
            return
        self.move(S.SUCCEEDED)
        self.out.append(
            e.RolloutSucceeded.model_validate(
                {
                    **self.head("succeeded"),
                    "rollout": plan.rollout,
                    "product": plan.product,
                    "release_version": plan.release_version,
                }
            )
        )

    def fail(self, reason: str) -> None:
        """Stop forward steps: the rollback service takes over.

        A revert halts instead, because nothing reverts a revert, and so does a rollout past its horizon.
        """
        self.close_gates()
        plan = self.state.plan
        if plan.direction is Direction.REVERT:
            self.halted(reason)
            return
        if horizon := b.past_horizon(self.state):
            self.halted(f"{reason}; not taken back by itself: {horizon}")
            return
        self.move(S.FAILED, reason)
        self.out.append(
            e.RolloutFailed.model_validate(
                {
                    **self.head("failed"),
                    "rollout": plan.rollout,
                    "product": plan.product,
                    "plan_hash": plan.hash,
                    "generation": plan.generation,
                    "reason": reason,
                    "policy_auto": plan.rollback_policy is RollbackPolicy.AUTO,
                    "switched_anything": bool(self.state.commanded),
                }
            )
        )

    def cancel(self, reason: str) -> None:
        """End what has not started."""
        self.move(S.CANCELLED, reason)
        self.out.append(
            e.RolloutCancelled.model_validate(
                {**self.head("cancelled"), "rollout": self.state.id, "reason": reason}
            )
        )

    def halted(self, reason: str) -> None:
        plan = self.state.plan
        self.move(S.HALTED, reason)
        self.out.append(
            e.RolloutHalted.model_validate(
                {
                    **self.head("halted"),
                    "rollout": plan.of or plan.rollout,
                    "of": None if plan.of is None else plan.rollout,
                    "reason": reason,
                }
            )
        )

    def close_gates(self) -> None:
        for batch_id, known in self.state.batches.items():
            if known.status is B.BAKING and known.gate is not None:
                self.out.append(
                    c.CloseGate.model_validate(
                        {
                            "id": derive_id(known.gate, "close"),
                            "at": self.now,
                            "cause": self.message.id,
                            "gate": known.gate,
                            "rollout": self.state.id,
                            "batch": batch_id,
                        }
                    )
                )
