"""How rollouts go forward: budget, order, gates, stops and ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.model.gate import OnInconclusive
from bumpless.common.model.plan import Direction
from bumpless.common.model.rollout import TERMINAL, BatchStatus, Rollout, RolloutStatus
from bumpless.common.model.verdict import Verdict
from bumpless.planner.budget import planned_at
from simulation.books import Book, Turned
from simulation.events import Appended
from simulation.invariants.violation import fail

if TYPE_CHECKING:
    from simulation.invariants import Invariants

KNOWN_S = 70.0
"""Longer than a lease, and than two heartbeats of a node."""

AT_WORK = frozenset({RolloutStatus.ROLLING, RolloutStatus.PAUSED, RolloutStatus.FAILED})
STOPPED = TERMINAL | {RolloutStatus.FAILED}


def decided_within_the_budget(inv: Invariants, turn: Turned) -> None:
    """1, in the log: with what is out for other reasons, and what other rollouts take out.

    An entry may be logged long after it was decided: what it knew counts then, what is so by now counts now.
    """
    plan = turn.after.plan
    started = {s.node for b in plan.batches if b.id in _started(turn) for s in b.steps}
    if not started or plan.direction is Direction.REVERT:
        return
    mine = {step.node for step in plan.steps()}
    own = started | _unfinished(turn.after)
    known = own | turn.after.out.keys()
    out = own | _out_by_itself(turn.after) | (_drained(inv, plan.rollout) & mine)
    # Its planner has heard that it is taken back, also where it could not save that yet.
    back = {
        book.plan.of
        for book in inv.books.values()
        if book.state.status is RolloutStatus.REVERTED and not book.plan.partial
    }
    for other in inv.books.values():
        if other.plan.rollout not in (plan.rollout, *inv.sim.holes, *back) and other.plan.of is None:
            before = (
                other.state.since <= planned_at(turn.before or turn.after)
                and other.plan.generation < plan.generation
            )
            left = other.state.left_to_a_person and before
            out |= set() if left else _taken(inv, other) & mine
    worst = max(known, out, key=len)
    if len(worst) > plan.max_unavailable:
        fail("within_the_budget", f"{sorted(worst)} would be out, at most {plan.max_unavailable} may")


def _taken(inv: Invariants, other: Book) -> set[str]:
    """The nodes that another rollout keeps, also by what was decided of it already and is not logged yet."""
    if other.state.status not in AT_WORK:
        return set()
    # A node that said it is done serves, also while nobody could save that it did.
    taken, version = _waiting(other), other.version
    while (saved := inv.saved.get((other.plan.rollout, version + 1))) is not None:
        version += 1
        known = json.loads(saved)
        taken &= set() if known.get("status") in TERMINAL else _not_done(known)
    return taken


def _out_by_itself(rollout: Rollout) -> set[str]:
    """The nodes that it knew to be out for another reason than another rollout, whose own log says more."""
    return {node for node, why in rollout.out.items() if not why.startswith("rollout ")}


def _waiting(other: Book) -> set[str]:
    """The nodes that have a step at work of which they did not say that it is done."""
    return {
        key.partition("/")[0]
        for batch in other.state.batches.values()
        for key, fact in batch.steps.items()
        if not fact.ok and key not in other.good
    }


def _not_done(state: dict[str, Any]) -> set[str]:
    """Of a state as it is saved: the nodes of the steps that are not done."""
    batches = state.get("batches", {}).values()
    facts = [item for batch in batches for item in batch.get("steps", {}).items()]
    return {key.partition("/")[0] for key, fact in facts if not fact.get("ok")}


def _drained(inv: Invariants, rollout: str) -> set[str]:
    """The nodes that had been drained for so long, when its planner decided, that everybody knew."""
    decided = inv.saved_at["planner", rollout]
    return {node for node, since in inv.drained.items() if decided - since > KNOWN_S}


def _started(turn: Turned) -> set[str]:
    return {m.batch for m in turn.out if isinstance(m, c.ApplyBatch)}


def _unfinished(state: Rollout) -> set[str]:
    return {
        key.partition("/")[0]
        for batch in state.batches.values()
        for key, fact in batch.steps.items()
        if not fact.ok
    }


def dependencies_first(inv: Invariants, event: Appended) -> None:
    """2: a batch is commanded only when nodes said that everything it needs is done, and gates passed."""
    command = event.message
    if not isinstance(command, c.ApplyComponent):
        return
    book = inv.books.get(command.rollout)
    if book is None:
        return
    plan = book.plan
    batch = plan.batch(command.batch)  # type: ignore[arg-type]
    for need in batch.needs:
        needed = plan.batch(need)
        missing = [s.key for s in needed.steps if s.key not in book.good]
        if len(missing) > needed.tolerance:
            fail("dependencies_first", f"{batch.id} begins, but {need} lacks {missing}")
        if needed.gate is None or book.promoted or any(s.key in book.idle for s in needed.steps):
            continue
        said = book.verdicts.get(need, set())
        lenient = needed.gate.on_inconclusive is OnInconclusive.PASS and Verdict.INCONCLUSIVE in said
        if Verdict.PASS not in said and not lenient:
            fail("dependencies_first", f"{batch.id} begins, but the gate of {need} said {sorted(said)}")


def verdict_has_evidence(inv: Invariants, event: Appended) -> None:
    """11: a gate passes only if its last look saw every node run what it is to judge."""
    message = event.message
    if not isinstance(message, e.VerdictReached) or message.verdict is not Verdict.PASS:
        return
    looks = inv.sim.judged.get(message.gate, [])
    book = inv.books.get(message.rollout)
    if not any(verdict is Verdict.PASS and seen for _, verdict, seen in looks):
        fail("passes_on_evidence", f"gate of {message.batch} passed, looks were {looks[-3:]}")
    if book is None or message.gate not in book.gates or book.gates[message.gate].batch != message.batch:
        fail("passes_on_evidence", f"a verdict of a gate that nobody opened for {message.batch}")


def passes_on_evidence(inv: Invariants, turn: Turned) -> None:
    """11: a batch with a gate passes by the verdict of that gate, or by a person's word."""
    if turn.before is None:
        return
    awaited = {known.gate for known in turn.before.batches.values()}
    given = turn.given
    if isinstance(given, e.VerdictReached) and turn.after is not turn.before and given.gate not in awaited:
        fail("passes_on_evidence", f"a verdict counts that nobody waits for, of {given.batch}")
    for batch in turn.after.plan.batches:
        before, after = turn.before.batches[batch.id], turn.after.batches[batch.id]
        if (
            batch.gate is None
            or after.status is not BatchStatus.PASSED
            or before.status is BatchStatus.PASSED
        ):
            continue
        if isinstance(given, c.Promote) and before.status is BatchStatus.BAKING:
            continue
        if all(fact.idle for fact in after.steps.values() if fact.ok):
            continue
        if isinstance(given, e.VerdictReached) and given.gate == before.gate:
            if given.verdict is Verdict.PASS:
                continue
            if given.verdict is Verdict.INCONCLUSIVE and batch.gate.on_inconclusive is OnInconclusive.PASS:
                continue
        fail("passes_on_evidence", f"batch {batch.id} passed by {type(given).__name__}")


