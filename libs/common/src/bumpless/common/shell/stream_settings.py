"""What of a stream's settings is other than declared. Pure.

A server fills in defaults, and leaves out what is off: nothing, zero, -1 and an empty list say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from nats.js import api

COMPARED = (
    "subjects",
    "storage",
    "retention",
    "discard",
    "num_replicas",
    "max_age",
    "max_bytes",
    "max_msgs",
    "max_msgs_per_subject",
    "max_msg_size",
    "max_consumers",
    "duplicate_window",
    "republish",
    "subject_transform",
    "mirror",
    "sources",
    "allow_atomic",
    "allow_direct",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "persist_mode",
    "no_ack",
    "sealed",
    "deny_delete",
    "deny_purge",
)
FILLED_IN = ("duplicate_window",)
"""The server has a default of its own where none is declared."""


@dataclass(frozen=True)
class Differs:
    """One setting, as it was declared and as it was found."""

    name: str
    wanted: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.name}={_said(self.found)} (declared: {_said(self.wanted)})"


def differences(
    wanted: api.StreamConfig, found: api.StreamConfig, *, besides: tuple[str, ...] = ()
) -> tuple[Differs, ...]:
    """The settings of `wanted` that `found` does not have, and those that only `found` has."""
    names = [name for name in COMPARED if name not in besides]
    pairs = [(name, _plain(getattr(wanted, name)), _plain(getattr(found, name))) for name in names]
    return tuple(
        Differs(name, one, other)
        for name, one, other in pairs
        if one != other and not (one is None and name in FILLED_IN)
    )


def in_words(differs: tuple[Differs, ...]) -> str:
    return ", ".join(map(str, differs))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, api.Base):
        return {name: each for name, each in value.as_dict().items() if each}
    if isinstance(value, list):
        return sorted(map(str, value)) or None
    return None if value in (0, -1, False, "", "default") else value


def _said(value: Any) -> str:
    return "none" if value is None else str(value)
