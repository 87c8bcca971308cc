"""What the invariants know of each rollout: its log, replayed input by input as it was appended, and what nodes said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import wire
from bumpless.common.contract.base import Message
from bumpless.common.engine import rollout as engine
from bumpless.common.model.plan import Plan, StepKey, step_key
from bumpless.common.model.rollout import Rollout


class Turned(NamedTuple):
    """One input of a log entry."""

    before: Rollout | None
    given: Message
    after: Rollout
    out: tuple[Message, ...]


@dataclass
class Book:
    """One rollout. `decided` are the batch commands of its log by id; `good` the steps that nodes said are done."""

    plan: Plan
    state: Rollout
    version: int = 0
    decided: dict[str, c.StageArtifacts | c.ApplyBatch] = field(default_factory=dict)
    good: set[StepKey] = field(default_factory=set)
    verdicts: dict[str, set[str]] = field(default_factory=dict)
    gates: dict[str, c.OpenGate] = field(default_factory=dict)
    promoted: bool = False
    idle: set[StepKey] = field(default_factory=set)

    def place(self, message: e.StepFinished | c.NodeCommand) -> StepKey | None:
        batch = next((b for b in self.plan.batches if b.id == message.batch), None)
        return None if batch is None else step_key(message.node, message.component, batch.hop)


def opened(entry: e.RolloutAdvanced, plan_of: dict[str, bytes]) -> tuple[Book, list[Turned]] | None:
    """The book of a rollout from the first entry of its log."""
    first = wire.from_dict(entry.inputs[0].message)
    if not isinstance(first, e.RolloutPlanned):
        return None
    plan = Plan.from_stored(plan_of[first.plan_hash])
    decision = engine.begin(plan, first, entry.inputs[0].at)
    book = Book(plan, decision.state)
    turned = [_keep(book, None, first, decision.state, decision.messages)]
    book.version = entry.version
    return book, turned + _feed(book, entry.inputs[1:])


def turned(book: Book, entry: e.RolloutAdvanced) -> list[Turned]:
    book.version = entry.version
    return _feed(book, entry.inputs)


def _feed(book: Book, inputs: tuple[e.LoggedInput, ...]) -> list[Turned]:
    found = []
    for logged in inputs:
        message = wire.from_dict(logged.message)
        before = book.state
        decision = engine.decide(before, message, logged.at)
        book.state = decision.state
        found.append(_keep(book, before, message, decision.state, decision.messages))
    return found


def _keep(
    book: Book, before: Rollout | None, given: Message, after: Rollout, out: tuple[Message, ...]
) -> Turned:
    for message in out:
        if isinstance(message, c.StageArtifacts | c.ApplyBatch):
            book.decided[message.id] = message
    return Turned(before, given, after, out)
