"""How rollouts are taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bumpless.common.contract import commands as c
from bumpless.common.model.plan import Direction, Plan, StepKey
from bumpless.common.model.rollout import TERMINAL, RolloutStatus
from simulation.books import Book
from simulation.events import Appended, Ended
from simulation.invariants.violation import fail

if TYPE_CHECKING:
    from simulation.invariants import Invariants

STOPPED = TERMINAL | {RolloutStatus.FAILED}


def back_in_order(inv: Invariants, event: Appended) -> None:
    """13: a revert brings every place what it had, what depends on it first, and every place that was commanded."""
    command = event.message
    if not isinstance(command, c.ApplyComponent) or command.direction is not Direction.REVERT:
        return
    book = inv.books.get(command.rollout)
    forward = None if book is None else inv.forward(book)
    if book is None or forward is None:
        return
    batch = book.plan.batch(command.batch)  # type: ignore[arg-type]
    steps = {s.key: s for s in forward.plan.steps()}
    for step in batch.steps:
        before = steps[step.key].before
        wanted = None if before is None else forward.plan.targets[before].root
        brings = None if command.target is None else command.target.root
        if (step.node, step.component) == (command.node, command.component) and brings != wanted:
            fail("back_in_order", f"{step.key} gets {brings}, it had {wanted}")
    if book.plan.partial:
        return
    for later in _dependents(forward.plan, batch.component):
        left = [
            key
            for b in forward.plan.batches
            if b.component == later
            for key in forward.state.batches[b.id].steps
            if key not in book.good
        ]
        if left:
            fail("back_in_order", f"{batch.component} goes back before {left}")


def _dependents(plan: Plan, component: str) -> set[str]:
    """The components that came after `component`, because their batches need its."""
    by_id = {batch.id: batch for batch in plan.batches}
    found: set[str] = set()
    for batch in plan.batches:
        seen, ahead = set(), list(batch.needs)
        while ahead:
            need = ahead.pop()
            if need not in seen:
                seen.add(need)
                ahead.extend(by_id[need].needs)
        if batch.component != component and any(by_id[n].component == component for n in seen):
            found.add(batch.component)
    return found


def revert_covers_commanded(inv: Invariants, revert: Book) -> None:
    """13: a revert brings back every node that was commanded, whether or not it had answered, or the part asked for.

    6: and its commands are numbered above all that it takes back.
    """
    plan = revert.plan
    forward = inv.forward(revert)
    if forward is None or plan.of in inv.sim.holes:
        return
    mine: set[StepKey] = {step.key for step in plan.steps()}
    asked = inv.parts_asked.get(plan.rollout, ())
    wanted = forward.state.commanded if not asked else _with_later(forward, _part(forward, asked), plan)
    left = sorted(wanted ^ mine)
    if left or plan.partial != (wanted != forward.state.commanded):
        fail("back_in_order", f"the revert differs in {left} from what was commanded, or asked for")
    highest = max(command.sequence for command in forward.decided.values())
    if (plan.generation, plan.sequence_base) < (forward.plan.generation, highest):
        fail("fenced", f"the revert begins at {plan.sequence_base}, its rollout was at {highest}")


def revert_takes_over(inv: Invariants, revert: Book) -> None:
    """13: a revert begins when the log of its rollout says that it was taken over, or that it has ended."""
    forward = inv.forward(revert)
    if forward is None or revert.plan.of in inv.sim.holes:
        return
    if forward.state.status not in STOPPED:
        fail("back_in_order", f"a revert begins, and its rollout is {forward.state.status}")


def _part(forward: Book, asked: tuple[StepKey, ...]) -> frozenset[StepKey]:
    """The commanded steps that are asked for, and the later hops of the same places."""
    steps = tuple(forward.plan.steps())
    first = {s.place: s.hop for s in steps if s.key in asked}
    return frozenset(
        s.key for s in steps if s.key in forward.state.commanded and s.hop >= first.get(s.place, s.hop + 1)
    )


def _with_later(forward: Book, wanted: frozenset[StepKey], plan: Plan) -> frozenset[StepKey]:
    """And what `plan` takes back of components after them: they were commanded after the order had been looked at."""
    after = {
        later
        for step in forward.plan.steps()
        if step.key in wanted
        for later in _dependents(forward.plan, step.component)
    }
    more = {step.key for step in plan.steps() if step.component in after}
    return wanted | (more & forward.state.commanded)


def fences_all_places(inv: Invariants, event: Ended) -> None:
    """6: where a rollout was taken back, no late command of it can act: every place was told something higher."""
    for book in inv.books.values():
        forward = inv.forward(book)
        if (
            forward is None
            or book.state.status is not RolloutStatus.REVERTED
            or book.plan.rollout in inv.exempt
            or book.plan.partial
        ):
            continue
        for step in forward.plan.steps():
            told = inv.told.get((step.node, step.component), (0, 0))
            if told < (book.plan.generation, book.plan.sequence_base):
                fail("fenced", f"{step.place} was told {told}, less than its revert")


def taking_over_takes_back(inv: Invariants, event: Ended) -> None:
    """13: who takes over a rollout with commanded nodes takes it back. Where nothing is in the way, it gets there."""
    scenario = inv.sim.scenario
    calm = not scenario.faults and not scenario.happenings
    for rollout, revert in inv.taken_over.items():
        if rollout in inv.exempt:
            continue
        if revert not in inv.books and "rollback" not in inv.sim.broker.gone:
            fail("back_in_order", f"{rollout} was taken over and nothing of it was taken back")
        # A version that crashes again and again may be what a node goes back from by itself.
        loops = any(part.bad == "loop" for part in scenario.parts)
        if calm and not loops and inv.books[revert].state.status is not RolloutStatus.REVERTED:
            fail(
                "everything_ends",
                f"nothing was in the way, and the revert is {inv.books[revert].state.status}",
            )
