"""The rollout: state + message + now -> decision, forward and in reverse. Pure.

The caller feeds every message about a rollout, as often and as late as it likes. What may happen in which state
stands in `transitions.TABLE`; this module says what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, Message
from bumpless.common.engine import approval
from bumpless.common.engine import batch as b
from bumpless.common.engine.decision import Decision
from bumpless.common.engine.transitions import IGNORE, ILLEGAL, TABLE
from bumpless.common.engine.turn import Turn, next_deadline
from bumpless.common.model.gate import OnInconclusive
from bumpless.common.model.plan import Batch, Direction, Plan, step_key
from bumpless.common.model.rollout import BatchState, BatchStatus, Rollout, RolloutStatus
from bumpless.common.model.verdict import Reason, Verdict

S = RolloutStatus
B = BatchStatus
MAX_EXTENSIONS = 3
"""How often `on_inconclusive: extend` opens another gate before it pauses for a person."""


def begin(plan: Plan, message: e.RolloutPlanned, now: datetime) -> Decision[Rollout]:
    """The first decision of a rollout: it starts, unless its plan wants an approval first."""
    state = Rollout(
        plan=plan,
        since=now,
        by=message.by,
        reason=message.reason,
        out=dict(message.out),
        batches={batch.id: BatchState(since=now) for batch in plan.batches},
    )
    turn = Turn(state, message, now)
    if plan.approval:
        turn.note("waits for approval of " + plan.hash)
    else:
        turn.start()
    return turn.decision()


def decide(state: Rollout, message: Message, now: datetime) -> Decision[Rollout]:
    """What `message` makes of `state` at `now`."""
    return decide_all(state, (message,), now)


def decide_all(state: Rollout, messages: Sequence[Message], now: datetime) -> Decision[Rollout]:
    """What `messages` make of `state` at `now`, decided one after the other: the same as `decide` for each of them,
    without a copy of everything that is known for each of them. At least one message.
    """
    turn = Turn(state, messages[0], now)
    for message in messages:
        turn.message = message
        _decide(turn, message)
    return turn.decision()


def _decide(turn: Turn, message: Message) -> None:
    state = turn.state
    if message.id in state.answered:
        return turn.note(f"{type(message).__name__} was answered before")
    cell = TABLE[state.status].get(type(message), IGNORE)
    if cell in (IGNORE, ILLEGAL):
        return turn.refuse(f"the rollout is {state.status}", answer=isinstance(message, c.OperatorCommand))
    match message:
        case c.Approve():
            approval.approve(turn, message)
        case c.Deny():
            approval.deny(turn, message)
        case e.StepStaged():
            _staged(turn, message)
        case e.StepFinished():
            _finished(turn, message)
        case e.ComponentCrashLooping():
            _crash_looping(turn, message)
        case e.VerdictReached():
            _verdict(turn, message)
        case e.AlertFired():
            _alert(turn, message)
        case e.NodesOut():
            turn.state = turn.state.model_copy(update={"out": dict(message.nodes)})
            turn.advance()
        case c.Pause():
            turn.move(S.PAUSED, f"paused by {message.by}" + (f": {message.reason}" if message.reason else ""))
            turn.answer("paused; batches under way come to rest, no new one starts")
        case c.Resume():
            _resume(turn, message)
        case c.Promote():
            _promote(turn, message)
        case c.Abort():
            _abort(turn, message)
        case e.DeadlineReached():
            _deadline(turn, message)
        case e.RevertStarted():
            _revert_started(turn, message)
        case e.RolloutReverted(partial=True) if turn.state.status is S.SUCCEEDED:
            turn.note("taken back in part; the rest stays")
        case e.RolloutReverted():
            turn.move(S.REVERTED, turn.state.reason)
        case e.RolloutHalted():
            turn.move(S.HALTED, "the revert halted: " + message.reason)
    return None


def _staged(turn: Turn, message: e.StepStaged) -> None:
    if message.plan_hash != turn.state.plan.hash:
        return turn.note(f"{message.node}/{message.component} staged for another plan")
    place = step_key(message.node, message.component)
    if turn.state.staged.get(place) or place not in turn.state.plan.places:
        return turn.note(f"{place}: known")
    turn.staged(place, message.ok)
    if turn.state.direction is Direction.REVERT:
        return None
    if not message.ok and not turn.state.commanded:
        return turn.fail(f"{place} cannot stage: {message.reason}")
    if turn.state.status is S.STAGING and _all_staged(turn):
        turn.move(S.ROLLING)
        turn.advance()
    return None


def _all_staged(turn: Turn) -> bool:
    """It is asked at every answer, so it looks at places only when every one may have said so."""
    staged, needed = turn.state.staged, turn.state.plan.staged_places
    return len(staged) >= len(needed) and all(staged.get(place) for place in needed)


def _unstaged(turn: Turn) -> list[str]:
    """The places that have not said yet that everything their steps need is there."""
    return [place for place in turn.state.plan.staged_places if not turn.state.staged.get(place)]


def _crash_looping(turn: Turn, message: e.ComponentCrashLooping) -> None:
    """What a step brought does not stay up: its node is bad, also where its batch had passed."""
    plan, place = turn.state.plan, step_key(message.node, message.component)
    steps = [(batch, s) for batch in plan.batches for s in batch.steps if s.place == place]
    if not steps or message.plan_hash != plan.hash:
        return turn.note(f"{place}: not a step of this plan")
    brought = [(batch, s) for batch, s in steps if b.brings(plan, s, message.root, message.version)]
    if not brought:
        return turn.note(
            f"{place}: {message.version} crashes again and again, and is not what this plan brings"
        )
    batch, step = brought[-1]
    found = b.crash_loop(turn.state.batches[batch.id], step, message.reason)
    if found is None:
        return turn.note(f"{step.key}: known, or not commanded")
    turn.fact(batch.id, step, found)
    known = turn.state.batches[batch.id]
    if known.status is B.APPLYING:
        return _settle(turn, batch)
    key, fact = b.failures(known)[0]
    if len(b.failures(known)) > batch.tolerance and known.status in (B.BAKING, B.PASSED):
        return _fail_batch(turn, batch, f"{key}: {fact.outcome}: {fact.reason}")
    return turn.note(f"{step.key} crashes again and again; batch {batch.id} tolerates it")


def _finished(turn: Turn, message: e.StepFinished) -> None:
    batch = next((x for x in turn.state.plan.batches if x.id == message.batch), None)
    step = None if batch is None else batch.by_place.get(step_key(message.node, message.component))
    if batch is None or step is None or message.plan_hash != turn.state.plan.hash:
        return turn.note(f"{message.node}/{message.component}: not a step of this plan")
    known = turn.state.batches[batch.id]
    fact = b.fact_of(turn.state.plan, step, message)
    if not b.is_news(known, step, fact):
        return turn.note(f"{step.key}: known")
    turn.fact(batch.id, step, fact)
    if known.status is not B.APPLYING:
        return turn.note(f"{step.key}: batch {batch.id} is {known.status}")
    return _settle(turn, batch, worse=not fact.ok)


def _settle(turn: Turn, batch: Batch, *, worse: bool = True) -> None:
    """End the batch if it has failed, or nobody has to answer any more; `worse`: more steps may have failed."""
    known = turn.state.batches[batch.id]
    failed = b.failures(known) if worse else []
    if len(failed) > batch.tolerance:
        key, fact = failed[0]
        return _fail_batch(turn, batch, f"{key}: {fact.outcome}: {fact.reason}")
    if b.is_waiting(known):
        return None
    if batch.gate is None:
        return _pass_batch(turn, batch, "every step is done")
    return _open_gate(turn, batch)


def _open_gate(turn: Turn, batch: Batch) -> None:
    known = turn.state.batches[batch.id]
    if b.only_drained(turn.state, batch, known):
        return _nothing_to_judge(turn, batch)
    command = b.open_gate(turn.state, batch, known, turn.now, turn.message.id)
    turn.batch(
        batch.id,
        status=B.BAKING,
        since=turn.now,
        attempt=known.attempt + 1,
        gate=command.gate,
        inconclusive=False,
    )
    turn.out.append(command)
    return None


def _nothing_to_judge(turn: Turn, batch: Batch) -> None:
    """Every node is drained: what was put in place there says nothing, neither good nor bad."""
    if b.proven_elsewhere(turn.state, batch):
        return _pass_batch(turn, batch, "in place on drained nodes; judged on others")
    turn.batch(batch.id, status=B.BAKING, since=turn.now, attempt=MAX_EXTENSIONS + 1, gate=None)
    assert batch.gate is not None
    return _inconclusive(
        turn,
        batch,
        batch.gate.on_inconclusive,
        "its nodes are drained, so nothing of it runs that could be judged",
    )


def _pass_batch(turn: Turn, batch: Batch, reason: str) -> None:
    turn.batch(batch.id, status=B.PASSED, since=turn.now, reason=reason)
    turn.advance()


def _fail_batch(turn: Turn, batch: Batch, reason: str) -> None:
    known = turn.state.batches[batch.id]
    if known.status is B.BAKING:
        _close_gates_of(turn, [batch.id])
    turn.batch(batch.id, status=B.FAILED, since=turn.now, reason=reason)
    turn.fail(f"batch {batch.id} failed: {reason}")


def _verdict(turn: Turn, message: e.VerdictReached) -> None:
    batch = next((x for x in turn.state.plan.batches if x.id == message.batch), None)
    known = None if batch is None else turn.state.batches[batch.id]
    if batch is None or known is None or known.status is not B.BAKING or known.gate != message.gate:
        return turn.note(f"verdict of gate {message.gate}: nobody waits for it")
    gate = batch.gate
    assert gate is not None
    match message.verdict:
        case Verdict.PASS:
            turn.batch(batch.id, gate=None, carried=message.carried)
            _pass_batch(turn, batch, message.detail)
        case Verdict.FAIL:
            turn.batch(batch.id, gate=None)
            _fail_batch(turn, batch, f"{message.reason}: {message.detail}")
        case Verdict.INCONCLUSIVE:
            turn.batch(batch.id, gate=None, carried=message.carried)
            policy = gate.on_inconclusive
            if message.reason == Reason.LIMIT_CROSSED and policy is not OnInconclusive.FAIL:
                policy = (
                    OnInconclusive.PAUSE
                )  # something is known to be wrong: no policy lets that pass by itself
            _inconclusive(turn, batch, policy, f"{message.reason}: {message.detail}")
    return None


def _inconclusive(turn: Turn, batch: Batch, policy: OnInconclusive, reason: str) -> None:
    known = turn.state.batches[batch.id]
    match policy:
        case OnInconclusive.PASS:
            _pass_batch(turn, batch, f"passed though inconclusive, as its policy says: {reason}")
        case OnInconclusive.FAIL:
            _fail_batch(turn, batch, f"inconclusive: {reason}")
        case OnInconclusive.EXTEND if known.attempt <= MAX_EXTENSIONS:
            turn.note(f"batch {batch.id} bakes on: {reason}")
            _open_gate(turn, batch)
        case _:
            turn.batch(batch.id, inconclusive=True, reason=reason)
            why = f"batch {batch.id} is inconclusive ({reason}): promote, resume to bake again, or roll back"
            if turn.state.status is S.ROLLING:
                turn.move(S.PAUSED, why)
            else:
                turn.note(why)


def _alert(turn: Turn, message: e.AlertFired) -> None:
    if not message.fail:
        return turn.note(f"alert {message.name} is not mapped to failure")
    return turn.fail(f"alert {message.name}: {message.detail}")


def _resume(turn: Turn, message: c.Resume) -> None:
    for batch in turn.state.plan.batches:
        known = turn.state.batches[batch.id]
        if known.inconclusive and b.only_drained(turn.state, batch, known):
            return turn.refuse(
                f"batch {batch.id} cannot be judged, because its nodes are drained: bring one back, or promote it"
            )
    turn.answer("resumed")
    if turn.state.direction is Direction.FORWARD and not _all_staged(turn) and not turn.state.commanded:
        return turn.move(S.STAGING, f"resumed by {message.by}")
    turn.move(S.ROLLING, f"resumed by {message.by}")
    for batch in turn.state.plan.batches:
        if turn.state.batches[batch.id].inconclusive and batch.gate is not None:
            _open_gate(turn, batch)
    return turn.advance()


def _promote(turn: Turn, message: c.Promote) -> None:
    baking = [
        batch
        for batch in turn.state.plan.batches
        if turn.state.batches[batch.id].status is B.BAKING and message.batch in (None, batch.id)
    ]
    if not baking:
        return turn.refuse(
            "no batch is baking" + (f" under the name {message.batch}" if message.batch else "")
        )
    _close_gates_of(turn, [batch.id for batch in baking])
    waited_for_person = any(turn.state.batches[batch.id].inconclusive for batch in baking)
    for batch in baking:
        turn.batch(
            batch.id,
            status=B.PASSED,
            since=turn.now,
            gate=None,
            inconclusive=False,
            reason=f"promoted by {message.by}" + (f": {message.reason}" if message.reason else ""),
        )
    turn.answer("promoted " + ", ".join(batch.id for batch in baking))
    if turn.state.status is S.PAUSED and waited_for_person and not _undecided(turn):
        turn.move(S.ROLLING, f"promoted by {message.by}")
    return turn.advance()


def _undecided(turn: Turn) -> bool:
    """Whether a gate that could not decide still waits for a person: nothing else would ever end its batch."""
    return any(known.status is B.BAKING and known.inconclusive for known in turn.state.batches.values())


def _close_gates_of(turn: Turn, batches: list[BatchId]) -> None:
    kept = turn.out
    turn.out = []
    turn.close_gates()
    kept.extend(m for m in turn.out if isinstance(m, c.CloseGate) and m.batch in batches)
    turn.out = kept


def _abort(turn: Turn, message: c.Abort) -> None:
    reason = f"aborted by {message.by}" + (f": {message.reason}" if message.reason else "")
    turn.answer("aborted")
    if turn.state.status is S.PLANNED:
        return turn.cancel(reason)
    return turn.fail(reason)


def _deadline(turn: Turn, message: e.DeadlineReached) -> None:
    due = next_deadline(turn.state)
    if due is None or due.name != message.name or due.due > turn.now:
        return turn.note(f"deadline {message.name} is no longer waited for")
    name, _, batch_id = message.name.partition(":")
    match name:
        case "approval":
            turn.cancel("nobody approved it in time")
        case "staging":
            turn.fail(
                f"not staged in {turn.state.plan.stage_timeout_s:g} s: " + ", ".join(_unstaged(turn)[:5])
            )
        case "pause":
            turn.fail(f"paused longer than {turn.state.plan.pause_timeout_s:g} s")
        case "revert":
            reason = f"not taken back within {turn.state.plan.revert_timeout_s:g} s: {turn.state.reason}"
            turn.halted(reason)
        case "held":
            turn.fail(f"no batch could start for {turn.state.plan.pause_timeout_s:g} s: nodes are out")
        case "apply":
            batch = turn.state.plan.batch(BatchId(batch_id))
            silent = b.waiting(turn.state.batches[batch.id])
            _fail_batch(
                turn, batch, f"no answer in {batch.apply_timeout_s:g} s from " + ", ".join(silent[:5])
            )
        case "bake":
            _fail_batch(turn, turn.state.plan.batch(BatchId(batch_id)), "its gate gave no verdict in time")
        case "approve":
            _fail_batch(turn, turn.state.plan.batch(BatchId(batch_id)), "nobody approved it in time")
        case "start":
            turn.advance()
        case _:
            turn.note(f"unknown deadline {message.name}")
    return None


def _revert_started(turn: Turn, message: e.RevertStarted) -> None:
    turn.close_gates()
    reason = f"taken back by {message.by}: {message.reason}"
    turn.move(S.CANCELLED if turn.state.status is S.PLANNED else S.FAILED, reason)
    turn.state = turn.state.model_copy(update={"taken_over": turn.state.status is S.FAILED})
