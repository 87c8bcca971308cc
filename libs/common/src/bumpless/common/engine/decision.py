"""What every pure decision returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from bumpless.common.contract.base import Message

S = TypeVar("S")


@dataclass(frozen=True)
class Decision(Generic[S]):
    """The state after a message, the messages that follow from it, and why things did or did not happen.

    A decision that changes nothing returns the very state it was given.
    """

    state: S
    messages: tuple[Message, ...] = ()
    notes: tuple[str, ...] = ()


def one_by_one(
    decide: Callable[[S, Message, datetime], Decision[S]],
    state: S,
    messages: Sequence[Message],
    now: datetime,
) -> Decision[S]:
    """Decide on `messages` in their order, each on what the one before led to."""
    out: list[Message] = []
    notes: list[str] = []
    for message in messages:
        found = decide(state, message, now)
        state = found.state
        out.extend(found.messages)
        notes.extend(found.notes)
    return Decision(state, tuple(out), tuple(notes))


@dataclass(frozen=True)
class Deadline:
    """The next moment at which an aggregate wants to be asked again, and for what."""

    name: str
    due: datetime
