"""Which commands a node takes, and how often: fences, times, effects and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.executor.record import RESTING
from simulation.events import Appended, Decided
from simulation.invariants.violation import fail

if TYPE_CHECKING:
    from simulation.invariants import Invariants


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
        fail("fenced", f"{key} took {(command.generation, command.sequence)} after {highest}")


def numbers_never_decrease(inv: Invariants, event: Decided) -> None:
    """7: what a node remembers as its highest command only grows, across crashes too."""
    key = (event.node.name, event.after.component, event.node.reset)
    highest = inv.highest.get(key, (0, -1))
    if event.after.number < highest:
        fail("numbers_never_decrease", f"{key}: {event.after.number} after {highest}")
    inv.highest[key] = event.after.number


def takes_effect_once(inv: Invariants, event: Decided) -> None:
    """8: a command is acted on once, and has one answer, however often it is heard."""
    node, after = event.node, event.after
    command = _newly_taken(event)
    if command is not None:
        key = (node.name, after.component, node.reset, command.id)
        if key in inv.taken:
            fail("takes_effect_once", f"{node.name}/{after.component} took {command.sequence} again")
        inv.taken.add(key)
    began = event.before.state in RESTING and after.state not in RESTING and after.command is not None
    if began and command is None:
        fail("takes_effect_once", f"{node.name}/{after.component} acts again on {after.command.sequence}")  # type: ignore[union-attr]
    for said in after.outbox:
        if said not in event.before.outbox and said.id not in inv.arrived:
            inv.words[said.id] = (node.name, node.reset)
        if isinstance(said, e.StepFinished | e.StepStaged):
            which = (node.name, node.reset, str(said.cause))
            told = (said.id, str(getattr(said, "outcome", getattr(said, "ok", ""))))
            if inv.answers.setdefault(which, told) != told:
                fail("takes_effect_once", f"{which}: answered {inv.answers[which]} and {told}")


def valid_when_taken(inv: Invariants, event: Decided) -> None:
    """10: nothing is done about a command whose time is over by the node's clock."""
    command = _newly_taken(event)
    if command is None or event.after.state in RESTING:
        return
    now = inv.sim.world.now().timestamp() + event.node.skew
    if command.expires_at.timestamp() <= now - 0.001:
        fail("valid_when_taken", f"{event.node.name}/{event.after.component} acts on an expired command")


def words_arrive(inv: Invariants, event: Appended) -> None:
    """8: the broker has what a node wrote down to be said. What is never said shows at the end."""
    if inv.words.pop(event.message.id, None) is not None:
        inv.arrived.add(event.message.id)
