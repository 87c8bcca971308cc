"""Whether a record that has only what its schema requires still fits after its way: tried out with one that is made up.

What a later version requires and neither the earlier one nor a lens gives is missing from records that exist; such a
record is refused when it is moved. Nothing is said where no such record can be made up, or its way needs code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bumpless.common.compat.hops import NoPath
from bumpless.common.compat.records import MISSING, Fault, RecordInvalid, RecordType
from bumpless.common.model.version import Version

MOST_DEPTH = 8


def lacking(kind: RecordType, source: Version, target: Version) -> tuple[Version, tuple[Fault, ...]] | None:
    """At which version of the way what is missing; None: nothing, or nobody can tell."""
    record = _least(kind.schemas[source])
    if not isinstance(record, dict):
        return None
    try:
        kind.move(record, source, target, supplied=_Anything(), lossy=True)
    except RecordInvalid as error:
        missing = tuple(fault for fault in error.faults if fault.text == MISSING)
        return (error.version, missing) if missing and error.version != source else None
    except (NoPath, TypeError, ValueError):
        return None
    return None


class _Anything(Mapping[str, Any]):
    """Whatever a caller would supply; it is not empty, whoever asks."""

    def __getitem__(self, name: str) -> Any:
        return ""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 1


def _least(schema: Any, depth: int = 0) -> Any:
    """A value with as little in it as the schema allows, as far as its plain words go."""
    if not isinstance(schema, Mapping) or depth > MOST_DEPTH:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    named = schema.get("type", "object" if "properties" in schema or "required" in schema else None)
    kind = named[0] if isinstance(named, list) and named else named
    match kind:
        case "object":
            known = schema.get("properties", {})
            return {name: _least(known.get(name, {}), depth + 1) for name in schema.get("required", ())}
        case "array":
            return [
                _least(schema.get("items"), depth + 1) for _ in range(min(schema.get("minItems", 0), 100))
            ]
        case "string":
            return "x" * min(schema.get("minLength", 1), 1000)
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
        case "boolean":
            return False
        case _:
            return None
