"""What of a deployment is too weak to be relied on, from facts that were read. Pure.

Weak is what loses state that a service was told is saved. The log in the broker brings it back, but at the price of
every unfinished rollout being read again, and of leases that two processes hold: so it is refused at the start, unless
it was asked for by name. Where a server refuses to say, nothing is assumed, and that is said.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from bumpless.common.errors import Refused


class Weakness(StrEnum):
    """As the setting ACCEPT names it."""

    VOLATILE_REDIS = "volatile-redis"
    LATE_REDIS = "late-redis"
    EVICTING_REDIS = "evicting-redis"


@dataclass(frozen=True)
class StoreFacts:
    """How Redis keeps what it is told; None: it refused to say."""

    append_only: bool | None = None
    fsync: str | None = None
    eviction: str | None = None
    """`maxmemory-policy`, `noeviction` where there is no limit."""


@dataclass(frozen=True)
class Weak:
    """One finding, in the words of an error."""

    weakness: Weakness
    expected: str
    found: str
    do: str


def weaknesses(facts: StoreFacts) -> tuple[Weak, ...]:
    found = []
    if facts.append_only is False:
        found.append(
            Weak(
                Weakness.VOLATILE_REDIS,
                "Redis with an append-only file",
                "appendonly no",
                "set `appendonly yes` and `appendfsync always`",
            )
        )
    elif facts.fsync not in (None, "always"):
        found.append(
            Weak(
                Weakness.LATE_REDIS,
                "Redis that writes its append-only file before it answers",
                f"appendfsync {facts.fsync}",
                "set `appendfsync always`",
            )
        )
    if facts.eviction not in (None, "noeviction"):
        found.append(
            Weak(
                Weakness.EVICTING_REDIS,
                "Redis that drops nothing",
                f"maxmemory-policy {facts.eviction}",
                "set `maxmemory-policy noeviction`",
            )
        )
    return tuple(found)


def unknown(facts: StoreFacts) -> tuple[str, ...]:
    """What could not be read, by the names of Redis' own settings."""
    named = (
        ("appendonly", facts.append_only),
        ("appendfsync", facts.fsync if facts.append_only is not False else ""),
        ("maxmemory-policy", facts.eviction),
    )
    return tuple(name for name, value in named if value is None)


def admit(facts: StoreFacts, accepted: Collection[Weakness]) -> tuple[Weak, ...]:
    """What is weak and was asked for by name.

    Raises:
        Refused: something is weak that was not.
    """
    found = weaknesses(facts)
    for weak in found:
        if weak.weakness not in accepted:
            raise Refused(
                weak.expected,
                weak.found,
                f"{weak.do}, or ask for it by name: ACCEPT='[\"{weak.weakness}\"]'",
            )
    return found
