"""Expected against found, before anything is touched. Pure: a command, the record, the time.

Order matters: who is addressed, then fencing by (generation, sequence), then expiry, then what runs. A command that
fails the first two leaves no trace in the record; one that fails the others was taken, and is answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bumpless.common.contract.base import Digest
from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.model.fleet import ComponentState
from bumpless.common.model.plan import Target
from bumpless.executor.record import Command, ComponentRecord


@dataclass(frozen=True)
class Foreign:
    """Not for this component on this node, or two commands under one number: nobody here answers for it."""

    reason: str


@dataclass(frozen=True)
class Stale:
    """A higher command was taken."""

    reason: str


@dataclass(frozen=True)
class Repeated:
    """The standing command once more."""


@dataclass(frozen=True)
class Refusal:
    """Taken and answered: what was expected is not what is found."""

    reason: str


@dataclass(frozen=True)
class AlreadyThere:
    """What is wanted runs."""


@dataclass(frozen=True)
class Ready:
    """Go ahead."""


def fence(command: Command, record: ComponentRecord) -> Foreign | Stale | Repeated | None:
    """Whether the command may be taken at all; None: it may."""
    addressed, here = (command.node, command.component), (record.node, record.component)
    if addressed != here:
        return Foreign(f"expected a command for {'/'.join(here)}, found one for {'/'.join(addressed)}")
    if command.target is not None and command.target.component != record.component:
        return Foreign(f"expected a target of {record.component}, found one of {command.target.component}")
    number = (command.generation, command.sequence)
    if number < record.number:
        return Stale(f"expected a command above {record.number}, found {number}")
    standing = record.waiting or record.command
    if standing is not None and number == record.number:
        if command.id == standing.id:
            return Repeated()
        return Foreign(f"expected one command numbered {number}, found {standing.id} and {command.id}")
    return None


def check(command: Command, record: ComponentRecord, now: datetime) -> Refusal | AlreadyThere | Ready:
    """Whether a command that may be taken may act."""
    if command.expires_at <= now:
        return Refusal(
            f"expected a command valid at {now:%Y-%m-%dT%H:%M:%SZ} (this node's clock), found one that "
            f"expired at {command.expires_at:%Y-%m-%dT%H:%M:%SZ}; plan again"
        )
    if not isinstance(command, ApplyComponent):
        return Ready()
    # Nothing serves a stuck component, so nothing can be harmed, and the way out must be open.
    if record.state is ComponentState.STUCK:
        return Ready()
    if same(record.current, command.target):
        return AlreadyThere()
    wanted = root_of(command.target)
    found, expected = root_of(record.current), root_of(command.before)
    if found not in (expected, wanted):
        return Refusal(
            f"expected {expected or 'nothing'} to run here, found {found or 'nothing'}; "
            "wait for the inventory to catch up and plan again"
        )
    return Ready()


def same(left: Target | None, right: Target | None) -> bool:
    """The same version of the same tree, run in the same way. A service knows and reports its version."""
    if left is None or right is None:
        return left is right
    return (left.version, left.root, left.run) == (right.version, right.root, right.run)


def root_of(target: Target | None) -> Digest | None:
    return target.root if target else None
