"""Drives the machine of one component by hand."""

from __future__ import annotations

from datetime import timedelta

from bumpless.common.contract.base import MessageId
from bumpless.common.contract.events import StepFinished
from bumpless.common.model.fleet import ComponentState as S
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.component import decide
from bumpless.executor.record import Command, ComponentRecord, Instance
from bumpless.executor.transition import Decision
from unit.executor.making import T0

NEW = ComponentRecord(node="node-a", component="api")


class Machine:
    """Feeds inputs and remembers what was ordered."""

    def __init__(self, record: ComponentRecord = NEW) -> None:
        self.record = record
        self.last: tuple[do.Effect, ...] = ()
        self.notes: tuple[str, ...] = ()

    def hear(self, given: heard.Input, after_s: float = 0) -> Decision:
        decision = decide(self.record, given, T0 + timedelta(seconds=after_s))
        self.record, self.last, self.notes = decision.state, decision.effects, decision.notes
        return decision

    def names(self) -> list[str]:
        shown = (do.Progress, do.Report, do.Collect)
        return [type(e).__name__ for e in self.last if not isinstance(e, shown)]

    @property
    def cause(self) -> MessageId:
        assert self.record.command is not None
        return self.record.command.id

    def staged(self) -> None:
        self.hear(heard.Staged(self.cause, "delta", 10, 100))

    def proven(self) -> Instance:
        (start,) = (e for e in self.last if isinstance(e, do.Start))
        born = start.instance.model_copy(update={"pid": start.instance.pid or 100 + self.record.number[1]})
        self.hear(heard.Started(self.cause, born))
        self.hear(heard.Proven(self.cause, born))
        return born

    def apply(self, command: Command) -> None:
        """Through every state to its end."""
        self.hear(heard.Commanded(command))
        self.staged()
        self.proven()
        self.hear(heard.Switched(self.cause, T0))
        if self.record.state is S.DRAINING:
            self.hear(heard.Drained(self.cause))

    def finished(self) -> StepFinished:
        assert isinstance(self.record.result, StepFinished)
        return self.record.result
