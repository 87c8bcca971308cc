"""What a schema says of single values: types, enums and bounds, compared between a writer and a reader. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
LOWER = {"minimum": "at least", "exclusiveMinimum": "more than", "minLength": "length at least",
         "minItems": "items at least", "minProperties": "properties at least"}  # fmt: skip
UPPER = {"maximum": "at most", "exclusiveMaximum": "less than", "maxLength": "length at most",
         "maxItems": "items at most", "maxProperties": "properties at most"}  # fmt: skip
SAME = ("pattern", "multipleOf", "uniqueItems", "format", "contains", "propertyNames", "patternProperties")
"""Compared by equality: where the reader has one, the writer must have the same."""
_WIDER = {("int32", "int64"), ("float", "double")}
_OF = {
    "string": {"minLength", "maxLength", "pattern"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "array": {"minItems", "maxItems", "uniqueItems", "contains"},
    "object": {"minProperties", "maxProperties", "propertyNames", "patternProperties"},
}
_KIND_OF = {word: kind for kind, words in _OF.items() for word in words}
_ENDS = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}


def kinds_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """The types that it admits; an integer is a number."""
    given = schema.get("type")
    kinds = frozenset(TYPES) if given is None else frozenset([given] if isinstance(given, str) else given)
    return kinds | {"integer"} if "number" in kinds else kinds


def made_kinds(schema: Mapping[str, Any]) -> frozenset[str]:
    """Those that a writer makes: who names fields, and no type, means objects."""
    if (
        "type" not in schema
        and not schema.keys() & {"enum", "const"}
        and schema.keys() & {"properties", "required"}
    ):
        return frozenset({"object"})
    return kinds_of(schema)


def listed(schema: Mapping[str, Any]) -> list[Any] | None:
    """The values, where they are listed."""
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def same_value(one: Any, other: Any) -> bool:
    """JSON has no booleans that are numbers."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def made_values(wrote: Mapping[str, Any]) -> list[Any] | None:
    """Every value that the writer may make, where there are few."""
    values = listed(wrote)
    if values is not None:
        kinds = kinds_of(wrote)
        return [v for v in values if kind_of(v) in kinds]
    few = made_kinds(wrote)
    if few <= {"boolean", "null"}:
        return [
            v for kind, given in (("boolean", (True, False)), ("null", (None,))) if kind in few for v in given
        ]
    return None


def values(wrote: Mapping[str, Any], read: Mapping[str, Any]) -> Iterator[str]:
    """Why a value of the writer is none for the reader, by its type or because only some are taken."""
    made, allowed = made_values(wrote), listed(read)
    if allowed is not None:
        if made is None:
            yield f"the reader takes only {shown(allowed)}, the writer is not bound to that"
        elif more := [v for v in made if not any(same_value(v, a) for a in allowed)]:
            yield f"the reader does not take {shown(more)}"
    kinds, taken = made_kinds(wrote), kinds_of(read)
    if made is not None:
        kinds = frozenset(kind_of(v) for v in made)
    if strange := kinds - taken:
        names = ", ".join(k for k in TYPES if k in strange and not (k == "integer" and "number" in strange))
        yield f"the reader takes {' or '.join(k for k in TYPES if k in taken) or 'nothing'}, not {names}"


def bounds(wrote: Mapping[str, Any], read: Mapping[str, Any]) -> Iterator[str]:
    """Why a value of the writer is outside of what the reader takes; words about types that are not made do not count."""
    made = made_values(wrote)
    if made is not None:
        limits = Draft202012Validator({k: v for k, v in read.items() if k in _KIND_OF or k == "format"})
        if bad := [v for v in made if not limits.is_valid(v)]:
            yield f"the reader does not take {shown(bad)}"
        inner = {"properties", "required", "additionalProperties", "items", "prefixItems"}
        if read.keys() & inner and any(kind_of(v) in ("array", "object") for v in made):
            yield "lists and objects among the values of the writer are not compared"
        return
    kinds = made_kinds(wrote)
    alike = {name for name in read if _KIND_OF.get(name, "") in kinds} | {"format"}
    alike |= _OF["number"] & read.keys() if "integer" in kinds else set()
    yield from _ends(wrote, read, whole="number" not in kinds) if kinds & {"number", "integer"} else ()
    for name, words in (*LOWER.items(), *UPPER.items()):
        if name in read and name in alike and name not in _ENDS:
            worse = name not in wrote or (
                wrote[name] < read[name] if name in LOWER else wrote[name] > read[name]
            )
            if worse and not (name in LOWER and read[name] == 0):
                yield f"the reader takes {words} {read[name]}, the writer {_bound(wrote, name)}"
    for name in SAME:
        if name in read and name in alike and wrote.get(name) != read[name] and read[name] is not False:
            if name == "format" and (wrote.get(name), read[name]) in _WIDER:
                continue
            yield f"the reader wants {name} {read[name]!r}, the writer {_bound(wrote, name)}"


def _ends(wrote: Mapping[str, Any], read: Mapping[str, Any], *, whole: bool) -> Iterator[str]:
    """Bounds of numbers: `minimum` and `exclusiveMinimum` are one, and so are the others."""
    for names, sign, words in (
        (("minimum", "exclusiveMinimum"), 1, LOWER),
        (("maximum", "exclusiveMaximum"), -1, UPPER),
    ):
        wanted, given = (_end(side, names, sign, whole=whole) for side in (read, wrote))
        if wanted is not None and (given is None or given < wanted):
            name = next(
                n
                for n in reversed(names)
                if n in read and _end({n: read[n]}, names, sign, whole=whole) == wanted
            )
            yield f"the reader takes {words[name]} {read[name]}, the writer {_bound(wrote, *names)}"


def _end(
    schema: Mapping[str, Any], names: tuple[str, str], sign: int, *, whole: bool
) -> tuple[float, int] | None:
    """The tighter is the larger."""
    found = [(sign * schema[name], at) for at, name in enumerate(names) if name in schema]
    if whole:
        found = [(math.floor(end) + 1 if at else math.ceil(end), 0) for end, at in found]
    return max(found, default=None)


def _bound(wrote: Mapping[str, Any], *names: str) -> str:
    found = [f"{wrote[name]!r}" for name in names if name in wrote]
    return f"has {' and '.join(found)}" if found else "is not bound to that"


def shown(values: list[Any]) -> str:
    """The first few."""
    more = f" and {len(values) - 8} more" if len(values) > 8 else ""
    return ", ".join(repr(v) for v in values[:8]) + more
