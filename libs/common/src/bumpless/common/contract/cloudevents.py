"""CloudEvents 1.0 around bytes that are JSON: read from either mode, written in either.

Binary mode: attributes in headers `ce-…`, the data is the body. Structured mode: one JSON object with attributes and
data, of content type `application/cloudevents+json`. The NATS and HTTP bindings have the same headers.

Source: github.com/cloudevents/spec, version 1.0.2, the JSON format and both bindings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STRUCTURED = "application/cloudevents+json"
JSON = "application/json"
PREFIX = "ce-"
SPEC_VERSION = "1.0"


@dataclass(frozen=True)
class CloudEvent:
    """Attributes without their prefix, in lower case, and the data; no attributes where there was no CloudEvent."""

    data: Any
    attributes: Mapping[str, str] = field(default_factory=dict)


def read(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    """What arrived, in whichever mode; other JSON is data without attributes.

    Raises:
        ValueError: no JSON, or a structured event without data; says what was found.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON, found {body[:80]!r}: {error}") from error
    if not given.get("content-type", "").startswith(STRUCTURED):
        attributes = {n.removeprefix(PREFIX): v for n, v in given.items() if n.startswith(PREFIX)}
        return CloudEvent(raw, attributes)
    if not isinstance(raw, dict) or "data" not in raw:
        raise ValueError("expected a structured CloudEvent with `data`, found none")
    return CloudEvent(raw["data"], {n: str(v) for n, v in raw.items() if n != "data"})


def headers(attributes: Mapping[str, str]) -> dict[str, str]:
    """Those of binary mode, without that for the type of the content."""
    return {PREFIX + name: value for name, value in attributes.items()}


def structured(event: CloudEvent) -> bytes:
    """The body of structured mode."""
    return json.dumps({**event.attributes, "datacontenttype": JSON, "data": event.data}).encode()
