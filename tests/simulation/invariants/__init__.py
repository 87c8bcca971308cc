"""What must hold at every moment, each under its name. `Invariants.check` is called after every event.

The judges look at what the world did (messages that were stored, processes that work, links), and at the log. They
know the rules of the design, not the code under test.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.finding import Code
from bumpless.common.model.plan import StepKey
from simulation import books
from simulation.books import Book, Turned
from simulation.events import Appended, Began, Decided, Ended, Event, Moved, Performing, Saved, Struck
from simulation.invariants.commands import (
    fenced,
    numbers_never_decrease,
    takes_effect_once,
    valid_when_taken,
    words_arrive,
)
from simulation.invariants.ends import ends_are_true, everything_ends, everything_said_arrives
from simulation.invariants.logs import (
    gates_stay_ended,
    log_before_effect,
    log_is_what_was_saved,
    nothing_is_left_unsaid,
    same_id_same_words,
    store_forgets,
)
from simulation.invariants.nodes import (
    compatible,
    current_is_complete,
    drained_is_told_to_leave,
    drained_runs_nothing,
    exclusive_works_alone,
    one_transition_at_once,
    one_version_serves,
    only_what_is_planned,
    previous_is_kept,
    something_serves,
    within_bounds,
    within_the_budget,
)
from simulation.invariants.reverts import (
    back_in_order,
    fences_all_places,
    revert_covers_commanded,
    revert_takes_over,
    taking_over_takes_back,
)
from simulation.invariants.rollouts import (
    begins_alone,
    decided_within_the_budget,
    dependencies_first,
    failure_stops,
    orders_act_once,
    passes_on_evidence,
    terminal_stays,
    verdict_has_evidence,
)
from simulation.invariants.violation import Violation, fail

if TYPE_CHECKING:
    from simulation.run import Simulation

GOOD = frozenset({StepOutcome.DONE, StepOutcome.ALREADY})


class Invariants:
    """Keeps the books, and asks every judge about every event. The first violation is kept, and ends the run."""

    def __init__(self, simulation: Simulation) -> None:
        self.sim = simulation
        self.books: dict[str, Book] = {}
        self.broken = asyncio.Event()
        self.violation: Violation | None = None
        self.seen: Counter[str] = Counter()
        self.taken: set[tuple[Any, ...]] = set()
        self.highest: dict[tuple[str, str, int], tuple[int, int]] = {}
        self.answers: dict[tuple[str, int, str], tuple[str, str]] = {}
        self.bodies: dict[str, str] = {}
        self.saved: dict[tuple[str, int], bytes] = {}
        self.saved_at: dict[tuple[str, str], float] = {}
        self.hurt: dict[tuple[str, str], float] = {}
        self.refused: set[str] = set()
        self.told: dict[tuple[str, str], tuple[int, int]] = {}
        self.taken_over: dict[str, str] = {}
        self.asked: dict[str, tuple[StepKey, ...]] = {}
        """The steps that a person asked to take back, by the order."""
        self.words: dict[str, tuple[str, int]] = {}
        """What nodes wrote down to be said and have not, with the node and the life of its disk."""
        self.arrived: set[str] = set()
        self.drained: dict[str, float] = {}
        """Since when nodes are drained."""
        self.orders: set[str] = set()
        """The orders of people that did something."""
        self.gates_ended: dict[str, str] = {}
        """How, of those of which the store knows it."""
        self.parts_asked: dict[str, tuple[StepKey, ...]] = {}
        """The same, by the revert that does it."""

    def check(self, event: Event) -> None:
        if self.violation is not None:
            return
        try:
            turns = self._enter(event)
            for judge in JUDGES.get(type(event), ()):
                judge(self, event)
                self.seen[judge.__name__] += 1
            for turn in turns:
                for judge in TURN_JUDGES:
                    judge(self, turn)
                    self.seen[judge.__name__] += 1
        except Violation as violation:
            self.violation = violation
            self.sim.world.say(f"VIOLATION {violation}")
            self.broken.set()

    def ends(self) -> dict[str, int]:
        return dict(Counter(str(book.state.status) for book in self.books.values()))

    def _enter(self, event: Event) -> list[Turned]:
        """Keep the books; what a log entry did to its rollout."""
        if isinstance(event, Moved) and re.search("crashed|lost power|was killed", event.what):
            self.hurt[event.node.name, event.component] = self.sim.world.clock
        if isinstance(event, Decided):
            if event.after.out:
                self.drained.setdefault(event.node.name, self.sim.world.clock)
            else:
                self.drained.pop(event.node.name, None)
        if isinstance(event, Saved):
            self.saved[event.aggregate, event.value.version] = event.value.state
            self.saved_at[event.owner, event.aggregate] = self.sim.world.clock
        if not isinstance(event, Appended):
            return []
        message = event.message
        book = self.books.get(str(getattr(message, "rollout", "")))
        if isinstance(message, c.NodeCommand):
            self.told[message.node, message.component] = (message.generation, message.sequence)
        if isinstance(message, c.Rollback) and message.only:
            self.asked[message.id] = message.only
        if isinstance(message, e.ReleaseRefused):
            self.refused.add(message.rollout)
            if any(finding.code is Code.PLAN_INVALID for finding in message.findings):
                fail("only_what_is_planned", f"a plan that breaks its own rules: {message.reasons}")
        if isinstance(message, e.RolloutAdvanced):
            return self._entry(book, message)
        if book is None:
            return []
        match message:
            case e.StepFinished() if message.plan_hash == book.plan.hash and message.outcome in GOOD:
                place = book.place(message)
                if place is not None:
                    book.good.add(place)
                    if message.idle:
                        book.idle.add(place)
            case e.VerdictReached():
                book.verdicts.setdefault(message.batch, set()).add(message.verdict)
            case c.OpenGate():
                book.gates[message.gate] = message
            case c.Promote():
                book.promoted = True
        return []

    def _entry(self, book: Book | None, entry: e.RolloutAdvanced) -> list[Turned]:
        if entry.rollout in self.sim.holes:
            return []
        if book is None:
            found = books.opened(entry, self.sim.broker.plans)
            if found is None:
                raise Violation(
                    "numbers_never_decrease",
                    f"the log of {entry.rollout} begins with {entry.inputs[0].message}",
                )
            begins_alone(self, found[0])
            cause = found[1][0].given.cause
            self.parts_asked[entry.rollout] = self.asked.get(str(cause), ())
            if found[0].plan.of is not None:
                revert_covers_commanded(self, found[0])
                revert_takes_over(self, found[0])
            self.books[entry.rollout] = found[0]
            return found[1]
        if entry.version != book.version + 1:
            raise Violation(
                "numbers_never_decrease",
                f"log of {entry.rollout}: version {entry.version} after {book.version}",
            )
        turns = books.turned(book, entry)
        for turn in turns:
            given = turn.given
            if isinstance(given, e.RevertStarted) and turn.after is not turn.before and turn.after.commanded:
                self.taken_over[entry.rollout] = given.revert
        if book.state.status != entry.status:
            raise Violation(
                "store_changes_nothing", f"log says {entry.status}, replay gives {book.state.status}"
            )
        return turns

    def forward(self, revert: Book) -> Book | None:
        return self.books.get(str(revert.plan.of))

    @property
    def exempt(self) -> set[str]:
        """Rollouts whose log lost an entry, and their reverts: they wait for a person. Reverts that nobody is there for."""
        holes = self.sim.holes
        alone = {r for r, book in self.books.items() if book.plan.of and "rollback" in self.sim.broker.gone}
        return (
            holes
            | alone
            | {r for r, book in self.books.items() if str(book.plan.of) in holes}
            | {str(book.plan.of) for r, book in self.books.items() if r in holes and book.plan.of}
        )


Judge = Callable[[Invariants, Any], None]
JUDGES: dict[type, tuple[Judge, ...]] = {
    Decided: (
        previous_is_kept,
        drained_is_told_to_leave,
        within_the_budget,
        one_version_serves,
        fenced,
        takes_effect_once,
        valid_when_taken,
        numbers_never_decrease,
        within_bounds,
    ),
    Appended: (
        words_arrive,
        dependencies_first,
        verdict_has_evidence,
        back_in_order,
        same_id_same_words,
        log_is_what_was_saved,
        log_before_effect,
    ),
    Moved: (current_is_complete, something_serves, exclusive_works_alone, drained_runs_nothing, compatible),
    Performing: (one_transition_at_once, only_what_is_planned),
    Saved: (gates_stay_ended,),
    Began: (nothing_is_left_unsaid,),
    Struck: (store_forgets,),
    Ended: (
        everything_ends,
        everything_said_arrives,
        ends_are_true,
        taking_over_takes_back,
        fences_all_places,
    ),
}
TURN_JUDGES: tuple[Judge, ...] = (
    decided_within_the_budget,
    passes_on_evidence,
    failure_stops,
    orders_act_once,
    terminal_stays,
)
