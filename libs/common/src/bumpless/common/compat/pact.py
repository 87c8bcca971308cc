"""What a Pact file is about: who, with whom, how many interactions, and its digest. Pure; no request is made here.

Specifications 2 to 4 are read. Interactions of plugins are refused: a plugin is a program that the verifier would load.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bumpless.common.contract.base import Digest, canonical_json
from bumpless.common.errors import Refused

MAX_PACT_BYTES = 4 << 20
HTTP, MESSAGES = "Synchronous/HTTP", "Asynchronous/Messages"


@dataclass(frozen=True)
class Pact:
    """`states`: whether interactions expect the provider to be in some state. `messages`: how many are no requests."""

    consumer: str
    provider: str
    interactions: int
    messages: int
    states: bool
    digest: Digest


def read_pact(data: bytes, where: str) -> Pact:
    """`where`: what the file is called in messages.

    Raises:
        Refused: it is no pact, one of another specification, or one without interactions.
    """
    if len(data) > MAX_PACT_BYTES:
        raise Refused(f"a pact of at most {MAX_PACT_BYTES} bytes in {where}", "more")
    try:
        raw = json.loads(data, parse_constant=_no_constant)
        digest = Digest("sha256:" + hashlib.sha256(canonical_json(raw)).hexdigest())
    except (ValueError, RecursionError) as error:
        raise Refused(f"a pact (JSON) in {where}", str(error) or type(error).__name__) from error
    if not isinstance(raw, dict):
        raise Refused(f"a pact (a JSON object) in {where}", type(raw).__name__)
    consumer, provider = (_party(raw, side, where) for side in ("consumer", "provider"))
    _specification(raw, where)
    rows = [row for part in ("interactions", "messages") for row in _rows(raw, part, where)]
    if not rows:
        raise Refused(
            f"interactions of {consumer} with {provider} in {where}",
            "none",
            "a pact that asks for nothing proves nothing; have the consumer's tests write it again",
        )
    messages = len(_rows(raw, "messages", where))
    for row in _rows(raw, "interactions", where):
        kind = row.get("type", HTTP)
        if kind not in (HTTP, MESSAGES) or "pluginConfiguration" in row:
            raise Refused(
                f"interactions of the types {HTTP} and {MESSAGES} in {where}", f"{kind!r} or one of a plugin"
            )
        messages += kind == MESSAGES
    states = any(row.get("providerState") or row.get("providerStates") for row in rows)
    return Pact(consumer, provider, len(rows), messages, states, digest)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _party(raw: Mapping[str, Any], side: str, where: str) -> str:
    part = raw.get(side)
    name = part.get("name") if isinstance(part, dict) else None
    if not isinstance(name, str) or not name:
        raise Refused(
            f"a pact in {where}, with {side}.name", "none", "name the file that the consumer's tests wrote"
        )
    return name


def _specification(raw: Mapping[str, Any], where: str) -> None:
    """What says nothing is of version 2."""
    metadata = raw.get("metadata")
    told = metadata if isinstance(metadata, dict) else {}
    part = told.get("pactSpecification") or told.get("pact-specification")
    text = part.get("version", "2") if isinstance(part, dict) else "2"
    if str(text).split(".")[0] not in ("2", "3", "4"):
        raise Refused(f"a pact of specification 2, 3 or 4 in {where}", str(text))


def _rows(raw: Mapping[str, Any], part: str, where: str) -> list[dict[str, Any]]:
    rows = raw.get(part, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refused(f"a list of objects under {part} in {where}", type(rows).__name__)
    return rows
