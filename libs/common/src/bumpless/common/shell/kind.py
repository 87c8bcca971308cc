"""What the runner has to be told of the aggregates that it runs: their kind, their way out, their surroundings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from bumpless.common.contract.base import Message
from bumpless.common.engine.decision import Deadline, Decision

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


@dataclass(frozen=True)
class Rebuilt(Generic[S]):
    """An aggregate read back from its log: the messages of its last change may not have left."""

    state: S
    version: int
    log_sequence: int
    messages: tuple[Message, ...]


class Kind(Protocol[S]):
    """What a service teaches the runner about its aggregate."""

    owner: str

    def decide_all(self, state: S | None, messages: Sequence[Message], now: datetime) -> Decision[S | None]:
        """What `messages`, at least one, lead to when they are decided one after the other."""

    def dump(self, state: S) -> bytes: ...
    async def load(self, data: bytes) -> S: ...
    def next_deadline(self, state: S) -> Deadline | None: ...
    def status(self, state: S) -> str: ...

    def told(self, state: S, message: Message, now: datetime) -> tuple[Message, ...]:
        """What onlookers are told of a changed state, once however many messages led to it; `message` was the last."""

    def logged(
        self,
        aggregate: str,
        version: int,
        before: S | None,
        after: S,
        inputs: Sequence[Message],
        notes: tuple[str, ...],
        now: datetime,
    ) -> Message | None:
        """The log entry of a change, None where the aggregate is rebuilt from something else."""

    async def rebuild(self, aggregate: str) -> Rebuilt[S] | None:
        """Read the aggregate back from the broker's log; None when the log does not know it."""

    async def unfinished(self) -> list[str]:
        """The aggregates of this owner that the log does not show at rest."""


Still = Callable[[], Awaitable[None]]


class Outbound(Protocol):
    """The way out: publishes what a decision returned. Safe to repeat."""

    async def log(self, entry: Message, after: int, still: Still | None = None) -> int:
        """Append to the aggregate's log, to follow sequence `after`; returns the new sequence.

        `still` is asked as late as may be before the aggregate begins: that what is said was not given up since it was
        read. Later entries need no such question, because they follow one that is known.

        Raises:
            Whatever `still` raises.
            StaleSequence: the log has moved on without us.
            Taken: there can be no such aggregate now.
        """

    async def send(self, messages: Sequence[Message]) -> None: ...


class Surroundings(Protocol[S_contra]):
    """What the aggregates of one owner have to know of each other, and of the world, before they decide anything.

    All are called between two decisions of any of them and never wait, so what one decided counts for the next.
    """

    def news(self, state: S_contra, now: datetime) -> Message | None:
        """What `state` does not know yet; None: nothing."""

    def is_news(self, message: Message) -> bool:
        """Whether it is one that `news` made, perhaps a while ago: it is made again when it is its turn."""

    def opening(self, message: Message) -> Message:
        """The first message of an aggregate, with what it has to know before it decides anything."""

    def decided(self, state: S_contra) -> None:
        """A state as it was decided, before it is saved, or as it was read back from the log."""

    def never_was(self, aggregate: str) -> None:
        """What was decided of it does not count: it could not begin."""
