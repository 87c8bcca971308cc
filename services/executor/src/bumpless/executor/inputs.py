"""What the machine of one component can be told. Facts only; `decide` says what follows.

`cause` is the id of the command whose work reports; work that was given up may still report, and is ignored by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bumpless.common.contract.base import Instant, MessageId
from bumpless.executor.record import Command, Instance


@dataclass(frozen=True)
class Commanded:
    """A verified command arrived. `live`: just sent, so somebody may wait for its answer; else read as the last value."""

    command: Command
    live: bool = True


@dataclass(frozen=True)
class Staged:
    cause: MessageId
    used: Literal["present", "delta", "full"]
    bytes_fetched: int
    full_bytes: int
    note: str | None = None


@dataclass(frozen=True)
class StageFailed:
    cause: MessageId
    reason: str


@dataclass(frozen=True)
class Started:
    """The new process exists; not ready yet."""

    cause: MessageId
    instance: Instance


@dataclass(frozen=True)
class Proven:
    """The new instance said it is ready, answered its health check and outlived the soak."""

    cause: MessageId
    instance: Instance


@dataclass(frozen=True)
class StartFailed:
    cause: MessageId
    reason: str


@dataclass(frozen=True)
class Switched:
    """The links name the new version."""

    cause: MessageId
    at: Instant


@dataclass(frozen=True)
class SwitchFailed:
    """The links could not be moved, or a hook beside the switch failed."""

    cause: MessageId
    reason: str


@dataclass(frozen=True)
class Drained:
    """The old instance has nothing left to do, or its deadline passed with `cut` left. `at`: links, if removed."""

    cause: MessageId
    cut: tuple[str, ...] = ()
    at: Instant | None = None


@dataclass(frozen=True)
class Restored:
    """After a failure: links and traffic are where they were. `instance` None: nothing ran before."""

    cause: MessageId
    instance: Instance | None


@dataclass(frozen=True)
class RestoreFailed:
    cause: MessageId
    reason: str


@dataclass(frozen=True)
class Activated:
    """The instance works, and no other one does. `lost`: what it could not take over, one sentence each.

    `beside`: that was ordered after a crash or a restart, beside other work, and not by a step or its undoing.
    """

    instance: Instance
    lost: tuple[str, ...] = ()
    beside: bool = False


@dataclass(frozen=True)
class ActivateFailed:
    """The instance does not work, or must not yet: another one is not gone. `beside` as in Activated."""

    instance: Instance
    reason: str
    beside: bool = False


@dataclass(frozen=True)
class Died:
    """A process of this component is gone; `lived_s` since it was started."""

    instance: Instance
    reason: str
    lived_s: float = 0.0


@dataclass(frozen=True)
class Revived:
    """A process of the current version was started again after a crash."""

    instance: Instance


@dataclass(frozen=True)
class ReviveFailed:
    reason: str


@dataclass(frozen=True)
class Cooled:
    """The time for which the replaced instance is kept warm is over."""

    instance: Instance


@dataclass(frozen=True)
class Availability:
    """Whether the node is drained, and so nothing of the component shall run."""

    drained: bool


@dataclass(frozen=True)
class StoodDown:
    """The instance was paused because the node is drained, and has nothing left to do; or its deadline passed with `cut`."""

    instance: Instance
    cut: tuple[str, ...] = ()


@dataclass(frozen=True)
class Acknowledged:
    """The broker has stored a result."""

    message: MessageId


@dataclass(frozen=True)
class Observed:
    """After a start of the executor: the processes of the record that are alive, with their present pids."""

    alive: tuple[Instance, ...]


@dataclass(frozen=True)
class Asked:
    """Say the last result again."""


Input = (
    Commanded
    | Staged
    | StageFailed
    | Started
    | Proven
    | StartFailed
    | Switched
    | SwitchFailed
    | Drained
    | Restored
    | RestoreFailed
    | Activated
    | ActivateFailed
    | Died
    | Revived
    | ReviveFailed
    | Cooled
    | Availability
    | StoodDown
    | Acknowledged
    | Observed
    | Asked
)

INPUTS: tuple[type[Input], ...] = (
    Commanded,
    Staged,
    StageFailed,
    Started,
    Proven,
    StartFailed,
    Switched,
    SwitchFailed,
    Drained,
    Restored,
    RestoreFailed,
    Activated,
    ActivateFailed,
    Died,
    Revived,
    ReviveFailed,
    Cooled,
    Availability,
    StoodDown,
    Acknowledged,
    Observed,
    Asked,
)

OfWork = (
    Staged
    | StageFailed
    | Started
    | Proven
    | StartFailed
    | Switched
    | SwitchFailed
    | Drained
    | Restored
    | RestoreFailed
)
"""Answers of one piece of work, told apart from those of given-up work by their cause."""
