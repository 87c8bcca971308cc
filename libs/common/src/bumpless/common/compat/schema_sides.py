"""One side of a comparison of schemas: its document, references followed, and `allOf` taken as what it means. Pure.

A writer is seen as one schema with everything that binds it, because each further word only makes fewer documents. A
reader is seen as parts, each of which takes a document or not: `additionalProperties: false` is about the fields of its
own part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bumpless.common.compat.schema_values import LOWER, UPPER, kinds_of, listed, same_value

Schema = Mapping[str, Any] | bool

ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$id", "$schema",
     "$comment", "$defs", "definitions", "nullable", "discriminator", "xml", "externalDocs", "example"}
)  # fmt: skip
CHOICES = ("anyOf", "oneOf")
MAX_REFS = 64
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


class Side:
    """Schemas of one document. What is derived from a schema is kept, so that it is the same object each time.

    `hidden`: the mark (`readOnly`, `writeOnly`) of fields that are not part of what is exchanged.
    """

    def __init__(self, root: Schema, hidden: str = "") -> None:
        self.root, self._hidden = root, hidden
        # By identity, with the schemas themselves, so that no other object can take an identity over.
        self._whole: dict[int, tuple[Schema, Schema]] = {}
        self._parts: dict[int, tuple[Schema, tuple[Schema, ...]]] = {}
        self._branches: dict[int, tuple[Schema, list[Mapping[str, Any]]]] = {}

    def whole(self, schema: Schema) -> Schema:
        """As one schema, without `$ref` and `allOf` at the top. Siblings of `$ref` count, as in draft 2020-12."""
        if id(schema) not in self._whole:
            self._whole[id(schema)] = schema, self._as_one(schema, MAX_REFS)
        return self._whole[id(schema)][1]

    def parts(self, schema: Schema) -> tuple[Schema, ...]:
        """Schemas all of which a document must fit; each has alternatives, or no alternatives."""
        if id(schema) not in self._parts:
            self._parts[id(schema)] = schema, tuple(self._apart(schema, MAX_REFS))
        return self._parts[id(schema)][1]

    def alternatives(self, schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """What a writer may choose from, each with what binds all of them."""
        if id(schema) not in self._branches:
            self._branches[id(schema)] = schema, self._choices(schema)
        return self._branches[id(schema)][1]

    def resolve(self, ref: str) -> Schema:
        try:
            here = looked_up(self.root, ref)
        except LookupError:
            return {"$ref-missing": ref}
        return here if isinstance(here, Mapping | bool) else {"$ref-missing": ref}

    def target(self, schema: Schema) -> Schema:
        """What a schema stands for that is nothing but a reference."""
        if isinstance(schema, Mapping) and schema.keys() == {"$ref"}:
            return self.resolve(schema["$ref"])
        return schema

    def fields(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The properties that are exchanged."""
        found = schema.get("properties", {})
        return {name: inner for name, inner in found.items() if not self._is_hidden(inner)}

    def required(self, schema: Mapping[str, Any]) -> tuple[str, ...]:
        fields = schema.get("properties", {})
        return tuple(
            n for n in schema.get("required", ()) if n not in fields or not self._is_hidden(fields[n])
        )

    def says(self, schema: Schema, word: str) -> bool:
        """Whether the annotation stands there, or at what it refers to."""
        whole = self.whole(schema)
        return isinstance(whole, Mapping) and whole.get(word) is True

    def _is_hidden(self, schema: Schema) -> bool:
        return bool(self._hidden) and self.says(schema, self._hidden)

    def _as_one(self, schema: Schema, left: int) -> Schema:
        if isinstance(schema, bool) or not schema.keys() & {"$ref", "allOf"}:
            return schema
        if left < 0:
            return {"$ref-circular": True}
        parts = [self.resolve(schema["$ref"])] if "$ref" in schema else []
        parts += list(schema.get("allOf", ()))
        rest = {k: v for k, v in schema.items() if k not in ("$ref", "allOf")}
        return merged([*(self._as_one(part, left - 1) for part in parts), rest] if rest else
                      [self._as_one(part, left - 1) for part in parts])  # fmt: skip

    def _apart(self, schema: Schema, left: int) -> Iterable[Schema]:
        if isinstance(schema, bool):
            yield schema
            return
        if left < 0:
            yield {"$ref-circular": True}
            return
        for part in [*([self.resolve(schema["$ref"])] if "$ref" in schema else []), *schema.get("allOf", ())]:
            yield from self._apart(part, left - 1)
        for choice in CHOICES:
            if choice in schema:
                yield {k: schema[k] for k in (choice, "discriminator") if k in schema}
        rest = {k: v for k, v in schema.items() if k not in ("$ref", "allOf", *CHOICES)}
        if rest:
            yield rest

    def _choices(self, schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        found = [schema]
        for choice in CHOICES:
            if choice in schema:
                rest = {k: v for k, v in schema.items() if k not in CHOICES}
                both = [self.whole({"allOf": [branch, rest]}) for branch in schema[choice]]
                found = [part for part in both if isinstance(part, Mapping)]
                break
        return found


def looked_up(root: Any, ref: str) -> Any:
    """What a JSON Pointer behind `#` leads to. Raises: LookupError."""
    here = root
    for part in ref.split("/")[1:]:
        spelled = _PERCENT.sub(
            lambda found: bytes.fromhex(found[0].replace("%", "")).decode(errors="replace"), part
        )
        name = spelled.replace("~1", "/").replace("~0", "~")
        if isinstance(here, list) and name.isdecimal():
            here = here[int(name)]
        elif isinstance(here, Mapping):
            here = here[name]
        else:
            raise LookupError(name)
    return here


def merged(parts: Iterable[Schema]) -> Schema:
    """One schema for all of `parts`, which have no `$ref` and `allOf` at the top.

    It takes all that fits every one of them, and may take more: of a keyword that stands twice in different words and
    cannot be joined the last counts. So it is good for a writer only.
    """
    found: dict[str, Any] = {}
    for part in parts:
        if part is False:
            return False
        if part is not True:
            found = _both(found, part) if found else dict(part)
    return found


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    found = {**one, **other}
    for name in one.keys() & other.keys():
        if name in LOWER:
            found[name] = max(one[name], other[name])
        elif name in UPPER:
            found[name] = min(one[name], other[name])
        elif name == "required":
            found[name] = list(dict.fromkeys([*one[name], *other[name]]))
        elif name == "items":
            found[name] = _of_both(one[name], other[name])
    if "type" in one and "type" in other:
        kinds = kinds_of(one) & kinds_of(other)
        found["type"] = sorted(kinds)
    values, more = listed(one), listed(other)
    if values is not None and more is not None:
        found.pop("const", None)
        found["enum"] = [v for v in values if any(same_value(v, m) for m in more)]
    if "properties" in one or "properties" in other or "additionalProperties" in found:
        found |= _fields(one, other)
    return found


def _fields(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A field that one of the two does not name must fit its `additionalProperties`."""
    mine, theirs = one.get("properties", {}), other.get("properties", {})
    rest, more = one.get("additionalProperties", True), other.get("additionalProperties", True)
    fields = {name: _of_both(mine.get(name, rest), theirs.get(name, more)) for name in {**mine, **theirs}}
    found: dict[str, Any] = {"properties": fields}
    if "additionalProperties" in one or "additionalProperties" in other:
        found["additionalProperties"] = _of_both(rest, more)
    return found


def _of_both(one: Schema, other: Schema) -> Schema:
    if one is False or other is False:
        return False
    if one is True or one == other:
        return other
    return one if other is True else {"allOf": [one, other]}
