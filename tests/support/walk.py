"""A random course of one rollout: nodes answer, gates judge, people interfere, time runs out, in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from hypothesis import strategies as st

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, RolloutId
from bumpless.common.contract.events import StepOutcome
from bumpless.common.engine import batch as engine_batch
from bumpless.common.engine.transitions import IGNORE, ILLEGAL, TABLE
from bumpless.common.engine.turn import next_deadline
from bumpless.common.model.plan import Direction, Plan, Step
from bumpless.common.model.release import RollbackPolicy
from bumpless.common.model.rollout import BatchStatus, RolloutStatus
from bumpless.common.model.verdict import Verdict
from support.rollouts import Course

Option = Callable[[], Message | None]
"""Makes the message to feed next; None lets the next deadline come."""


@st.composite
def choices(draw: st.DrawFn) -> list[int]:
    """Enough numbers to see most courses through. Drawn from a seed, because lists that are drawn one by one stay short."""
    chance = Random(draw(st.integers(0, 1 << 32)))
    return [chance.randrange(10_000) for _ in range(draw(st.sampled_from([150, 30])))]


class Walk(Course):
    """A course steered by numbers; each picks one of what may happen next, likely things more often."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.had_effect: list[Message] = []
        self._answered_badly: set[str] = set()
        self.check(None, self.state)

    def go(self, choices: Sequence[int]) -> None:
        for choice in choices:
            options = self._options()
            if not options:
                return
            message = options[choice % len(options)]()
            before = self.state
            if message is None:
                message = self.fire()
            else:
                self.feed(message, 1 + choice % 7)
            if self.state is not before:
                self.had_effect.append(message)
            self.check(message, before)

    def start(self) -> None:
        """Approve and stage as far as it goes, so that the course begins where batches run."""
        if self.status is RolloutStatus.PLANNED:
            self.feed(self.order(c.Approve, plan_hash=self.plan.hash))
        if self.status is RolloutStatus.STAGING:
            self.stage_all()

    def _options(self) -> list[Option]:
        if self.state.ended:
            return []
        good, bad = self.good(), self._bad()
        if next_deadline(self.state) is not None:
            (bad if good else good).append(lambda: None)
        return good * (1 + 6 * len(bad) // max(1, len(good))) + bad

    def good(self) -> list[Option]:
        """What happens when all goes well."""
        found: list[Option] = []
        if self.status is RolloutStatus.PLANNED:
            found.append(lambda: self.order(c.Approve, plan_hash=self.plan.hash))
        if self.status is RolloutStatus.PAUSED:
            found.append(lambda: self.order(c.Resume))
        if self.status is RolloutStatus.STAGING:
            left = [s for s in self.plan.first_steps() if not self.state.staged.get(s.place)]
            found += [lambda s=step: self.staged(s) for step in left]
        for batch in self.plan.batches:
            known = self.state.batches[batch.id]
            for step in batch.steps:
                if step.key in known.steps and not known.steps[step.key].ok:
                    found.append(lambda b=batch, s=step: self.finished(b.id, s, idle=self._drained(s)))
            if known.status is BatchStatus.BAKING and known.gate is not None:
                found.append(lambda b=batch: self.verdict(b.id))
            if known.status is BatchStatus.AWAITING_APPROVAL:
                found.append(lambda b=batch: self.order(c.Approve, plan_hash=self.plan.hash, batch=b.id))
        return found

    def _bad(self) -> list[Option]:
        """What else may happen, most of which ends the course."""
        found: list[Option] = [
            lambda: self.order(c.Pause),
            lambda: self.order(c.Resume),
            lambda: self.order(c.Promote),
            lambda: self.order(c.Abort),
            lambda: self.make(e.AlertFired, name="errors", fail=False),
            lambda: self.make(e.NodesOut, nodes={} if self.state.out else {self._somebody(): "drained"}),
            lambda: self.make(e.RevertStarted, revert=RolloutId("revert-1"), reason="slow", by="ann"),
        ]
        for batch in self.plan.batches:
            known = self.state.batches[batch.id]
            for step in batch.steps:
                waits = step.key in known.steps and not known.steps[step.key].ok
                if waits and step.key not in self._answered_badly:
                    found.append(lambda b=batch, s=step: self._badly(b.id, s))
            if known.status is BatchStatus.BAKING and known.gate is not None:
                found += [
                    lambda b=batch: self.verdict(b.id, Verdict.INCONCLUSIVE),
                    lambda b=batch: self.verdict(b.id, Verdict.INCONCLUSIVE),
                    lambda b=batch: self.order(c.Promote, batch=b.id),
                    lambda b=batch: self.verdict(b.id, Verdict.FAIL),
                ]
        return found

    def _somebody(self) -> str:
        """A node of the plan, another one as time goes by."""
        nodes = sorted({step.node for step in self.plan.steps()})
        return nodes[int(self.clock) % len(nodes)] if nodes else "nobody"

    def _drained(self, step: Step) -> bool:
        return step.node in self.state.out

    def _badly(self, batch: str, step: Step) -> e.StepFinished:
        self._answered_badly.add(step.key)
        return self.finished(batch, step, StepOutcome.FAILED)

    def check(self, message: Message | None, before: object) -> None:
        """What holds after every message."""
        state = self.state
        if message is not None and state is not before:
            cell = TABLE[before.status][type(message)]  # type: ignore[attr-defined]
            assert cell not in (IGNORE, ILLEGAL)
            assert state.status in cell, (before.status, type(message), state.status)  # type: ignore[attr-defined]
        assert len(engine_batch.unavailable(state)) <= self.plan.max_unavailable
        for command in self.sent(c.ApplyBatch):
            assert state.status not in (RolloutStatus.PAUSED, RolloutStatus.STAGING, RolloutStatus.PLANNED)
            needs = self.plan.batch(command.batch).needs
            assert all(state.batches[need].status is BatchStatus.PASSED for need in needs)
        left_to_a_person = (
            state.status is RolloutStatus.FAILED
            and self.plan.rollback_policy is RollbackPolicy.MANUAL
            and not state.taken_over
        )
        assert (next_deadline(state) is None) == (state.ended or left_to_a_person), state
        if state.status is RolloutStatus.SUCCEEDED:
            assert all(known.status is BatchStatus.PASSED for known in state.batches.values())
        if self.plan.direction is Direction.FORWARD and self.sent(c.ApplyBatch):
            assert all(state.staged[s.place] for s in self.plan.steps() if s.after is not None)

    def check_whole(self) -> None:
        """What holds of everything that was ever sent."""
        by_id: dict[str, Message] = {}
        for message in self.said:
            assert by_id.setdefault(message.id, message) is message, f"{message.id} was used twice"
        applied = [m.batch for m in self.said if isinstance(m, c.ApplyBatch)]
        assert len(applied) == len(set(applied))
        opened = {m.gate for m in self.said if isinstance(m, c.OpenGate)}
        closed = [m.gate for m in self.said if isinstance(m, c.CloseGate)]
        assert len(closed) == len(set(closed))
        assert set(closed) <= opened
        commands = [m.id for m, _ in self.fed if isinstance(m, c.OperatorCommand)]
        answers = [m.cause for m in self.said if isinstance(m, e.CommandAnswered)]
        assert sorted(commands) == sorted(str(cause) for cause in answers)
