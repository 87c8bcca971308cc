"""Shown against done: a plan, and what the log of its rollout says was commanded, answered and judged. Pure.

The log holds what came in, and what the engine sent because of it follows from deciding it again; both are given here
as turns. What nodes and gates said is held against the plan, and so is what was sent: a fault of the engine shows as
well as one of a node. A rollout that did not succeed may leave the end of its plan out, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message
from bumpless.common.model.gate import OnInconclusive
from bumpless.common.model.plan import Batch, Direction, Plan, Step, StepKey
from bumpless.common.model.rollout import RolloutStatus
from bumpless.common.model.verdict import Verdict
from bumpless.common.render.compared import Comparison, Discrepancy, Kind, Turn
from bumpless.common.render.words import count, names, natural

GOOD = frozenset({e.StepOutcome.DONE, e.StepOutcome.ALREADY})


def compare(
    plan: Plan, turns: Iterable[Turn], status: str, standing: Sequence[c.NodeCommand] = ()
) -> Comparison:
    """`standing` are last commands on the broker, of this rollout or of others."""
    seen = _Seen(plan)
    for turn in turns:
        for message in turn.inputs:
            seen.heard(message, turn.at)
        for message in turn.sent:
            seen.was_sent(message, turn.at)
    seen.end(status)
    for command in standing:
        seen.stands(command)
    return Comparison(
        rollout=plan.rollout,
        plan_hash=plan.hash,
        status=status,
        batches=len(seen.commanded),
        steps=sum(len(seen.batches[name].steps) for name in seen.commanded if name in seen.batches),
        answered=len(seen.answers),
        gates=sum(seen.opened.values()),
        left_out=tuple(sorted((b for b in seen.batches if b not in seen.commanded), key=natural)),
        discrepancies=tuple(seen.found),
    )


def taken_back(plan: Plan, commanded: Iterable[StepKey], reverts: Sequence[Plan]) -> list[Discrepancy]:
    """What of a rollout's commanded steps no whole revert covers, and what a revert does beyond them."""
    whole = [revert for revert in reverts if not revert.partial]
    steps = {step.key: step for step in plan.steps()}
    told = {(steps[key].node, steps[key].component) for key in commanded}
    found = []
    for revert in reverts:
        back = {(step.node, step.component) for step in revert.steps()}
        for node, component in sorted(back - told):
            found.append(
                Discrepancy(
                    kind=Kind.OUTSIDE,
                    subject=f"{node}/{component}",
                    text=f"revert {revert.rollout} takes it back, the rollout never commanded it",
                )
            )
        if revert in whole:
            for node, component in sorted(told - back):
                found.append(
                    Discrepancy(
                        kind=Kind.MISSING,
                        subject=f"{node}/{component}",
                        text=f"it was commanded, and revert {revert.rollout} does not take it back",
                    )
                )
    return found


def in_words(found: Comparison) -> list[str]:
    """The answer first, then every discrepancy."""
    what = (
        f"{count(found.batches, 'batch')} with {count(found.steps, 'step')} commanded, "
        f"{count(found.answered, 'step')} answered, {count(found.gates, 'gate')} opened"
    )
    if found.discrepancies:
        differs = (
            "1 thing was" if len(found.discrepancies) == 1 else f"{len(found.discrepancies)} things were"
        )
        lines = [f"{found.rollout}: {differs} not done as shown ({what}; {found.status})"]
    else:
        lines = [f"{found.rollout}: done exactly as shown ({what}; {found.status})"]
    if found.left_out:
        lines.append(f"  not commanded, because it is {found.status}: {names(found.left_out)}")
    lines += [f"  {one.kind} {one.subject}: {one.text}" for one in found.discrepancies]
    return lines


