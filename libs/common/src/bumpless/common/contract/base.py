"""The base of every message on the wire: identity, cause, time.

Ids are derived, never drawn: the id of a message is a uuid5 of what caused it and of its role, so a replay of
the same inputs gives the same messages, and a broker drops the copies by their id.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, NewType

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints

MessageId = NewType("MessageId", str)
RolloutId = NewType("RolloutId", str)
BatchId = NewType("BatchId", str)
PlanHash = NewType("PlanHash", str)
Digest = NewType("Digest", str)

NAMESPACE = uuid.UUID("6f2d7f0e-6f0b-5d6a-9a7e-0c6f3b1f9c11")

Token = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")]
"""A name that may stand in a subject: lower case letters, digits, - and _, at most 63, no dots."""


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A moment in UTC; naive datetimes are refused."""


def derive_id(*parts: str) -> MessageId:
    """The uuid5 of `parts`, in their order. Same parts, same id."""
    return MessageId(str(uuid.uuid5(NAMESPACE, "\x1f".join(parts))))


class Model(BaseModel):
    """A frozen value that tolerates unknown fields, so that an old reader survives a newer writer."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        ser_json_bytes="base64",
        val_json_bytes="base64",
        ser_json_inf_nan="strings",
    )


class StrictModel(BaseModel):
    """A frozen value a person wrote: an unknown field is an error, because it is most likely a misspelling.

    It is written as it is read: under the names of the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class Message(Model):
    """One event or command.

    `id` is derived from `cause` and the message's role; `cause` is the id of the message this one answers
    (None at the outside edge: CI, an operator, a node's own observation); `at` is when it was decided, UTC.
    """

    id: MessageId
    at: Instant
    cause: MessageId | None = None


def canonical_json(value: Any) -> bytes:
    """`value` (JSON types only) as UTF-8 JSON with sorted keys and no spaces: the form that is hashed and signed."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
