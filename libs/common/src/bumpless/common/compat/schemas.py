"""Two JSON Schemas compared, with a direction: what breaks whoever writes, and what breaks whoever reads.

`written` is the schema by which documents are made, `read` the one by which they are understood. The new version of a
reader must take all that the old writers make (backward), the old reader all that new writers make (forward). So one
comparison, "does every document of one fit the other", answers both. It covers what services use: types, enums and
constants, properties, required ones, additional ones, items, bounds and patterns, `$ref` within the document, `allOf`
with object schemas, and `anyOf`/`oneOf` branch by branch. A writer makes the fields that its schema names: without
`additionalProperties` a schema tolerates others where it is read, and makes none where it is written. What it does not understand it reports as such; it never
calls such a pair compatible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from bumpless.common.model.level import Level

Schema = Mapping[str, Any] | bool

_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_LOWER = {"minimum": "at least", "exclusiveMinimum": "more than", "minLength": "length at least",
          "minItems": "items at least", "minProperties": "properties at least"}  # fmt: skip
_UPPER = {"maximum": "at most", "exclusiveMaximum": "less than", "maxLength": "length at most",
          "maxItems": "items at most", "maxProperties": "properties at most"}  # fmt: skip
_SAME = ("pattern", "multipleOf", "uniqueItems", "format", "contains", "propertyNames", "patternProperties")
"""Compared by equality: where the reader has one, the writer must have the same."""
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$id", "$schema",
     "$comment", "$defs", "definitions", "nullable", "discriminator", "xml", "externalDocs", "example"}
)  # fmt: skip
_KNOWN = (
    frozenset({"type", "enum", "const", "properties", "required", "additionalProperties", "items", "$ref",
               "allOf", "anyOf", "oneOf"})
    | _LOWER.keys() | _UPPER.keys() | set(_SAME) | _ANNOTATIONS
)  # fmt: skip
MAX_DEPTH = 64
MAX_COMPARED = 20_000
"""Pairs of schemas in one comparison: alternatives in alternatives multiply."""


@dataclass(frozen=True)
class Misfit:
    """A document of the writer that the reader refuses: where (`user.name`, `tags[]`; empty: at the top), and why."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path or 'the document'}: {self.text}"


def misfits(
    written: Schema, read: Schema, written_in: Schema | None = None, read_in: Schema | None = None
) -> tuple[Misfit, ...]:
    """Why some document of `written` may not fit `read`; empty: every one fits.

    `written_in`, `read_in`: the documents in which `$ref` of either is looked up; left out, the schemas themselves.
    """
    return tuple(dict.fromkeys(_Comparison(written, read, written_in, read_in).run()))


def level_between(old: Schema, new: Schema) -> tuple[Level, tuple[Misfit, ...], tuple[Misfit, ...]]:
    """The level from `old` to `new`, with what breaks new readers of old documents, and old readers of new ones."""
    backward, forward = misfits(old, new), misfits(new, old)
    return Level.of(backward=not backward, forward=not forward), backward, forward


