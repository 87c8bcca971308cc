"""What must hold at every moment, each under its name. `Invariants.check` is called after every event.

The judges look at what the world did (messages that were stored, processes that work, links), and at the log. They
know the rules of the design, not the code under test.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import wire
from bumpless.common.contract.events import StepOutcome
from bumpless.common.model.finding import Code
from bumpless.common.model.fleet import ComponentState as S
from bumpless.common.model.gate import OnInconclusive
from bumpless.common.model.plan import Direction, Plan, StepKey
from bumpless.common.model.rollout import TERMINAL, BatchStatus, Rollout, RolloutStatus, rollout_id
from bumpless.common.model.verdict import Verdict
from bumpless.executor import effects as do
from bumpless.executor.record import RESTING, ComponentRecord
from simulation import books
from simulation.books import Book, Turned
from simulation.events import Appended, Decided, Ended, Event, Moved, Performing, Saved

if TYPE_CHECKING:
    from simulation.machine import Process
    from simulation.run import Simulation

MID_SWITCH = frozenset({S.STARTING, S.SWITCHING, S.DRAINING})
GOOD = frozenset({StepOutcome.DONE, StepOutcome.ALREADY})
STOPPED = TERMINAL | {RolloutStatus.FAILED}
LONG = do.Stage | do.Start | do.CommitSwitch | do.Install | do.DrainOld | do.Retire | do.Restore | do.Vacate
MOST_TREES = 8
MOST_SAID = 24
HURT_S = 40.0


class Violation(Exception):
    """An invariant does not hold."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


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
        self.hurt: dict[tuple[str, str], float] = {}
        self.refused: set[str] = set()
        self.told: dict[tuple[str, str], tuple[int, int]] = {}
        self.taken_over: dict[str, str] = {}

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
        if isinstance(event, Saved):
            self.saved[event.aggregate, event.value.version] = event.value.state
        if not isinstance(event, Appended):
            return []
        message = event.message
        book = self.books.get(str(getattr(message, "rollout", "")))
        if isinstance(message, c.NodeCommand):
            self.told[message.node, message.component] = (message.generation, message.sequence)
        if isinstance(message, e.ReleaseRefused):
            self.refused.add(message.rollout)
            if any(finding.code is Code.PLAN_INVALID for finding in message.findings):
                _fail("only_what_is_planned", f"a plan that breaks its own rules: {message.reasons}")
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
            if found[0].plan.of is not None:
                revert_covers_commanded(self, found[0])
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


def _fail(name: str, text: str) -> None:
    raise Violation(name, text)


# 1 ----------------------------------------------------------------------------------------------------


def within_the_budget(inv: Invariants, event: Decided) -> None:
    """1, on the nodes: never more of them in the middle of a forward switch than the plan allows."""
    command = event.after.command
    if event.after.state not in MID_SWITCH or event.before.state in MID_SWITCH or command is None:
        return
    book = inv.books.get(command.rollout)
    if book is None or command.direction is Direction.REVERT:
        return
    busy = {
        node.name
        for node in inv.sim.nodes.values()
        for record in node.machine.disk.records.values()
        if record.state in MID_SWITCH and record.command and record.command.rollout == command.rollout
    }
    if len(busy) > book.plan.max_unavailable:
        _fail("within_the_budget", f"{sorted(busy)} switch at once, at most {book.plan.max_unavailable} may")


def decided_within_the_budget(inv: Invariants, turn: Turned) -> None:
    """1, in the log: with what is out for other reasons, and what other rollouts take out."""
    plan = turn.after.plan
    started = {s.node for b in plan.batches if b.id in _started(turn) for s in b.steps}
    if not started or plan.direction is Direction.REVERT:
        return
    out = started | set(turn.after.out) | _unfinished(turn.after)
    mine = {step.node for step in plan.steps()}
    for other in inv.books.values():
        if (
            other.plan.rollout != plan.rollout
            and other.plan.of is None
            and other.state.status
            in (
                RolloutStatus.ROLLING,
                RolloutStatus.PAUSED,
            )
        ):
            out |= _unfinished(other.state) & mine
    if len(out) > plan.max_unavailable:
        _fail("within_the_budget", f"{sorted(out)} would be out, at most {plan.max_unavailable} may")


def _started(turn: Turned) -> set[str]:
    return {m.batch for m in turn.out if isinstance(m, c.ApplyBatch)}


