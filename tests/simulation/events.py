"""What the simulator tells the invariants: one value per thing that happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bumpless.common.contract.base import Message
from bumpless.common.shell.state import Stored
from bumpless.executor import effects as do
from bumpless.executor.record import ComponentRecord


@dataclass(frozen=True)
class Appended:
    """The broker stored a message. `command` is the signed one, of a message on `CMD`."""

    stream: str
    subject: str
    sequence: int
    message: Message
    by: str


@dataclass(frozen=True)
class Saved:
    """A service wrote an aggregate to its store."""

    owner: str
    aggregate: str
    value: Stored
    by: str


@dataclass(frozen=True)
class Began:
    """A service leads, has recovered, and begins to handle messages. `since`: when its process was started."""

    owner: str
    since: float


@dataclass(frozen=True)
class Decided:
    """A component on a node decided, and its journal is written."""

    node: Any
    before: ComponentRecord
    given: Any
    after: ComponentRecord
    effects: tuple[do.Effect, ...]


@dataclass(frozen=True)
class Performing:
    """A node begins an effect."""

    node: Any
    component: str
    effect: do.Effect


@dataclass(frozen=True)
class Moved:
    """Something on a node changed: links, trees, processes."""

    node: Any
    component: str
    what: str


@dataclass(frozen=True)
class Struck:
    """A fault was done to the system."""

    kind: str
    what: str


@dataclass(frozen=True)
class Healed:
    """No more faults from here on."""


@dataclass(frozen=True)
class Ended:
    """The run is over; everything that was under way has had its time."""


Event = Appended | Saved | Began | Decided | Performing | Moved | Struck | Healed | Ended