@dataclass
class _Seen:
    """What has been done so far, and everything about it that is not as the plan says."""

    plan: Plan
    batches: dict[str, Batch] = field(init=False)
    left: dict[str, int] = field(init=False)
    """How many steps of a batch nobody has answered for."""
    found: list[Discrepancy] = field(default_factory=list)
    commanded: dict[str, datetime] = field(default_factory=dict)
    answers: dict[StepKey, e.StepFinished] = field(default_factory=dict)
    opened: dict[str, int] = field(default_factory=dict)
    approved: set[str | None] = field(default_factory=set)
    settled: dict[str, datetime] = field(default_factory=dict)
    """When a batch passed, by what was said about it."""
    undecided: set[str] = field(default_factory=set)
    """Batches whose last gate could not decide: another one may be opened."""
    out: Counter[str] = field(default_factory=Counter)
    """How many steps of a node were commanded and have no good answer."""
    staged: int = 0
    planned: bool = False

    def __post_init__(self) -> None:
        self.batches = {batch.id: batch for batch in self.plan.batches}
        self.left = {batch.id: len(batch.steps) for batch in self.plan.batches}

    def say(self, kind: Kind, subject: str, text: str) -> None:
        self.found.append(Discrepancy(kind=kind, subject=subject, text=text))

    # what came in -----------------------------------------------------------------------------------------

    def heard(self, message: Message, at: datetime) -> None:
        match message:
            case e.RolloutPlanned():
                self.planned = True
                if message.plan_hash != self.plan.hash:
                    self.say(
                        Kind.PLAN,
                        message.rollout,
                        f"expected plan {self.plan.hash}, the rollout was begun with {message.plan_hash}",
                    )
            case c.Approve() if message.plan_hash == self.plan.hash:
                self.approved.add(message.batch)
            case e.StepFinished():
                self._answered(message, at)
            case e.VerdictReached():
                self._judged(message, at)
            case c.Promote():
                for name in self.opened if message.batch is None else [message.batch]:
                    if name in self.opened:
                        self.settled.setdefault(name, at)
            case e.ComponentCrashLooping() if message.returning:
                self.say(
                    Kind.RESULT,
                    f"{message.node}/{message.component}",
                    f"the node left {message.version} by itself: {message.reason}",
                )
            case _:
                pass

    def _answered(self, message: e.StepFinished, at: datetime) -> None:
        if message.plan_hash != self.plan.hash:
            return  # of another attempt; the engine takes no notice either
        where = f"{message.node}/{message.component}"
        batch = self.batches.get(message.batch or "")
        step = None if batch is None else _step(batch, message)
        if batch is None or step is None:
            self.say(
                Kind.OUTSIDE, where, f"a node finished it in batch {message.batch}; no such step was shown"
            )
            return
        if batch.id not in self.commanded:
            self.say(Kind.ORDER, step.key, f"finished before batch {batch.id} was commanded")
        known = self.answers.get(step.key)
        if known is not None and known.outcome in GOOD:
            if message.outcome is e.StepOutcome.DONE and message.switched_at != known.switched_at:
                self.say(
                    Kind.TWICE,
                    step.key,
                    f"switched at {known.switched_at} and again at {message.switched_at}",
                )
            return
        if known is None:
            self.left[batch.id] -= 1
        self.answers[step.key] = message
        if message.outcome in GOOD:
            self.out[step.node] -= 1
        wanted = None if step.after is None else self.plan.targets[step.after].root
        if message.outcome in GOOD and message.root != wanted:
            self.say(Kind.RESULT, step.key, f"{wanted} was shown, the node runs {message.root}")
        self._settle(batch, at)

    def _settle(self, batch: Batch, at: datetime) -> None:
        """Without a gate, a batch passes with the answer of its last step."""
        if batch.gate is None and not self.left[batch.id] and len(self._bad(batch)) <= batch.tolerance:
            self.settled.setdefault(batch.id, at)

    def _judged(self, message: e.VerdictReached, at: datetime) -> None:
        batch = self.batches.get(message.batch)
        if batch is None or batch.gate is None:
            self.say(Kind.GATE, message.batch, "judged, though no gate was shown")
            return
        match message.verdict:
            case Verdict.PASS:
                self.settled.setdefault(batch.id, at)
            case Verdict.INCONCLUSIVE:
                self.undecided.add(batch.id)
                if batch.gate.on_inconclusive is OnInconclusive.PASS:
                    self.settled.setdefault(batch.id, at)
            case Verdict.FAIL:
                pass
            case _:
                assert_never(message.verdict)

    # what was sent ----------------------------------------------------------------------------------------

    def was_sent(self, message: Message, at: datetime) -> None:
        match message:
            case c.StageArtifacts():
                self._stages(message)
            case c.ApplyBatch():
                self._applies(message, at)
            case c.OpenGate():
                self._opens(message)
            case _:
                pass

    def _stages(self, message: c.StageArtifacts) -> None:
        self.staged += 1
        if self.staged > 1:
            self.say(Kind.TWICE, self.plan.rollout, "its nodes were told to stage more than once")
        if self.plan.approval and None not in self.approved:
            self.say(Kind.APPROVAL, self.plan.rollout, "started without the approval that was shown")
        forward = self.plan.direction is Direction.FORWARD
        wanted = {_place(s) for s in self.plan.steps() if s.after is not None}
        given = [_place(s) for s in message.steps]
        self._same(given, wanted if forward else {_place(s) for s in self.plan.fence}, "staging")

    def _applies(self, message: c.ApplyBatch, at: datetime) -> None:
        batch = self.batches.get(message.batch)
        if batch is None:
            self.say(Kind.OUTSIDE, message.batch, "commanded, no such batch was shown")
            return
        if batch.id in self.commanded:
            self.say(Kind.TWICE, batch.id, "commanded more than once")
        if (message.plan_hash, message.generation) != (self.plan.hash, self.plan.generation):
            self.say(
                Kind.PLAN, batch.id, f"commanded for {message.plan_hash}, generation {message.generation}"
            )
        self._same(
            [(s.key, s) for s in message.steps], {(s.key, s) for s in batch.steps}, f"batch {batch.id}"
        )
        if batch.approval and batch.id not in self.approved:
            self.say(Kind.APPROVAL, batch.id, "started without the approval that was shown")
        for need in sorted(batch.needs, key=natural):
            passed = self.settled.get(need)
            if passed is None:
                self.say(Kind.ORDER, batch.id, f"commanded before {need} had passed")
            elif at < passed + timedelta(seconds=batch.wait_s):
                waited = (at - passed).total_seconds()
                self.say(
                    Kind.ORDER, batch.id, f"{batch.wait_s:g} s after {need} were shown, it was {waited:g} s"
                )
        self.out.update(step.node for step in batch.steps)
        out = [node for node, number in self.out.items() if number > 0]
        if len(out) > self.plan.max_unavailable:
            text = f"{count(len(out), 'node')} out at once, at most {self.plan.max_unavailable} were shown"
            self.say(Kind.ORDER, batch.id, text)
        self.commanded.setdefault(batch.id, at)

    def _opens(self, message: c.OpenGate) -> None:
        batch = self.batches.get(message.batch)
        if batch is None or batch.gate is None or batch.gate != message.spec:
            self.say(Kind.GATE, message.batch, "a gate was opened that was not shown")
            return
        again = self.opened.get(batch.id, 0)
        if again and batch.id not in self.undecided:
            self.say(Kind.GATE, batch.id, "its gate was opened again, though the one before had decided")
        self.undecided.discard(batch.id)
        self.opened[batch.id] = again + 1
        if self.left[batch.id]:
            self.say(Kind.GATE, batch.id, "its gate was opened before every step was done")

    def stands(self, command: c.NodeCommand) -> None:
        """A command that stands on the broker names this rollout: it is one that was shown."""
        if command.rollout != self.plan.rollout or not isinstance(command, c.ApplyComponent):
            return
        where = f"{command.node}/{command.component}"
        batch = self.batches.get(command.batch or "")
        step = None if batch is None else _step(batch, command)
        if step is None:
            self.say(Kind.OUTSIDE, where, "a command for it stands on the broker, no such step was shown")
            return
        after = None if step.after is None else self.plan.targets[step.after]
        if command.plan_hash != self.plan.hash or command.target != after:
            self.say(
                Kind.OUTSIDE, step.key, "the command that stands on the broker is not the one that was shown"
            )
        if command.batch not in self.commanded:
            self.say(Kind.OUTSIDE, step.key, "a command for it stands on the broker, the log knows of none")

    # the end ----------------------------------------------------------------------------------------------

    def end(self, status: str) -> None:
        """What is missing: everything must have been done by a rollout that succeeded, or a revert that is through."""
        if not self.planned:
            self.say(Kind.PLAN, self.plan.rollout, "its log does not begin with a plan")
        for name in self.commanded:
            if name in self.settled and self.batches[name].gate is not None and not self.opened.get(name):
                self.say(Kind.GATE, name, "the gate that was shown was never opened")
        revert = self.plan.direction is Direction.REVERT
        if status != (RolloutStatus.REVERTED if revert else RolloutStatus.SUCCEEDED):
            return
        for batch in self.plan.batches:
            if batch.id not in self.commanded:
                self.say(Kind.MISSING, batch.id, "shown and never commanded")
                continue
            if batch.id not in self.settled:
                self.say(Kind.MISSING, batch.id, "it never passed")
            for step in self._unfinished(batch):
                self.say(Kind.MISSING, step.key, "commanded, and no node ever finished it")

    def _same(
        self, given: Sequence[tuple[str, Step | None]], wanted: Set[tuple[str, Step | None]], what: str
    ) -> None:
        """Both are names with what they stand for."""
        seen = set(given)
        for (name, _), number in Counter(given).items():
            if number > 1:
                self.say(Kind.TWICE, name, f"stands {number} times in the command of {what}")
        for name, _ in sorted(wanted - seen, key=lambda one: natural(one[0])):
            self.say(Kind.MISSING, name, f"shown, and not in the command of {what}")
        for name, _ in sorted(seen - wanted, key=lambda one: natural(one[0])):
            self.say(Kind.OUTSIDE, name, f"in the command of {what}, and not shown like that")

    def _unfinished(self, batch: Batch) -> list[Step]:
        return [step for step in batch.steps if step.key not in self.answers]

    def _bad(self, batch: Batch) -> list[Step]:
        """The steps of which nothing good has been said."""
        return [
            step
            for step in batch.steps
            if (answer := self.answers.get(step.key)) is None or answer.outcome not in GOOD
        ]


def _step(batch: Batch, message: e.StepFinished | c.NodeCommand) -> Step | None:
    where = (message.node, message.component)
    return next((step for step in batch.steps if (step.node, step.component) == where), None)


def _place(step: Step) -> tuple[str, None]:
    """Where a step is, whichever hop: what is staged is staged for all hops at once."""
    return f"{step.node}/{step.component}", None
