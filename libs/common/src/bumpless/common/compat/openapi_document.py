"""An OpenAPI 3.0 or 3.1 document as the comparison reads it: checked for size, in the words of 3.1, references followed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bumpless.common.errors import Refused

MAX_NODES = 200_000
"""Objects, lists and values of one document."""
MAX_NESTING = 100
MAX_REFS = 32
"""References that lead to references, one after the other."""
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_TEMPLATE = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Operation:
    """A method on a path. `shape` is its path with unnamed templates, because their names are not sent."""

    method: str
    path: str
    shape: str
    body: Mapping[str, Any]
    shared: tuple[Any, ...]
    """The parameters that stand at the path."""

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"


class Document:
    """Raises: Refused, for what is no OpenAPI 3.0 or 3.1, too large or nested too deep."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        version = given.get("openapi")
        if not isinstance(version, str) or not version.startswith(("3.0.", "3.1.")):
            raise Refused("an OpenAPI document, openapi: 3.0.x or 3.1.x", repr(version)[:80])
        self._left = MAX_NODES
        self.root: Mapping[str, Any] = self._plain(given, version.startswith("3.0."), 0)

    def operations(self) -> Iterator[Operation]:
        """Raises: Refused."""
        for path, given in mapping(self.root.get("paths"), "paths").items():
            item = self.resolved(given, path)
            for method in METHODS:
                if method in item:
                    body = mapping(item[method], f"{method} {path}")
                    yield Operation(method, path, _TEMPLATE.sub("{}", path), body, items(item, "parameters"))

    def parameters(self, operation: Operation) -> dict[tuple[str, str], Mapping[str, Any]]:
        """By place and name; parameters in the path by their number there. Those of the operation come first."""
        templates = _TEMPLATE.findall(operation.path)
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for given in (*operation.shared, *items(operation.body, "parameters")):
            parameter = self.resolved(given, f"a parameter of {operation}")
            place, name = str(parameter.get("in")), str(parameter.get("name"))
            if place == "header":
                name = name.lower()
            if place == "path" and f"{{{name}}}" in templates:
                name = str(templates.index(f"{{{name}}}"))
            found[place, name] = parameter
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
        if not ref.startswith("#/"):
            raise Refused("references within the document", ref[:200], "bundle the document into one file")
        here: Any = self.root
        for part in ref[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(here, Mapping) or name not in here:
                raise Refused("something that $ref leads to", ref[:200])
            here = here[name]
        return here

    def _plain(self, value: Any, old_words: bool, depth: int) -> Any:
        """A copy; with `old_words` what 3.0 says otherwise than 3.1 is said as in 3.1."""
        self._left -= 1
        if self._left < 0 or depth > MAX_NESTING:
            raise Refused(f"a document of at most {MAX_NODES} values, {MAX_NESTING} deep", "a larger one")
        if isinstance(value, list):
            return [self._plain(v, old_words, depth + 1) for v in value]
        if not isinstance(value, Mapping):
            return value
        if old_words and isinstance(value.get("$ref"), str):
            return {"$ref": value["$ref"]}
        found = {str(k): self._plain(v, old_words, depth + 1) for k, v in value.items()}
        if old_words:
            for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
                if isinstance(found.get(exclusive), bool) and found.pop(exclusive) and bound in found:
                    found[exclusive] = found.pop(bound)
        return found


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