def _unfinished(state: Rollout) -> set[str]:
    return {
        key.partition("/")[0]
        for batch in state.batches.values()
        for key, fact in batch.steps.items()
        if not fact.ok
    }


# 2 ----------------------------------------------------------------------------------------------------


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
            _fail("dependencies_first", f"{batch.id} begins, but {need} lacks {missing}")
        if needed.gate is None or book.promoted or any(s.key in book.idle for s in needed.steps):
            continue
        said = book.verdicts.get(need, set())
        lenient = needed.gate.on_inconclusive is OnInconclusive.PASS and Verdict.INCONCLUSIVE in said
        if Verdict.PASS not in said and not lenient:
            _fail("dependencies_first", f"{batch.id} begins, but the gate of {need} said {sorted(said)}")


# 3 ----------------------------------------------------------------------------------------------------


def current_is_complete(inv: Invariants, event: Moved) -> None:
    """3: `current` and `previous` name trees that are there, whole."""
    disk = event.node.machine.disk
    trees = disk.trees.get(event.component, frozenset())
    missing = [root for root in disk.links.get(event.component, ()) if root is not None and root not in trees]
    if missing:
        _fail("current_is_complete", f"{event.node.name}/{event.component}: links name {missing}, not there")


# 4 ----------------------------------------------------------------------------------------------------


def one_version_serves(inv: Invariants, event: Decided) -> None:
    """4: at rest, what works is the current version and nothing else."""
    after = event.after
    if after.state is not S.SERVING or after.failing is not None or after.out or after.current is None:
        return
    ending = {i.id for i in after.stopping}
    machine = event.node.machine
    roots = {p.target.root for p in machine.working(after.component) if p.instance not in ending}
    warm = after.warm
    if warm is not None and after.serving is None:
        roots.discard(warm.target.root)
    if _hurt(inv, event.node.name, after.component):
        return
    if warm is not None and any(isinstance(x, do.PauseOld) for x in event.effects):
        roots.discard(warm.target.root)
    if roots - {after.current.root}:
        versions = sorted(p.target.version for p in machine.working(after.component))
        _fail("one_version_serves", f"{event.node.name}/{after.component} serves {versions}")


def something_serves(inv: Invariants, event: Moved) -> None:
    """4: no step takes away the last instance that works, but of what is removed, drained or must work alone."""
    if not re.search("is paused|exited with status 0", event.what):
        return
    record = event.node.machine.disk.records.get(event.component)
    if record is None or record.out or record.exclusive or record.current is None:
        return
    if record.command is not None and record.command.target is None:
        return
    # An executor that starts first looks; a drain that was just over brings it back.
    if _hurt(inv, event.node.name, event.component) or record.serving is None or record.back_at is not None:
        return
    if not event.node.machine.working(event.component):
        _fail("one_version_serves", f"{event.node.name}/{event.component}: nothing works after: {event.what}")


def _hurt(inv: Invariants, node: str, component: str) -> bool:
    return inv.sim.world.clock - inv.hurt.get((node, component), -1e9) < HURT_S


# 5 ----------------------------------------------------------------------------------------------------


def one_transition_at_once(inv: Invariants, event: Performing) -> None:
    """5: no work begins on a component while other work on it goes on."""
    if not isinstance(event.effect, LONG) or event.node.executor is None:
        return
    work = event.node.executor.actors[event.component].steps.work
    if work is not None and not work.done() and not work.cancelling():
        _fail(
            "one_transition_at_once", f"{event.node.name}/{event.component}: {event.effect} beside other work"
        )


# 6, 7, 8, 10 ------------------------------------------------------------------------------------------


def _newly_taken(event: Decided) -> c.NodeCommand | None:
    command = event.after.command
    known = event.before.command
    return command if command is not None and (known is None or known.id != command.id) else None


def fenced(inv: Invariants, event: Decided) -> None:
    """6: no command is taken that is lower than the highest one that the node took."""
    command = _newly_taken(event)
    key = (event.node.name, event.after.component, event.node.reset)
    highest = inv.highest.get(key, (0, -1))
    if command is not None and (command.generation, command.sequence) < highest:
        _fail("fenced", f"{key} took {(command.generation, command.sequence)} after {highest}")


