"""Rollouts for tests: started from a plan, fed with messages, looked at as they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import count
from typing import Any, TypeVar

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message, MessageId, derive_id
from bumpless.common.engine import rollout as engine
from bumpless.common.engine.decision import Decision
from bumpless.common.engine.turn import next_deadline
from bumpless.common.model.plan import Plan, Step
from bumpless.common.model.rollout import BatchStatus, Rollout, RolloutStatus
from bumpless.common.model.verdict import Reason, Verdict
from support.plans import at

M = TypeVar("M", bound=Message)


def planned(plan: Plan, now: datetime) -> e.RolloutPlanned:
    return e.RolloutPlanned(
        id=derive_id(plan.rollout, "planned"),
        at=now,
        rollout=plan.rollout,
        of=plan.of,
        product=plan.product,
        release_version=plan.release_version,
        direction=plan.direction,
        plan_hash=plan.hash,
        generation=plan.generation,
        by="ci",
    )


class Course:
    """One rollout on its way. Every message has an id of its own; `out` and `notes` are those of the last one."""

    def __init__(self, plan: Plan, out: Mapping[str, str] | None = None, clock: float = 0.0) -> None:
        self.plan = plan
        self.clock = clock
        self._ids: Iterator[int] = count()
        self.fed: list[tuple[Message, datetime]] = []
        self.said: list[Message] = []
        message = planned(plan, self.now).model_copy(update={"out": dict(out or {})})
        self.fed.append((message, self.now))
        self._take(engine.begin(plan, message, self.now))

    @property
    def now(self) -> datetime:
        return at(self.clock)

    @property
    def status(self) -> RolloutStatus:
        return self.state.status

    def batch(self, name: str) -> BatchStatus:
        return next(known.status for key, known in self.state.batches.items() if key == name)

    def sent(self, kind: type[M]) -> list[M]:
        """What the last message led to, of one kind."""
        return [message for message in self.out if isinstance(message, kind)]

    def applied(self) -> list[str]:
        return [str(message.batch) for message in self.sent(c.ApplyBatch)]

    def fresh(self) -> MessageId:
        return derive_id(self.plan.rollout, "test", str(next(self._ids)))

    def feed(self, message: Message, after_s: float = 1.0) -> Decision[Rollout]:
        self.clock += after_s
        self.fed.append((message, self.now))
        return self._take(engine.decide(self.state, message, self.now))

    def _take(self, decision: Decision[Rollout]) -> Decision[Rollout]:
        self.state, self.out, self.notes = decision.state, decision.messages, decision.notes
        self.said.extend(decision.messages)
        return decision

    # messages ---------------------------------------------------------------------------------------------

    def make(self, kind: Callable[..., M], **fields: Any) -> M:
        return kind(**{"id": self.fresh(), "at": self.now, "rollout": self.plan.rollout, **fields})

    def staged(self, step: Step, *, ok: bool = True, **more: Any) -> e.StepStaged:
        return self.make(
            e.StepStaged,
            **{
                "plan_hash": self.plan.hash,
                "node": step.node,
                "component": step.component,
                "sequence": 1,
                "ok": ok,
                "reason": None if ok else "no space",
                **more,
            },
        )

    def crash_looping(self, step: Step, **more: Any) -> e.ComponentCrashLooping:
        target = self.plan.targets[step.after or ""]
        return self.make(
            e.ComponentCrashLooping,
            **{
                "direction": self.plan.direction,
                "plan_hash": self.plan.hash,
                "node": step.node,
                "component": step.component,
                "root": target.root,
                "version": target.version,
                "crashes": 5,
                "window_s": 120,
                "reason": "it crashed 5 times",
                **more,
            },
        )

    def finished(
        self, batch: str, step: Step, outcome: e.StepOutcome = e.StepOutcome.DONE, **more: Any
    ) -> e.StepFinished:
        good = outcome in (e.StepOutcome.DONE, e.StepOutcome.ALREADY)
        runs = step.after if good else step.before
        return self.make(
            e.StepFinished,
            **{
                "direction": self.plan.direction,
                "batch": batch,
                "plan_hash": self.plan.hash,
                "node": step.node,
                "component": step.component,
                "generation": self.plan.generation,
                "sequence": self.plan.sequence_base + 2,
                "outcome": outcome,
                "root": None if runs is None else self.plan.targets[runs].root,
                "reason": None if good else "would not start",
                "switched_at": self.now if good else None,
                **more,
            },
        )

    def verdict(self, batch: str, verdict: Verdict = Verdict.PASS, **more: Any) -> e.VerdictReached:
        gate = next(known.gate for key, known in self.state.batches.items() if key == batch)
        return self.make(
            e.VerdictReached,
            **{
                "gate": gate or MessageId("none"),
                "batch": batch,
                "verdict": verdict,
                "reason": Reason.PASSED if verdict is Verdict.PASS else Reason.NO_DATA,
                "detail": "seen enough",
                "opened_at": self.now,
                **more,
            },
        )

    def order(self, kind: Callable[..., M], **fields: Any) -> M:
        return self.make(kind, by="ann", **fields)

    # courses ----------------------------------------------------------------------------------------------

    def stage_all(self) -> None:
        for step in self.plan.steps():
            if step.after is not None:
                self.feed(self.staged(step))

    def finish(self, name: str) -> None:
        """Every step of a batch is done."""
        for step in next(b for b in self.plan.batches if b.id == name).steps:
            self.feed(self.finished(name, step))

    def fire(self) -> e.DeadlineReached:
        """Wait for the next deadline and feed it."""
        due = next_deadline(self.state)
        assert due is not None, f"{self.state.status} waits for nothing"
        message = e.DeadlineReached(
            id=derive_id(self.plan.rollout, "deadline", due.name, due.due.isoformat()),
            at=due.due,
            aggregate=self.plan.rollout,
            name=due.name,
            due=due.due,
        )
        self.feed(message, max(0.0, (due.due - self.now).total_seconds()))
        return message


def deadline_name(course: Course) -> str | None:
    due = next_deadline(course.state)
    return None if due is None else due.name


def rolling(plan: Plan) -> Course:
    """A course whose nodes are all staged."""
    course = Course(plan)
    course.stage_all()
    return course
