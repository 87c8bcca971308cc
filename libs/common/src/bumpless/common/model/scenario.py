"""A scenario: requests one after the other, with what is expected of each answer and what is taken from it for later.

`{var.NAME}` stands for what an earlier answer gave; `{node.name}` and `{node.address}` for the node's own words. Paths
into JSON are names and positions with dots: `items.0.id`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from bumpless.common.contract.base import StrictModel

MAX_CALLS = 100
VariableName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Status = Annotated[int, Field(ge=100, le=599)]
_VARIABLE = re.compile(r"\{var\.([a-zA-Z0-9_.-]+)\}")
_PATH = re.compile(r"[^.]+(?:\.[^.]+)*")
_BASE = re.compile(r"https?://[^/?#\s]+(?:/[^?#\s]*)?")


def _json_path(path: str) -> str:
    if path and not _PATH.fullmatch(path):
        raise ValueError(f"expected names and positions with dots, such as items.0.id, found {path!r}")
    return path


def _base(url: str) -> str:
    if not _BASE.fullmatch(url):
        raise ValueError(f"expected a URL such as http://{{node.address}}:8080, found {url!r}")
    return url.rstrip("/")


JsonPath = Annotated[str, AfterValidator(_json_path)]


class Expected(StrictModel):
    """What an answer has to be: one of `status`, `contains` within the body, and values at paths of its JSON."""

    status: tuple[Status, ...] = (200,)
    contains: str | None = None
    json_values: dict[JsonPath, Any] = Field(default={}, alias="json")


class Call(StrictModel):
    """One request. `path` follows the scenario's `base`. `capture`: variable to path in the answer's JSON."""

    name: str = ""
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    path: Annotated[str, StringConstraints(pattern=r"^/")] = "/"
    headers: dict[str, str] = {}
    body: str | None = None
    json_body: Any = Field(default=None, alias="json")
    expect: Expected = Expected()
    capture: dict[VariableName, JsonPath] = {}

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.body is not None and self.json_body is not None:
            raise ValueError("expected body or json, found both")
        return self


class ScenarioFile(StrictModel):
    """A scenario as it is written in a file of its own, or in place."""

    base: Annotated[str, AfterValidator(_base)]
    calls: tuple[Call, ...] = Field(min_length=1, max_length=MAX_CALLS)

    @model_validator(mode="after")
    def _variables_are_captured_before(self) -> Self:
        known: set[str] = set()
        for number, call in enumerate(self.calls, start=1):
            used = set(_VARIABLE.findall(call.model_dump_json(by_alias=True)))
            if unknown := sorted(used - known):
                raise ValueError(
                    f"expected {{var.{unknown[0]}}} in call {number} to be captured by an earlier one; captured are "
                    f"{', '.join(sorted(known)) or 'none'}"
                )
            known |= set(call.capture)
        return self


def filled(text: str, variables: dict[str, str]) -> str:
    """`text` with the variables in place."""
    return _VARIABLE.sub(lambda found: variables.get(found[1], found[0]), text)


def at_path(value: Any, path: str) -> Any:
    """What lies at `path`; the whole for an empty one. Raises: LookupError, with the part that is not there."""
    for part in path.split(".") if path else ():
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise LookupError(part)
    return value