def numbers_never_decrease(inv: Invariants, event: Decided) -> None:
    """7: what a node remembers as its highest command only grows, across crashes too."""
    key = (event.node.name, event.after.component, event.node.reset)
    highest = inv.highest.get(key, (0, -1))
    if event.after.number < highest:
        _fail("numbers_never_decrease", f"{key}: {event.after.number} after {highest}")
    inv.highest[key] = event.after.number


def takes_effect_once(inv: Invariants, event: Decided) -> None:
    """8: a command is acted on once, and has one answer, however often it is heard."""
    node, after = event.node, event.after
    command = _newly_taken(event)
    if command is not None:
        key = (node.name, after.component, node.reset, command.id)
        if key in inv.taken:
            _fail("takes_effect_once", f"{node.name}/{after.component} took {command.sequence} again")
        inv.taken.add(key)
    began = event.before.state in RESTING and after.state not in RESTING and after.command is not None
    if began and command is None:
        _fail("takes_effect_once", f"{node.name}/{after.component} acts again on {after.command.sequence}")  # type: ignore[union-attr]
    for said in after.outbox:
        if isinstance(said, e.StepFinished | e.StepStaged):
            which = (node.name, node.reset, str(said.cause))
            told = (said.id, str(getattr(said, "outcome", getattr(said, "ok", ""))))
            if inv.answers.setdefault(which, told) != told:
                _fail("takes_effect_once", f"{which}: answered {inv.answers[which]} and {told}")


def valid_when_taken(inv: Invariants, event: Decided) -> None:
    """10: nothing is done about a command whose time is over by the node's clock."""
    command = _newly_taken(event)
    if command is None or event.after.state in RESTING:
        return
    now = inv.sim.world.now().timestamp() + event.node.skew
    if command.expires_at.timestamp() <= now - 0.001:
        _fail("valid_when_taken", f"{event.node.name}/{event.after.component} acts on an expired command")


# 9 ----------------------------------------------------------------------------------------------------


def only_what_is_planned(inv: Invariants, event: Performing) -> None:
    """9: a node brings only what the plan of its command says for it, and what it had."""
    if not isinstance(event.effect, do.Stage | do.Start | do.CommitSwitch | do.Install):
        return None
    command = event.effect.command
    stored = inv.sim.broker.plans.get(command.plan_hash)
    if stored is None or command.rollout not in inv.books:
        return _fail("only_what_is_planned", f"nobody knows the plan {command.plan_hash}")
    plan = inv.books[command.rollout].plan
    steps = [
        s for s in (*plan.steps(), *plan.fence) if (s.node, s.component) == (command.node, command.component)
    ]
    roots = {plan.targets[t].root for s in steps for t in (s.after, s.before) if t is not None}
    wanted = command.target.root if command.target else None
    if not steps or event.node.name != command.node or wanted not in roots:
        _fail("only_what_is_planned", f"{event.node.name}/{event.component} brings {wanted}")
    return None


# 11, 12, 15 -------------------------------------------------------------------------------------------


def verdict_has_evidence(inv: Invariants, event: Appended) -> None:
    """11: a gate passes only if its last look saw every node run what it is to judge."""
    message = event.message
    if not isinstance(message, e.VerdictReached) or message.verdict is not Verdict.PASS:
        return
    looks = inv.sim.judged.get(message.gate, [])
    book = inv.books.get(message.rollout)
    if not any(verdict is Verdict.PASS and seen for _, verdict, seen in looks):
        _fail("passes_on_evidence", f"gate of {message.batch} passed, looks were {looks[-3:]}")
    if book is None or message.gate not in book.gates or book.gates[message.gate].batch != message.batch:
        _fail("passes_on_evidence", f"a verdict of a gate that nobody opened for {message.batch}")