def failure_stops(inv: Invariants, turn: Turned) -> None:
    """12: once a gate failed or somebody stopped it, a rollout starts nothing more."""
    before, given = turn.before, turn.given
    if before is None:
        return
    started = _started(turn)
    if (
        before.status in (*STOPPED, RolloutStatus.PAUSED)
        and started
        and not isinstance(given, c.Resume | c.Promote)
    ):
        fail("failure_stops", f"{started} begin although the rollout is {before.status}")
    failed = (
        isinstance(given, e.VerdictReached)
        and given.verdict is Verdict.FAIL
        and any(b.status is BatchStatus.BAKING and b.gate == given.gate for b in before.batches.values())
    )
    going = before.status in (RolloutStatus.ROLLING, RolloutStatus.PAUSED)
    stopped = isinstance(given, c.Abort | e.RevertStarted) and going
    if (failed or stopped) and (started or turn.after.status not in STOPPED):
        fail("failure_stops", f"after {type(given).__name__} it is {turn.after.status}, and {started} begin")


def orders_act_once(inv: Invariants, turn: Turned) -> None:
    """8: an order of a person changes a rollout once, and what was obeyed has one answer, however often it is heard."""
    given = turn.given
    if not isinstance(given, c.OperatorCommand) or (turn.after is turn.before and not turn.out):
        return
    if given.id in inv.orders:
        fail("takes_effect_once", f"{type(given).__name__} {given.id} acts again")
    if turn.after is not turn.before:
        inv.orders.add(given.id)


def terminal_stays(inv: Invariants, turn: Turned) -> None:
    """15: what has ended stays ended, but that it may be taken back. A revert that fails halts."""
    if turn.after.plan.of is not None and turn.after.status is RolloutStatus.FAILED:
        fail("terminal_stays", "a revert failed instead of halting: somebody would revert it")
    if turn.before is None or turn.before.status not in TERMINAL:
        return
    if turn.after.status != turn.before.status and not isinstance(
        turn.given, e.RolloutReverted | e.RolloutHalted
    ):
        fail("terminal_stays", f"{turn.before.status} -> {turn.after.status} by {type(turn.given).__name__}")


def begins_alone(inv: Invariants, book: Book) -> None:
    """16: no rollout begins on a place where another one is at work. 7: every plan has a generation of its own."""
    plan = book.plan
    if plan.of is not None:
        return
    places = {s.place for s in plan.steps()}
    for other in inv.books.values():
        if plan.generation <= other.plan.generation:
            fail("numbers_never_decrease", f"generation {plan.generation} after {other.plan.generation}")
        if not other.state.ended and other.plan.rollout not in inv.sim.holes:
            shared = places & {s.place for s in other.plan.steps()}
            if shared and not other.state.left_to_a_person:
                fail(
                    "no_shared_places",
                    f"{sorted(shared)} of {other.plan.rollout}, which is {other.state.status}",
                )