class _Comparison:
    def __init__(
        self, written: Schema, read: Schema, written_in: Schema | None = None, read_in: Schema | None = None
    ) -> None:
        self._written, self._read = written, read
        self._roots = {
            "written": written if written_in is None else written_in,
            "read": read if read_in is None else read_in,
        }
        self._left = [MAX_COMPARED]
        """In a list, because branches use up the same ones."""
        # By identity, and with the schemas themselves, so that no other object can take an identity over.
        self._begun: dict[tuple[int, int], tuple[Schema, Schema]] = {}

    def run(self) -> Iterator[Misfit]:
        return self._compare(self._written, self._read, "", 0)

    def _compare(self, written: Schema, read: Schema, path: str, depth: int) -> Iterator[Misfit]:
        self._left[0] -= 1
        if self._left[0] < 0:
            yield Misfit("", f"more than {MAX_COMPARED} comparisons; the rest is not compared")
            return
        # Schemas that refer to themselves: what is being compared further up holds here if it holds there.
        if any(isinstance(side, Mapping) and "$ref" in side for side in (written, read)):
            pair = (id(written), id(read))
            if pair in self._begun:
                return
            self._begun[pair] = written, read
        written, read = self._plain("written", written), self._plain("read", read)
        if read is True or read == {} or written is False:
            return
        if read is False:
            yield Misfit(path, "the reader takes nothing here")
            return
        if depth > MAX_DEPTH:
            yield Misfit(path, f"deeper than {MAX_DEPTH} levels, which is not compared")
            return
        wrote: Mapping[str, Any] = {} if written is True else written
        assert not isinstance(read, bool)
        yield from self._unknown(read, path)
        if any(name in side for side in (wrote, read) for name in ("anyOf", "oneOf")):
            yield from self._branches(wrote, read, path, depth)
            return
        yield from _values(wrote, read, path)
        yield from _bounds(wrote, read, path)
        yield from self._objects(wrote, read, path, depth)
        yield from self._arrays(wrote, read, path, depth)

    def _plain(self, side: str, schema: Schema) -> Schema:
        """Without `$ref` at the top and with `allOf` merged in. Siblings of `$ref` count, as in draft 2020-12."""
        for _ in range(MAX_DEPTH):
            if isinstance(schema, bool):
                return schema
            parts = [self._resolve(side, schema["$ref"])] if "$ref" in schema else []
            parts += list(schema.get("allOf", ()))
            if not parts:
                return schema
            rest = {k: v for k, v in schema.items() if k not in ("$ref", "allOf")}
            schema = _merged([*parts, rest] if rest else parts)
        return {"$ref-circular": True}

    def _resolve(self, side: str, ref: str) -> Schema:
        here: Any = self._roots[side]
        if not ref.startswith("#"):
            return {"$ref-elsewhere": ref}
        for part in ref.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(here, Mapping) or name not in here:
                return {"$ref-missing": ref}
            here = here[name]
        found: Schema = here
        return found

    def _unknown(self, read: Mapping[str, Any], path: str) -> Iterator[Misfit]:
        for name in sorted(read.keys() - _KNOWN):
            if not name.startswith("x-"):
                yield Misfit(path, f"the reader's {name} is not understood by this comparison")

    def _branches(
        self, wrote: Mapping[str, Any], read: Mapping[str, Any], path: str, depth: int
    ) -> Iterator[Misfit]:
        """Every branch of the writer must fit some branch of the reader."""
        for branch in _alternatives(wrote):
            found: list[Misfit] = []
            for taken in _alternatives(read):
                found = list(_Fork(self).compare(branch, taken, path, depth))
                if not found:
                    break
            if found:
                name = branch.get("title") or branch.get("type") or branch.get("$ref") or "one"
                yield Misfit(path, f"the writer's alternative {name} fits none of the reader's: {found[0]}")

    def _objects(
        self, wrote: Mapping[str, Any], read: Mapping[str, Any], path: str, depth: int
    ) -> Iterator[Misfit]:
        if "object" not in _kinds(wrote) & _kinds(read):
            return
        made, taken = wrote.get("properties", {}), read.get("properties", {})
        sure = set(wrote.get("required", ()))
        for name in read.get("required", ()):
            if name not in sure:
                how = "may leave out" if name in made else "does not know"
                yield Misfit(_at(path, name), f"required by the reader, and the writer {how} it")
        closed = read.get("additionalProperties", True)
        for name in sorted(made):
            if name in taken:
                yield from self._compare(made[name], taken[name], _at(path, name), depth + 1)
            elif closed is False:
                yield Misfit(_at(path, name), "written, and the reader takes no unknown fields")
            elif closed is not True:
                yield from self._compare(made[name], closed, _at(path, name), depth + 1)
        says_what = "properties" in wrote or "type" in wrote
        more = wrote.get("additionalProperties", not says_what)
        if more is not False:
            for name in sorted(taken.keys() - made.keys()):
                yield from self._compare(more, taken[name], _at(path, name), depth + 1)
            yield from self._compare(more, closed, _at(path, "*"), depth + 1)

    def _arrays(
        self, wrote: Mapping[str, Any], read: Mapping[str, Any], path: str, depth: int
    ) -> Iterator[Misfit]:
        if "array" in _kinds(wrote) & _kinds(read) and "items" in read:
            yield from self._compare(wrote.get("items", True), read["items"], f"{path}[]", depth + 1)


class _Fork(_Comparison):
    """A comparison of two branches, which must not count as done for the others."""

    def __init__(self, of: _Comparison) -> None:
        self._roots = of._roots
        self._left = of._left
        self._begun = dict(of._begun)

    def compare(self, written: Schema, read: Schema, path: str, depth: int) -> Iterator[Misfit]:
        return self._compare(written, read, path, depth + 1)