def passes_on_evidence(inv: Invariants, turn: Turned) -> None:
    """11: a batch with a gate passes by the verdict of that gate, or by a person's word."""
    if turn.before is None:
        return
    awaited = {known.gate for known in turn.before.batches.values()}
    given = turn.given
    if isinstance(given, e.VerdictReached) and turn.after is not turn.before and given.gate not in awaited:
        _fail("passes_on_evidence", f"a verdict counts that nobody waits for, of {given.batch}")
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
        _fail("passes_on_evidence", f"batch {batch.id} passed by {type(given).__name__}")


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
        _fail("failure_stops", f"{started} begin although the rollout is {before.status}")
    failed = (
        isinstance(given, e.VerdictReached)
        and given.verdict is Verdict.FAIL
        and any(b.status is BatchStatus.BAKING and b.gate == given.gate for b in before.batches.values())
    )
    going = before.status in (RolloutStatus.ROLLING, RolloutStatus.PAUSED)
    stopped = isinstance(given, c.Abort | e.RevertStarted) and going
    if (failed or stopped) and (started or turn.after.status not in STOPPED):
        _fail("failure_stops", f"after {type(given).__name__} it is {turn.after.status}, and {started} begin")


def terminal_stays(inv: Invariants, turn: Turned) -> None:
    """15: what has ended stays ended, but that it may be taken back. A revert that fails halts."""
    if turn.after.plan.of is not None and turn.after.status is RolloutStatus.FAILED:
        _fail("terminal_stays", "a revert failed instead of halting: somebody would revert it")
    if turn.before is None or turn.before.status not in TERMINAL:
        return
    if turn.after.status != turn.before.status and not isinstance(
        turn.given, e.RolloutReverted | e.RolloutHalted
    ):
        _fail("terminal_stays", f"{turn.before.status} -> {turn.after.status} by {type(turn.given).__name__}")


# 13 ---------------------------------------------------------------------------------------------------


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
            _fail("back_in_order", f"{step.key} gets {brings}, it had {wanted}")
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
            _fail("back_in_order", f"{batch.component} goes back before {left}")


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
    """13: a revert brings back every node that was commanded, whether or not it had answered; people ask for no part.

    6: and its commands are numbered above all that it takes back.
    """
    plan = revert.plan
    forward = inv.forward(revert)
    if forward is None or plan.of in inv.sim.holes:
        return
    mine: set[StepKey] = {step.key for step in plan.steps()}
    left = sorted(forward.state.commanded - mine)
    if left or plan.partial:
        _fail("back_in_order", f"the revert leaves out {left}, which were commanded")
    highest = max(command.sequence for command in forward.decided.values())
    if (plan.generation, plan.sequence_base) < (forward.plan.generation, highest):
        _fail("fenced", f"the revert begins at {plan.sequence_base}, its rollout was at {highest}")


def fences_all_places(inv: Invariants, event: Ended) -> None:
    """6: where a rollout was taken back, no late command of it can act: every place was told something higher."""
    for book in inv.books.values():
        forward = inv.forward(book)
        if (
            forward is None
            or book.state.status is not RolloutStatus.REVERTED
            or book.plan.rollout in _exempt(inv)
        ):
            continue
        for step in forward.plan.steps():
            told = inv.told.get((step.node, step.component), (0, 0))
            if told < (book.plan.generation, book.plan.sequence_base):
                _fail("fenced", f"{step.place} was told {told}, less than its revert")


def taking_over_takes_back(inv: Invariants, event: Ended) -> None:
    """13: who takes over a rollout with commanded nodes takes it back. Where nothing is in the way, it gets there."""
    scenario = inv.sim.scenario
    calm = not scenario.faults and not scenario.happenings
    for rollout, revert in inv.taken_over.items():
        if rollout in _exempt(inv):
            continue
        if revert not in inv.books:
            _fail("back_in_order", f"{rollout} was taken over and nothing of it was taken back")
        # A version that crashes again and again may be what a node goes back from by itself.
        loops = any(part.bad == "loop" for part in scenario.parts)
        if calm and not loops and inv.books[revert].state.status is not RolloutStatus.REVERTED:
            _fail(
                "everything_ends",
                f"nothing was in the way, and the revert is {inv.books[revert].state.status}",
            )


# 16 ---------------------------------------------------------------------------------------------------


def begins_alone(inv: Invariants, book: Book) -> None:
    """16: no rollout begins on a place where another one is at work. 7: every plan has a generation of its own."""
    plan = book.plan
    if plan.of is not None:
        return
    places = {s.place for s in plan.steps()}
    for other in inv.books.values():
        if plan.generation <= other.plan.generation:
            _fail("numbers_never_decrease", f"generation {plan.generation} after {other.plan.generation}")
        if not other.state.ended and other.plan.rollout not in inv.sim.holes:
            shared = places & {s.place for s in other.plan.steps()}
            if shared and not other.state.left_to_a_person:
                _fail(
                    "no_shared_places",
                    f"{sorted(shared)} of {other.plan.rollout}, which is {other.state.status}",
                )


