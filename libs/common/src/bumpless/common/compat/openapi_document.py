"""An OpenAPI 3.0 or 3.1 document as the comparison reads it: checked for size, in the words of 3.1, references followed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bumpless.common.compat.schema_sides import ANNOTATIONS, Side, looked_up
from bumpless.common.errors import Refused

MAX_NODES = 200_000
"""Objects, lists and values of one document."""
MAX_NESTING = 100
MAX_REFS = 32
"""References that lead to references, one after the other."""
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_TEMPLATE = re.compile(r"\{[^{}]*\}")
_NAMES = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "schemas", "mapping", "dependentSchemas"}
)
"""What stands below these are names that the author chose."""
_DATA = frozenset({"example", "default", "const", "enum", "value"})
"""What stands below these is data, not words of OpenAPI."""


@dataclass(frozen=True)
class Operation:
    """A method on a path. `shape` is its path with unnamed templates, because their names are not sent."""

    method: str
    path: str
    shape: str
    body: Mapping[str, Any]
    item: Mapping[str, Any]
    """What stands at the path."""

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"


class Document:
    """Raises: Refused, for what is no OpenAPI 3.0 or 3.1, too large, nested too deep, or refers to what is not in it."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        version = given.get("openapi")
        if not isinstance(version, str) or not version.startswith(("3.0.", "3.1.")):
            raise Refused("an OpenAPI document, openapi: 3.0.x or 3.1.x", repr(version)[:80])
        self._left = MAX_NODES
        self._refs: dict[str, None] = {}
        self.root: Mapping[str, Any] = self._plain(given, version.startswith("3.0."), 0)
        for ref in self._refs:
            self._at(ref)
        self.sent = Side(self.root, "readOnly")
        """Its schemas in what clients send."""
        self.answered = Side(self.root, "writeOnly")
        """And in what the server sends."""

    def operations(self) -> Iterator[Operation]:
        """Raises: Refused."""
        for path, given in mapping(self.root.get("paths"), "paths").items():
            if not path.startswith("x-"):
                yield from self.at(path, given)

    def at(self, path: str, given: Any) -> Iterator[Operation]:
        """The operations of one path item. Raises: Refused."""
        item = self.resolved(given, path)
        for method in METHODS:
            if method in item:
                body = mapping(item[method], f"{method} {path}")
                yield Operation(method, path, _TEMPLATE.sub("{}", path), body, item)

    def parameters(self, operation: Operation) -> dict[tuple[str, str], Mapping[str, Any]]:
        """By place and name; parameters in the path by their number there. Those of the operation come first."""
        templates = _TEMPLATE.findall(operation.path)
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for given in (*items(operation.item, "parameters"), *items(operation.body, "parameters")):
            parameter = self.resolved(given, f"a parameter of {operation}")
            place, name = str(parameter.get("in")), str(parameter.get("name"))
            if place == "header":
                name = name.lower()
            if place == "path" and f"{{{name}}}" in templates:
                name = str(templates.index(f"{{{name}}}"))
            found[place, name] = parameter
        return found

    def inheriting(self) -> dict[str, dict[str, Any]]:
        """Schemas with a discriminator and no alternatives, each with the schemas that say they are of its kind."""
        schemas = mapping(
            mapping(self.root.get("components"), "components").get("schemas"), "components.schemas"
        )
        found: dict[str, dict[str, Any]] = {}
        for name, schema in schemas.items():
            if (
                isinstance(schema, Mapping)
                and "discriminator" in schema
                and not schema.keys() & {"oneOf", "anyOf"}
            ):
                ref = {"$ref": f"#/components/schemas/{name}"}
                found[name] = {
                    other: inner
                    for other, inner in schemas.items()
                    if isinstance(inner, Mapping)
                    and isinstance(parts := inner.get("allOf"), list)
                    and ref in parts
                }
        return found

    def resolved(self, given: Any, what: str) -> Mapping[str, Any]:
        """`given`, or what it refers to. Raises: Refused."""
        found = mapping(given, what)
        for _ in range(MAX_REFS):
            if "$ref" not in found:
                return found
            found = mapping(self._at(str(found["$ref"])), f"{found['$ref']} of {what}")
        raise Refused(
            f"a reference that ends at {what}", f"more than {MAX_REFS} in a row", "they go in a circle"
        )

    def _at(self, ref: str) -> Any:
        if ref != "#" and not ref.startswith("#/"):
            raise Refused(
                "references within the document", ref[:200], "nothing is fetched: bundle it into one file"
            )
        try:
            return looked_up(self.root, ref)
        except LookupError:
            raise Refused("something that $ref leads to", ref[:200]) from None

    def _plain(
        self, value: Any, old_words: bool, depth: int, *, names: bool = False, data: bool = False
    ) -> Any:
        """A copy; with `old_words` what 3.0 says otherwise than 3.1 is said as in 3.1."""
        self._left -= 1
        if self._left < 0 or depth > MAX_NESTING:
            raise Refused(f"a document of at most {MAX_NODES} values, {MAX_NESTING} deep", "a larger one")
        if isinstance(value, list):
            return [self._plain(v, old_words, depth + 1, data=data) for v in value]
        if not isinstance(value, Mapping):
            return value
        if not data and not names and isinstance(value.get("$ref"), str):
            self._refs[value["$ref"]] = None
            if old_words:
                return {"$ref": value["$ref"]}
        found = {
            str(k): self._plain(
                v,
                old_words,
                depth + 1,
                names=not names and k in _NAMES,
                data=data or (not names and k in _DATA),
            )
            for k, v in value.items()
        }
        return _in_words_of_3_1(found) if old_words and not names and not data else found


def _in_words_of_3_1(schema: dict[str, Any]) -> dict[str, Any]:
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
            schema[exclusive] = schema.pop(bound)
    if schema.get("nullable") is True:
        del schema["nullable"]
        if isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
        elif "type" not in schema and None not in (schema.get("enum") or ()):
            # Beside a reference or allOf it has no meaning in 3.0, and everybody means this.
            marks = {k: v for k, v in schema.items() if k in ANNOTATIONS and k != "discriminator"}
            rest = {k: v for k, v in schema.items() if k not in marks}
            return {**marks, "anyOf": [rest, {"type": "null"}]} if rest else marks
    return schema


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Raises: Refused."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Refused(f"an object at {what}", type(value).__name__)
    return value


def items(of: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    """Raises: Refused."""
    found = of.get(name) or []
    if not isinstance(found, list):
        raise Refused(f"a list at {name}", type(found).__name__)
    return tuple(found)
