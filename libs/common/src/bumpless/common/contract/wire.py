"""Messages as bytes: JSON body, CloudEvents 1.0 attributes (binary mode) in the headers.

A receiver that knows nothing of Bumpless can read the attributes; one that does reads the body, whose `type`
names the message.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from bumpless.common.contract.base import Message
from bumpless.common.contract.commands import ApplyBatch, StageArtifacts
from bumpless.common.contract.events import DeadlineReached, NodesOut
from bumpless.common.contract.subjects import ROUTES, subject_of

CE_TYPE_PREFIX = "io.bumpless."
MSG_ID_HEADER = "Nats-Msg-Id"

INTERNAL: tuple[type[Message], ...] = (StageArtifacts, ApplyBatch, DeadlineReached, NodesOut)
"""Never on the wire by themselves: kept in outboxes and logs."""

TYPES: dict[str, type[Message]] = {kind.model_fields["type"].default: kind for kind in (*ROUTES, *INTERNAL)}


class Unreadable(ValueError):
    """The bytes are no message of this contract."""


def encode(message: Message) -> bytes:
    return message.model_dump_json().encode()


def headers(message: Message, source: str) -> dict[str, str]:
    """CloudEvents attributes and the broker's de-duplication id. `source` is the service, e.g. `planner`."""
    found = {
        MSG_ID_HEADER: message.id,
        "ce-specversion": "1.0",
        "ce-id": message.id,
        "ce-type": CE_TYPE_PREFIX + type_of(message),
        "ce-source": "/bumpless/" + source,
        "ce-time": message.at.isoformat(),
        "ce-subject": subject_of(message),
        "content-type": "application/json",
    }
    if message.cause is not None:
        found["ce-causationid"] = message.cause
    return found


def type_of(message: Message) -> str:
    return type_of_kind(type(message))


def type_of_kind(kind: type[Message]) -> str:
    """The word for it in the body's `type`."""
    return str(kind.model_fields["type"].default)


def decode(body: bytes) -> Message:
    """Parse any message of the contract.

    Raises:
        Unreadable: not JSON, no or unknown `type`, or fields that do not fit; says which.
    """
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"expected a JSON message, found {body[:80]!r}: {error}") from error
    return _validated(raw, body)


def from_dict(raw: Any) -> Message:
    """Like `decode`, from JSON types."""
    return _validated(raw, json.dumps(raw).encode())


def _validated(raw: Any, body: bytes) -> Message:
    # The JSON mode of pydantic reads `body`, because its Python mode would take base64 text for the bytes themselves.
    name = raw.get("type") if isinstance(raw, dict) else None
    kind = TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise Unreadable(f"expected one of the message types of this contract, found type {name!r}")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Unreadable(f"{name}: field {where}: {first['msg']}") from error