# 17, 18 -----------------------------------------------------------------------------------------------


def same_id_same_words(inv: Invariants, event: Appended) -> None:
    """17: what was decided once is never decided differently, whatever happened to the store."""
    message = event.message
    if not isinstance(message, c.NodeCommand | c.OpenGate | e.RolloutFailed | e.VerdictReached):
        return
    body = wire.encode(message).decode()
    if inv.bodies.setdefault(message.id, body) != body:
        _fail("store_changes_nothing", f"{message.id} says two things:\n{inv.bodies[message.id]}\n{body}")


def log_is_what_was_saved(inv: Invariants, event: Appended) -> None:
    """17: replaying the log gives the state that was decided."""
    entry = event.message
    if not isinstance(entry, e.RolloutAdvanced) or entry.rollout in inv.sim.holes:
        return
    saved = inv.saved.get((entry.rollout, entry.version))
    owner = {"planner-a", "planner-b"} if entry.owner == "planner" else {"rollback"}
    if saved is None or event.by not in owner:
        return
    raw = json.loads(saved)
    raw.pop("plan_hash")
    replayed = inv.books[entry.rollout].state.model_dump(mode="json", exclude={"plan"}, exclude_defaults=True)
    if raw != replayed:
        different = sorted(name for name in {**raw, **replayed} if raw.get(name) != replayed.get(name))
        _fail("store_changes_nothing", f"version {entry.version}: {different} differ from the replayed log")


def log_before_effect(inv: Invariants, event: Appended) -> None:
    """18: a node is commanded only what the log of the rollout has decided already."""
    command = event.message
    if not isinstance(command, c.NodeCommand) or command.rollout in inv.sim.holes:
        return
    book = inv.books.get(command.rollout)
    if book is None or command.cause not in book.decided:
        _fail(
            "log_before_effect", f"{command.node}/{command.component} is commanded what no log entry decided"
        )


# 19, 20 -----------------------------------------------------------------------------------------------


def compatible(inv: Invariants, event: Moved) -> None:
    """19: nothing that works writes what something that works cannot read."""
    if "is working" not in event.what or not inv.sim.scenario.parts[0].channel:
        return
    working = [
        p
        for node in inv.sim.nodes.values()
        for p in node.machine.processes.values()
        if p.alive and p.mode == "working" and not _stands_in(node.machine.disk.records[p.component], p)
    ]
    reads = [(p, int(use.reads.rpartition("=")[2])) for p in working for use in p.target.consumes]
    for producer in working:
        for made in producer.target.produces:
            for consumer, most in reads:
                if int(made.writes) > most:
                    _fail(
                        "compatible",
                        f"{producer.component} {producer.target.version} writes {made.writes}, "
                        f"{consumer.component} {consumer.target.version} reads up to {most}",
                    )


def _stands_in(record: ComponentRecord, process: Process) -> bool:
    """Whether a node works with an earlier version by itself, after a crash: it knows nothing of the others."""
    return record.returned_from is not None or (
        record.warm is not None and record.warm.id == process.instance
    )


def within_bounds(inv: Invariants, event: Decided) -> None:
    """20: what waits on a node, and what it keeps, stays small; nothing impossible was heard."""
    after, node = event.after, event.node
    trees = node.machine.disk.trees.get(after.component, frozenset())
    if len(trees) > MOST_TREES or len(after.outbox) > MOST_SAID or len(after.stopping) > MOST_SAID:
        _fail("within_bounds", f"{len(trees)} trees, {len(after.outbox)} words, {len(after.stopping)} ending")
    if node.broken:
        _fail("within_bounds", f"{node.name} heard what cannot be: {node.broken[0]}")


# 14 ---------------------------------------------------------------------------------------------------


