"""OpenAPI documents compared with a direction: what old clients send and read, at a new server."""

from __future__ import annotations

from typing import Any

import pytest

from bumpless.common.compat.openapi import Weight, breaking, compare, level_between
from bumpless.common.compat.schemas import misfits
from bumpless.common.errors import Refused
from bumpless.common.model.level import Level

TEXT = {"type": "string"}
JSON = "application/json"


def fields(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split()}


def document(*, version: str = "3.1.0", path: str = "/users/{id}", **operation: Any) -> dict[str, Any]:
    return {"openapi": version, "paths": {path: {"post": {"responses": {"200": {}}} | operation}}}


def sends(schema: Any, **more: Any) -> dict[str, Any]:
    return document(requestBody={"content": {JSON: {"schema": schema}}}, **more)


def answers(schema: Any, **more: Any) -> dict[str, Any]:
    return document(responses={"200": {"content": {JSON: {"schema": schema}}}}, **more)


def takes(**parameter: Any) -> dict[str, Any]:
    return document(parameters=[{"in": "query", "name": "q", "schema": TEXT} | parameter])


def enum(*values: str) -> dict[str, Any]:
    return TEXT | {"enum": list(values)}


SHORT = TEXT | {"maxLength": 5}
SECURED = {"components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "K"}}}}


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        (sends(fields(a=enum("x", "y"))), sends(fields(a=enum("x"))), "request application/json a"),
        (answers(fields(a=enum("x"))), answers(fields(a=enum("x", "y"))), "response 200 application/json a"),
        (sends(fields(a=TEXT)), sends(fields(a=SHORT)), "request application/json a"),
        (answers(fields(a=SHORT)), answers(fields(a=TEXT)), "response 200 application/json a"),
        (answers(fields("a", a=TEXT)), answers(fields(a=TEXT)), "response 200 application/json a"),
        (answers(fields("a", a=TEXT)), answers(fields("b", b=TEXT)), "response 200 application/json a"),
        (sends(fields(a=TEXT)), sends(fields("a", a=TEXT)), "request application/json a"),
        (
            answers(fields(a=TEXT), version="3.0.3"),
            answers(fields(a=TEXT | {"nullable": True}), version="3.0.3"),
            "response 200 application/json a",
        ),
        (document(), takes(required=True), "query parameter q"),
        (takes(), takes(required=True), "query parameter q"),
        (takes(), takes(schema={"type": "integer"}), "query parameter q"),
        (takes(), takes(schema=enum("x")), "query parameter q"),
        (document(), document(requestBody={"required": True, "content": {}}), "request"),
        (sends(TEXT), document(requestBody={"content": {"text/plain": {}}}), "request application/json"),
        (document(), document(responses={"204": {}}), "response 200"),
        (document(), document(path="/people"), ""),
        (document(), document(security=[{"key": []}]) | SECURED, "security"),
        (sends(TEXT), sends({"not": {"type": "null"}}), "request application/json"),
        (sends(TEXT), sends({"$ref": "other.json#/a"}), "request application/json"),
        (sends(TEXT), sends({"allOf": [SHORT, TEXT | {"maxLength": 9}]}), "request application/json"),
        (sends(TEXT), sends({"allOf": [{"type": "integer"}, TEXT]}), "request application/json"),
        (
            sends(fields(a=TEXT)),
            sends({"allOf": [fields(a=SHORT), fields(a=TEXT)]}),
            "request application/json a",
        ),
        (sends(TEXT), sends({"properties": 5}), "request application/json"),
    ],
)
def test_what_breaks_old_clients(old: dict[str, Any], new: dict[str, Any], at: str) -> None:
    assert f"POST /users/{{id}} {at}".rstrip() in {c.where for c in breaking(compare(old, new))}
    assert compare(old, old) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (sends(fields(a=enum("x"))), sends(fields(a=enum("x", "y")))),
        (answers(fields(a=enum("x", "y"))), answers(fields(a=enum("x")))),
        (answers(fields(a=TEXT)), answers(fields("a b", a=TEXT, b=TEXT))),
        (document(), takes()),
        (takes(required=True), takes()),
        (document(), document(path="/users/{name}")),
        (document(security=[{"key": []}]) | SECURED, document(security=[{"key": []}, {}]) | SECURED),
    ],
)
def test_what_breaks_nobody(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert breaking(compare(old, new)) == ()


def test_a_removal_is_announced_by_a_deprecation() -> None:
    empty = {"openapi": "3.1.0", "paths": {}}
    assert [c.unannounced for c in compare(document(), empty)] == [True]
    assert [c.unannounced for c in compare(document(deprecated=True), empty)] == [False]
    (change,) = compare(document(), document(deprecated=True))
    assert (change.weight, change.text) == (Weight.WARNING, "now deprecated")


def test_levels_say_who_works_with_whom() -> None:
    assert level_between(sends(fields(a=TEXT)), sends(fields(a=TEXT))) is Level.FULL
    assert level_between(sends(fields(a=SHORT)), sends(fields(a=TEXT))) is Level.BACKWARD
    assert level_between(sends(fields(a=TEXT)), sends(fields(a=SHORT))) is Level.FORWARD


def test_references_lead_within_their_own_document() -> None:
    def tree(label: Any) -> dict[str, Any]:
        node = fields(
            "label", label=label, children={"type": "array", "items": {"$ref": "#/components/schemas/Node"}}
        )
        return answers({"$ref": "#/components/schemas/Node"}) | {"components": {"schemas": {"Node": node}}}

    assert compare(tree(TEXT), tree(TEXT)) == ()
    assert [c.where for c in compare(tree(SHORT), tree(TEXT))] == [
        "POST /users/{id} response 200 application/json children[].label",
        "POST /users/{id} response 200 application/json label",
    ]


def test_words_of_3_0_mean_what_they_mean_there() -> None:
    def bound(version: str, **words: Any) -> dict[str, Any]:
        return sends({"type": "number"} | words, version=version)

    old, new = bound("3.0.3", minimum=1, exclusiveMinimum=True), bound("3.1.0", exclusiveMinimum=1)
    assert compare(old, new) == ()
    assert breaking(compare(old, bound("3.1.0", exclusiveMinimum=2)))


@pytest.mark.parametrize(
    "hostile",
    [
        {"openapi": "2.0", "paths": {}},
        {"openapi": "3.1.0", "paths": []},
        {"openapi": "3.1.0", "paths": {"/a": {"$ref": "#/paths/~1a"}}},
        {"openapi": "3.1.0", "paths": {"/a": {"$ref": "elsewhere.json"}}},
        {"openapi": "3.1.0", "paths": {}, "x": [0] * 200_001},
    ],
)
def test_what_cannot_be_read_is_refused(hostile: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        compare(document(), hostile)


def test_alternatives_in_alternatives_come_to_an_end() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for n in range(20):
        schema = {"oneOf": [fields(f"a{n}", **{f"a{n}": schema}), fields(f"b{n}", **{f"b{n}": schema})]}
    assert misfits(schema, {"oneOf": [schema, schema]}) is not None


def test_a_circle_of_references_fits_nothing() -> None:
    circle = {"$ref": "#/a", "a": {"$ref": "#/a"}}
    assert misfits({"type": "string"}, circle)
