"""OpenAPI documents compared with a direction: what old clients send and read, at a new server."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from bumpless.common.compat.openapi import breaking, compare, level_between
from bumpless.common.compat.openapi_changes import Weight
from bumpless.common.compat.schemas import Budget, misfits
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


READ_ONLY, WRITE_ONLY = TEXT | {"readOnly": True}, TEXT | {"writeOnly": True}
OLD_FIELD = TEXT | {"deprecated": True}


def calls(schema: Any, **more: Any) -> dict[str, Any]:
    """An operation that is answered later, by a call to the client."""
    body = {"requestBody": {"content": {JSON: {"schema": schema}}}, "responses": {"204": {}}} | more
    return document(callbacks={"done": {"{$request.query.url}": {"post": body}}})


def hook(schema: Any, **more: Any) -> dict[str, Any]:
    body = {"requestBody": {"content": {JSON: {"schema": schema}}}, "responses": {"204": {}}} | more
    return document() | {"webhooks": {"changed": {"post": body}}}


def kinds(word: str = "kind", **mapped: Any) -> dict[str, Any]:
    """Alternatives that a discriminator names."""
    refs = [{"$ref": f"#/components/schemas/{name}"} for name in mapped]
    schemas = {name: fields(word, **{word: TEXT}, **inner) for name, inner in mapped.items()}
    schema = {"oneOf": refs, "discriminator": {"propertyName": word}}
    return {"schema": schema, "components": {"schemas": schemas}}


def with_kinds(of: Any, word: str = "kind", **mapped: Any) -> dict[str, Any]:
    made = kinds(word, **mapped)
    found: dict[str, Any] = of(made["schema"]) | {"components": made["components"]}
    return found


def links(**given: Any) -> dict[str, Any]:
    return document(responses={"200": {"links": given}})


def inherits(**fields_of_cat: Any) -> dict[str, Any]:
    pet = fields("kind", kind=TEXT) | {"discriminator": {"propertyName": "kind"}}
    cat = {"allOf": [{"$ref": "#/components/schemas/Pet"}, fields(**fields_of_cat)]}
    ref = {"$ref": "#/components/schemas/Pet"}
    return answers(ref) | {"components": {"schemas": {"Pet": pet, "Cat": cat}}}


OP, BODY, ANSWER = (
    "POST /users/{id}",
    "POST /users/{id} request application/json",
    "POST /users/{id} response 200 application/json",
)
CALLBACK = f"{OP} callback done POST {{$request.query.url}}"
B, W, N = Weight.BREAKING, Weight.WARNING, Weight.INFO
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], set[tuple[Weight, str]]]] = {
    "an optional response field goes": (
        answers(fields(a=TEXT, b=TEXT)),
        answers(fields(a=TEXT)),
        {(W, f"{ANSWER} b")},
    ),
    "a response field comes": (
        answers(fields(a=TEXT)),
        answers(fields(a=TEXT, b=TEXT)),
        {(N, f"{ANSWER} b")},
    ),
    "a request field is not read any more": (
        sends(fields(a=TEXT, b=TEXT)),
        sends(fields(a=TEXT)),
        {(W, f"{BODY} b")},
    ),
    "a request field comes": (sends(fields(a=TEXT)), sends(fields(a=TEXT, b=TEXT)), {(N, f"{BODY} b")}),
    "a closed request loses a field": (
        sends(fields(a=TEXT, b=TEXT)),
        sends(fields(a=TEXT) | {"additionalProperties": False}),
        {(B, f"{BODY} b")},
    ),
    "a field is deprecated": (answers(fields(a=TEXT)), answers(fields(a=OLD_FIELD)), {(W, f"{ANSWER} a")}),
    "a request field is deprecated": (sends(fields(a=TEXT)), sends(fields(a=OLD_FIELD)), {(W, f"{BODY} a")}),
    "a field is not deprecated any more": (sends(fields(a=OLD_FIELD)), sends(fields(a=TEXT)), set()),
    "a parameter is deprecated": (takes(), takes(deprecated=True), {(W, f"{OP} query parameter q")}),
    "a read-only field is required": (sends(fields(a=TEXT)), sends(fields("b", a=TEXT, b=READ_ONLY)), set()),
    "a read-only field is answered": (
        answers(fields("b", a=TEXT, b=READ_ONLY)),
        answers(fields(a=TEXT)),
        {(B, f"{ANSWER} b")},
    ),
    "a write-only field is required": (
        sends(fields(a=TEXT)),
        sends(fields("b", a=TEXT, b=WRITE_ONLY)),
        {(B, f"{BODY} b")},
    ),
    "a write-only field is not answered": (
        answers(fields("b", a=TEXT, b=WRITE_ONLY)),
        answers(fields(a=TEXT)),
        set(),
    ),
    "a field becomes read-only": (
        sends(fields(a=TEXT, b=TEXT)),
        sends(fields(a=TEXT, b=READ_ONLY)),
        {(W, f"{BODY} b")},
    ),
    "a callback sends more values": (
        calls(fields(a=enum("x"))),
        calls(fields(a=enum("x", "y"))),
        {(B, f"{CALLBACK} request application/json a")},
    ),
    "a callback sends fewer values": (calls(fields(a=enum("x", "y"))), calls(fields(a=enum("x"))), set()),
    "a callback drops a required field": (
        calls(fields("a", a=TEXT)),
        calls(fields(b=TEXT)),
        {(B, f"{CALLBACK} request application/json a"), (N, f"{CALLBACK} request application/json b")},
    ),
    "a callback drops an optional field": (
        calls(fields(a=TEXT, b=TEXT)),
        calls(fields(b=TEXT)),
        {(W, f"{CALLBACK} request application/json a")},
    ),
    "a callback waits for another answer": (
        calls(TEXT),
        calls(TEXT, responses={"200": {}}),
        {(B, f"{CALLBACK} response 204"), (B, f"{CALLBACK} response 200")},
    ),
    "a callback goes": (calls(TEXT), document(), {(W, f"{OP} callback done")}),
    "a callback comes": (document(), calls(TEXT), {(N, f"{OP} callback done")}),
    "a webhook is widened": (hook(SHORT), hook(TEXT), {(B, "webhook POST changed request application/json")}),
    "a webhook is narrowed": (hook(TEXT), hook(SHORT), set()),
    "a webhook goes": (hook(TEXT), document(), {(W, "webhook POST changed")}),
    "a link goes": (links(next={"operationId": "a"}), links(), {(W, f"{OP} response 200 link next")}),
    "a link leads elsewhere": (
        links(next={"operationId": "a"}),
        links(next={"operationId": "b"}),
        {(W, f"{OP} response 200 link next")},
    ),
    "a server goes": (
        document() | {"servers": [{"url": "https://a"}, {"url": "https://b"}]},
        document() | {"servers": [{"url": "https://a"}]},
        {(W, "the document server https://b")},
    ),
    "a server of an operation comes": (
        document(),
        document(servers=[{"url": "https://a"}]),
        {(N, f"{OP} server https://a")},
    ),
    "an answer of a new kind": (
        with_kinds(answers, cat={}),
        with_kinds(answers, cat={}, dog={}),
        {(B, ANSWER)},
    ),
    "a kind is not answered any more": (
        with_kinds(answers, cat={}, dog={}),
        with_kinds(answers, cat={}),
        {(W, ANSWER)},
    ),
    "a kind is not taken any more": (
        with_kinds(sends, cat={}, dog={}),
        with_kinds(sends, cat={}),
        {(B, BODY)},
    ),
    "a kind is changed": (
        with_kinds(sends, cat={"a": TEXT}, dog={"a": TEXT}),
        with_kinds(sends, cat={"a": TEXT}, dog={"a": SHORT}),
        {(B, f"{BODY} a")},
    ),
    "kinds are told by another field": (
        with_kinds(sends, cat={}),
        with_kinds(sends, "sort", cat={}),
        {(B, BODY)},
    ),
    "a kind by inheritance": (inherits(a=TEXT), inherits(a=SHORT), {(W, "components.schemas.Pet")}),
    "words nobody knows": (document() | {"x-a": 1}, document() | {"x-a": 2}, {(N, "the document")}),
    "another operationId": (document(operationId="a"), document(operationId="b"), {(N, OP)}),
    "a style that was the default": (takes(), takes(style="form", explode=True), set()),
    "a closed part of allOf": (
        sends({"allOf": [fields(a=TEXT), fields(b=TEXT)]}),
        sends({"allOf": [fields(a=TEXT) | {"additionalProperties": False}, fields(b=TEXT)]}),
        {(B, f"{BODY} b")},
    ),
    "an open part of allOf": (
        sends(fields(a=TEXT, b=TEXT)),
        sends({"allOf": [fields(a=TEXT), fields(b=TEXT)]}),
        set(),
    ),
    "int32 becomes int64": (
        sends({"type": "integer", "format": "int32"}),
        sends({"type": "integer", "format": "int64"}),
        set(),
    ),
    "bounds in other words": (
        sends({"type": "integer", "minimum": 2}),
        sends({"type": "integer", "exclusiveMinimum": 1}),
        set(),
    ),
    "a reference that may be null": (
        answers({"allOf": [{"$ref": "#/components/schemas/A"}], "nullable": False}, version="3.0.3")
        | {"components": {"schemas": {"A": TEXT}}},
        answers({"allOf": [{"$ref": "#/components/schemas/A"}], "nullable": True}, version="3.0.3")
        | {"components": {"schemas": {"A": TEXT}}},
        {(B, ANSWER)},
    ),
    "null in other words": (
        answers({"type": ["string", "null"]}),
        answers({"anyOf": [TEXT, {"type": "null"}]}),
        set(),
    ),
    "alternatives that may overlap": (
        sends({"anyOf": [TEXT, SHORT]}),
        sends({"oneOf": [TEXT, SHORT]}),
        {(W, BODY)},
    ),
    "a header goes": (
        document(responses={"200": {"headers": {"X": {"schema": TEXT}}}}),
        document(),
        {(W, f"{OP} response 200 header x")},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_each_change_weighs(name: str) -> None:
    old, new, wanted = CASES[name]
    assert {(c.weight, c.where) for c in compare(old, new)} == wanted
    assert compare(new, new) == compare(old, old) == ()


@pytest.mark.parametrize(
    ("old", "new", "unannounced"),
    [
        (answers(fields(a=TEXT, b=TEXT)), answers(fields(a=TEXT)), True),
        (answers(fields(a=TEXT, b=OLD_FIELD)), answers(fields(a=TEXT)), False),
        (answers(fields("b", a=TEXT, b=TEXT)), answers(fields(a=TEXT)), True),
        (answers(fields("b", a=TEXT, b=OLD_FIELD)), answers(fields(a=TEXT)), False),
        (sends(fields(a=TEXT, b=TEXT)), sends(fields(a=TEXT)), True),
        (sends(fields(a=TEXT, b=OLD_FIELD)), sends(fields(a=TEXT)), False),
        (takes(deprecated=True), document(), False),
        (takes(), document(), True),
        (sends(fields(a=TEXT)), sends(fields("b", a=TEXT, b=TEXT)), False),
        (calls(TEXT), document(), True),
    ],
)
def test_what_went_without_a_word(old: dict[str, Any], new: dict[str, Any], unannounced: bool) -> None:
    assert {c.unannounced for c in compare(old, new)} == {unannounced}


def test_documents_that_take_too_many_comparisons_are_refused() -> None:
    def deep(leaf: Any) -> dict[str, Any]:
        schemas: dict[str, Any] = {"S0": leaf}
        for n in range(1, 14):
            below = {"$ref": f"#/components/schemas/S{n - 1}"}
            schemas[f"S{n}"] = {"anyOf": [fields("a", a=below), fields("b", b=below)]}
        item = {
            "post": {"requestBody": {"content": {JSON: {"schema": {"$ref": "#/components/schemas/S13"}}}}}
        }
        return {
            "openapi": "3.1.0",
            "paths": {f"/{n}": item for n in range(40)},
            "components": {"schemas": schemas},
        }

    with pytest.raises(Refused, match="comparisons"):
        compare(deep(TEXT), deep(SHORT), Budget(500))


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


def test_references_may_be_spelled_with_percent_signs() -> None:
    inline = answers(SHORT)
    there = inline["paths"]["/users/{id}"]["post"]["responses"]["200"]["content"][JSON]
    other = {"$ref": "#/paths/~1users~1%7Bid%7D/post/responses/200/content/application~1json/schema"}
    pointing = inline | {"webhooks": {"w": {"post": {"requestBody": {"content": {JSON: {"schema": other}}}}}}}
    plain = inline | {"webhooks": {"w": {"post": {"requestBody": {"content": {JSON: there}}}}}}
    assert compare(pointing, plain) == compare(plain, pointing) == ()


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
        sends({"$ref": "https://elsewhere.example/a.json"}),
        sends({"$ref": "other.json#/a"}),
        sends({"$ref": "#/components/schemas/Nowhere"}),
        sends(fields(a={"items": {"$ref": "#/components/schemas/Nowhere"}})),
        {"openapi": 3.1, "paths": {}},
        {"swagger": "2.0", "paths": {}},
        {},
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


JUNK: list[Any] = [
    None,
    True,
    -1,
    1.5,
    "",
    "x",
    "#/a",
    [],
    {},
    [1],
    {"a": 1},
    {"$ref": "#/paths"},
    {"$ref": 5},
]
JUNK += [{word: value} for word in ("type", "enum", "required", "properties", "allOf", "oneOf", "items", "minimum",
                                    "pattern", "discriminator", "const", "schema", "content", "responses")
         for value in (5, "(", [1], {"a": [1]}, None)]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*at, key))


def test_whatever_stands_in_a_document_it_is_compared_or_refused() -> None:
    dice = random.Random(7)
    answers = {True: 0, False: 0}
    for _ in range(700):
        old, _, _ = CASES[dice.choice(sorted(CASES))]
        new = copy.deepcopy(old)
        *way, last = dice.choice([at for at in places(new) if at])
        holder = new
        for key in way:
            holder = holder[key]
        junk = copy.deepcopy(dice.choice(JUNK))
        both = isinstance(junk, dict) and isinstance(holder[last], dict)
        holder[last] = {**holder[last], **junk} if both else junk
        try:
            compare(old, new)
            compare(new, old)
            answers[True] += 1
        except Refused:
            answers[False] += 1
    assert min(answers.values()) > 50