def everything_ends(inv: Invariants, event: Ended) -> None:
    """14: with the faults over, every rollout has ended, nothing waits, and nodes run what the ends say."""
    sim = inv.sim
    for owner, memory in sim.stores.items():
        left = [
            a
            for a in sorted({*memory.deadlines, *memory.unpublished})
            if a.partition("/")[0] not in _exempt(inv)
        ]
        if left:
            _fail("everything_ends", f"{owner} still waits for {left}")
    for book in inv.books.values():
        if book.plan.rollout in _exempt(inv) or book.state.ended or book.state.left_to_a_person:
            continue
        _fail("everything_ends", f"rollout {book.plan.rollout} is still {book.state.status}")
    answered = {*inv.books, *inv.refused, *_exempt(inv)}
    for release in sim.releases:
        if rollout_id(release.product, release.digest, 0) not in answered:
            _fail("everything_ends", f"nothing came of release {release.version}")
    parked = [p for p in sim.broker.parked if _about(p[1]) not in _exempt(inv)]
    if parked:
        _fail("everything_ends", f"parked: {parked[0]}")
    if sim.broker.pending:
        _fail("everything_ends", f"{sim.broker.pending} messages are not delivered")
    for node in sim.nodes.values():
        for name, record in node.machine.disk.records.items():
            if record.state not in RESTING or record.outbox or record.waiting is not None:
                _fail("everything_ends", f"{node.name}/{name} is {record.state}, says {len(record.outbox)}")
            if (
                record.state is S.SERVING
                and not record.out
                and not node.machine.working(name)
                and not _bad(inv, node, record)
            ):
                _fail("everything_ends", f"{node.name}/{name}: nothing works")


def _about(message: Any) -> str:
    """The rollout that a message is about, or would begin."""
    if isinstance(message, e.ReleaseAnnounced):
        return rollout_id(message.product, message.digest, message.attempt)
    return str(getattr(message, "rollout", ""))


def ends_are_true(inv: Invariants, event: Ended) -> None:
    """14: succeeded is every node on the target, reverted every node on what it had."""
    for book in inv.books.values():
        if book.plan.rollout in _exempt(inv) or book.plan.partial:
            continue
        if book.state.status is RolloutStatus.SUCCEEDED or (
            book.plan.of is not None and book.state.status is RolloutStatus.REVERTED
        ):
            for step in book.plan.steps():
                _on_target(inv, book, step)


def _on_target(inv: Invariants, book: Book, step: Any) -> None:
    node = inv.sim.nodes[step.node]
    record = node.machine.disk.records[step.component]
    hops = [s.hop for s in book.plan.steps() if s.place == step.place]
    last = max(hops) if book.plan.of is None else min(hops)
    later = any(
        other.plan.rollout != book.plan.rollout
        and (other.plan.generation, other.plan.sequence_base)
        > (book.plan.generation, book.plan.sequence_base)
        and any(s.place == step.place for s in other.plan.steps())
        for other in inv.books.values()
    )
    if later or node.reset or record.returned_from is not None or step.hop != last:
        return
    wanted = None if step.after is None else book.plan.targets[step.after].root
    found = None if record.current is None else record.current.root
    if wanted != found and not any(
        f.ok is False for b in book.state.batches.values() for f in b.steps.values()
    ):
        _fail("everything_ends", f"{book.state.status}, but {step.key} runs {found}, wanted {wanted}")


def _bad(inv: Invariants, node: Any, record: Any) -> bool:
    return inv.sim._bad(record.component, record.current.version) in ("loop", "start")


def _exempt(inv: Invariants) -> set[str]:
    """Rollouts whose log lost an entry, and their reverts: they wait for a person."""
    holes = inv.sim.holes
    return (
        holes
        | {r for r, book in inv.books.items() if str(book.plan.of) in holes}
        | {str(book.plan.of) for r, book in inv.books.items() if r in holes and book.plan.of}
    )


Judge = Callable[[Invariants, Any], None]
JUDGES: dict[type, tuple[Judge, ...]] = {
    Decided: (
        within_the_budget,
        one_version_serves,
        fenced,
        takes_effect_once,
        valid_when_taken,
        numbers_never_decrease,
        within_bounds,
    ),
    Appended: (
        dependencies_first,
        verdict_has_evidence,
        back_in_order,
        same_id_same_words,
        log_is_what_was_saved,
        log_before_effect,
    ),
    Moved: (current_is_complete, something_serves, compatible),
    Performing: (one_transition_at_once, only_what_is_planned),
    Ended: (everything_ends, ends_are_true, taking_over_takes_back, fences_all_places),
}
TURN_JUDGES: tuple[Judge, ...] = (
    decided_within_the_budget,
    passes_on_evidence,
    failure_stops,
    terminal_stays,
)
