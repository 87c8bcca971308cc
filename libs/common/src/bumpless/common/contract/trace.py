"""The trace of a rollout: ids that follow from its messages, so that what is done twice is one span.

A rollout is one trace. Its root is the release as the planner takes it up; every other span is a message that was
handled, below the span of the work that its message came out of. A header of W3C Trace Context carries that.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Self

from bumpless.common.contract.base import Message, derive_id

HEADER = "traceparent"
_SAMPLED = "01"
_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True)
class Place:
    """A span of a trace, as 32 and 16 hex digits."""

    trace: str
    span: str

    def header(self) -> str:
        return f"00-{self.trace}-{self.span}-{_SAMPLED}"

    @classmethod
    def read(cls, header: str | None) -> Self | None:
        """None: there is none, or it cannot be read."""
        found = _FORM.fullmatch(header or "")
        return cls(found[1], found[2]) if found and int(found[1], 16) and int(found[2], 16) else None


def trace_of(rollout: str) -> str:
    return _digits("trace", rollout)


def root_of(rollout: str) -> Place:
    return Place(trace_of(rollout), _digits("root", rollout)[:16])


def span_of(source: str, message: str) -> str:
    """The span of what `source` does about the message with that id."""
    return _digits("span", source, message)[:16]


def comes_from(message: Message, rollout: str, source: str, trace: str) -> Place:
    """The work of `source` that `message` came out of. `trace` is the one of its rollout."""
    if message.cause is None:
        return Place(trace, root_of(rollout).span)
    return Place(trace, span_of(source, message.cause))


def _digits(*parts: str) -> str:
    return uuid.UUID(derive_id(*parts)).hex
