"""What `bumpless doctor` knows of a deployment before it judges. None: it could not be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class State(StrEnum):
    WELL = "well"
    WRONG = "wrong"
    UNKNOWN = "not looked at"


@dataclass(frozen=True)
class Finding:
    """What one check found. `expected` and `do` are there where it is wrong; where it was not looked at, `do` says how to
    have it looked at."""

    check: str
    state: State
    found: str
    expected: str = ""
    do: str = ""


@dataclass(frozen=True)
class Storage:
    """Bytes. `limit` of the account, None: none. `disk_free` of the file system, where it is on this machine."""

    used: int
    limit: int | None = None
    disk_free: int | None = None
    disk_size: int | None = None


@dataclass(frozen=True)
class Taken:
    """A durable consumer of a service. `asking`: the least and the most processes that waited for a message of it, over
    the time it was looked at; `last` is when it was last given one."""

    service: str
    stream: str
    waiting: int
    unacknowledged: int
    asking: tuple[int, int]
    last: datetime | None = None


@dataclass(frozen=True)
class Broker:
    """`reached` is empty, or why not. `differs` says of each stream how it is not as declared; `missing` are those that are
    not there, `missing_consumers` those of services, as "planner of RO". `clock` is how far our clock is ahead of the broker's."""

    url: str
    reached: str = ""
    version: tuple[int, int, int] = (0, 0, 0)
    differs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    storage: Storage | None = None
    consumers: tuple[Taken, ...] = ()
    missing_consumers: tuple[str, ...] = ()
    clock: timedelta | None = None


@dataclass(frozen=True)
class Store:
    """Redis. `reached` is empty, or why not; `policy` what it does when memory is full. `leases` has the services that
    somebody works for."""

    url: str
    reached: str = ""
    append_only: bool | None = None
    flush: str | None = None
    last_write: str = "ok"
    policy: str | None = None
    role: str = "master"
    leases: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Key:
    """A private key on this machine. `fault` is empty, or why it cannot be used; `trusted`: the list of trusted keys has it
    in its role."""

    name: str
    path: str
    fault: str = ""
    trusted: bool = True


@dataclass(frozen=True)
class Heard:
    """What a node said of itself. `ahead` is how far its clock was ahead of the broker's when it said so."""

    node: str
    seen: datetime
    ahead: timedelta | None = None
    executors: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Parked:
    service: str
    count: int
    last: datetime
    reason: str


@dataclass(frozen=True)
class Certificate:
    """`of` says whose it is; `fault` is empty, or why it could not be read or is none that we trust."""

    of: str
    ends: datetime | None = None
    fault: str = ""
    do: str = "see docs/identities.md"


@dataclass(frozen=True)
class Facts:
    """`health` is what the port of a service's or a node's process answers, None: nothing. `listened` is for how long nodes were listened to."""

    now: datetime
    broker: Broker
    store: Store | None = None
    trust: str | None = None
    keys: tuple[Key, ...] = ()
    health: Mapping[str, str | None] = field(default_factory=dict)
    nodes: tuple[Heard, ...] | None = None
    listened: timedelta = timedelta()
    parked: tuple[Parked, ...] | None = None
    certificates: tuple[Certificate, ...] = ()