def _values(wrote: Mapping[str, Any], read: Mapping[str, Any], path: str) -> Iterator[Misfit]:
    values = _listed(wrote)
    allowed = _listed(read)
    if allowed is not None:
        if values is None:
            yield Misfit(path, f"the reader takes only {_shown(allowed)}, the writer is not bound to that")
        elif more := [v for v in values if not any(_equal(v, a) for a in allowed)]:
            yield Misfit(path, f"the reader does not take {_shown(more)}")
    kinds, taken = _kinds(wrote), _kinds(read)
    if values is not None and "enum" not in read and "const" not in read:
        kinds = frozenset(_kind(v) for v in values)
    strange = kinds - taken - ({"integer"} if "number" in taken else frozenset())
    if strange and not (values is not None and allowed is not None):
        names = ", ".join(k for k in _TYPES if k in strange)
        yield Misfit(path, f"the reader takes {' or '.join(k for k in _TYPES if k in taken)}, not {names}")


def _bounds(wrote: Mapping[str, Any], read: Mapping[str, Any], path: str) -> Iterator[Misfit]:
    if (values := _listed(wrote)) is not None:
        limits = Draft202012Validator(
            {k: v for k, v in read.items() if k in _LOWER or k in _UPPER or k in _SAME}
        )
        if bad := [v for v in values if not limits.is_valid(v)]:
            yield Misfit(path, f"the reader does not take {_shown(bad)}")
        return
    for name, words in _LOWER.items():
        if name in read and (name not in wrote or wrote[name] < read[name]):
            yield Misfit(path, f"the reader takes {words} {read[name]}, the writer {_bound(wrote, name)}")
    for name, words in _UPPER.items():
        if name in read and (name not in wrote or wrote[name] > read[name]):
            yield Misfit(path, f"the reader takes {words} {read[name]}, the writer {_bound(wrote, name)}")
    for name in _SAME:
        if name in read and wrote.get(name) != read[name] and read[name] is not False:
            yield Misfit(path, f"the reader wants {name} {read[name]!r}, the writer {_bound(wrote, name)}")


def _bound(wrote: Mapping[str, Any], name: str) -> str:
    return f"has {wrote[name]!r}" if name in wrote else "is not bound to that"


def _kinds(schema: Mapping[str, Any]) -> frozenset[str]:
    given = schema.get("type")
    kinds = frozenset(_TYPES) if given is None else frozenset([given] if isinstance(given, str) else given)
    if given is None and not schema.keys() & {"enum", "const"}:
        implied = {"object" for k in ("properties", "required") if k in schema}
        kinds = frozenset(implied) or kinds
    if schema.get("nullable") is True:
        kinds |= {"null"}
    return kinds | {"integer"} if "number" in kinds else kinds


def _listed(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _equal(one: Any, other: Any) -> bool:
    """JSON has no booleans that are numbers."""
    return one == other and (isinstance(one, bool) == isinstance(other, bool))


def _alternatives(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    for name in ("anyOf", "oneOf"):
        if name in schema:
            rest = {k: v for k, v in schema.items() if k not in ("anyOf", "oneOf")}
            return [_as_mapping(_merged([b, rest]) if rest else b) for b in schema[name]]
    return [schema]


def _as_mapping(schema: Schema) -> Mapping[str, Any]:
    if isinstance(schema, bool):
        return {} if schema else {"enum": []}
    return schema


def _merged(parts: list[Schema]) -> Schema:
    """One schema for all of `parts`: properties and required fields together, the tighter bounds.

    Of another keyword given twice in different words the last counts. That says too much of what is taken, so it is
    marked with a keyword that no reader may have.
    """
    merged: dict[str, Any] = {}
    for part in parts:
        if part is False:
            return False
        for name, value in ({} if part is True else part).items():
            before: Any = merged.get(name, value)
            if name == "properties":
                both = {k: {"allOf": [before[k], v]} for k, v in value.items() if before.get(k, v) != v}
                merged[name] = {**merged.get(name, {}), **value, **both}
            elif name in ("required", "allOf"):
                merged[name] = [*merged.get(name, []), *value]
            elif name in _LOWER or name in _UPPER:
                merged[name] = max(before, value) if name in _LOWER else min(before, value)
            else:
                if before != value and name not in _ANNOTATIONS:
                    merged[f"allOf with two of {name}"] = True
                merged[name] = value
    return merged


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(values: list[Any]) -> str:
    return ", ".join(repr(v) for v in values[:8]) + (
        f" and {len(values) - 8} more" if len(values) > 8 else ""
    )
