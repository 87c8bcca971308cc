"""Schemas compared with a direction: what breaks readers of old documents, what breaks old readers of new ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bumpless.common.compat.schemas import level_between, misfits
from bumpless.common.model.level import Level

TEXT = {"type": "string"}
NUMBER = {"type": "number"}


def fields(required: str = "", closed: bool = False, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required.split()}
    return schema | ({"additionalProperties": False} if closed else {})


@pytest.mark.parametrize(
    ("old", "new", "level"),
    [
        (fields(a=TEXT), fields(a=TEXT), "full"),
        (fields(a=TEXT), fields(a=TEXT, b=TEXT), "full"),
        (fields(a=TEXT, closed=True), fields(a=TEXT, b=TEXT, closed=True), "backward"),
        (fields(a=TEXT), fields("b", a=TEXT, b=TEXT), "forward"),
        (fields(a=TEXT), fields(a=TEXT, closed=True), "full"),
        (fields() | {"additionalProperties": NUMBER}, fields(a=TEXT), "none"),
        (fields() | {"additionalProperties": NUMBER}, fields(closed=True), "forward"),
        ({}, fields(a=TEXT), "forward"),
        (fields("a", a=TEXT), fields(a=TEXT), "backward"),
        (fields("a", a=TEXT), fields("a", a=NUMBER), "none"),
        (fields(a={"type": "integer"}), fields(a=NUMBER), "backward"),
        (fields(a={"enum": ["x", "y"]}), fields(a={"enum": ["x", "y", "z"]}), "backward"),
        (fields(a={"enum": ["x", "y"]}), fields(a=TEXT), "backward"),
        (fields(a={"const": "x"}), fields(a={"enum": ["x"]}), "full"),
        (TEXT | {"maxLength": 9}, TEXT | {"maxLength": 5}, "forward"),
        (TEXT, TEXT | {"maxLength": 5}, "forward"),
        ({"enum": ["abc"]}, TEXT | {"maxLength": 5}, "backward"),
        (NUMBER | {"minimum": 0}, NUMBER | {"minimum": 1}, "forward"),
        (TEXT | {"pattern": "^a"}, TEXT | {"pattern": "^b"}, "none"),
        ({"type": "array", "items": TEXT}, {"type": "array", "items": NUMBER}, "none"),
        (TEXT, {"type": ["string", "null"]}, "backward"),
        ({"anyOf": [TEXT, NUMBER]}, TEXT, "forward"),
        ({"anyOf": [TEXT, NUMBER]}, {"oneOf": [NUMBER, TEXT]}, "full"),
        ({"allOf": [fields("a", a=TEXT), fields("b", b=TEXT)]}, fields("a b", a=TEXT, b=TEXT), "full"),
        (True, TEXT, "forward"),
        (TEXT | {"title": "old"}, TEXT | {"description": "new"}, "full"),
    ],
)
def test_levels(old: Any, new: Any, level: str) -> None:
    assert level_between(old, new)[0] is Level(level)
    assert level_between(new, old)[0] is Level(level).reversed


def test_a_misfit_says_where_and_why() -> None:
    old = fields(user=fields("name", name=TEXT), tags={"type": "array", "items": TEXT})
    new = fields(user=fields("name mail", name=TEXT, mail=TEXT), tags={"type": "array", "items": NUMBER})
    assert [str(m) for m in misfits(old, new)] == [
        "tags[]: the reader takes integer or number, not string",
        "user.mail: required by the reader, and the writer does not know it",
    ]


def test_a_reference_is_followed_also_to_itself() -> None:
    def tree(leaf: dict[str, Any]) -> dict[str, Any]:
        node = fields("value", value=leaf, left={"$ref": "#/$defs/node"})
        return {"$ref": "#/$defs/node", "$defs": {"node": node}}

    assert misfits(tree(TEXT), tree(TEXT)) == ()
    assert [m.path for m in misfits(tree(TEXT), tree(NUMBER))] == ["left.value", "value"]


@pytest.mark.parametrize(
    "schema", [{"if": TEXT, "then": TEXT}, {"$ref": "other.json"}, {"$ref": "#/nowhere"}, {"not": TEXT}]
)
def test_what_is_not_understood_is_never_called_compatible(schema: dict[str, Any]) -> None:
    assert any("not understood" in m.text for m in misfits(TEXT, schema))


LEAVES = st.one_of(
    st.just({"type": "string"}),
    st.just({"type": "integer"}),
    st.just({"type": "number"}),
    st.just({"type": ["string", "null"]}),
    st.builds(lambda low: {"type": "integer", "minimum": low}, st.integers(0, 3)),
    st.builds(lambda high: {"type": "string", "maxLength": high}, st.integers(1, 3)),
    st.lists(st.sampled_from(["x", "xyz", 1, 2, True, None]), min_size=1, max_size=3).map(
        lambda v: {"enum": v}
    ),
    st.just({"const": "x"}),
    st.just({}),
)


def objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda properties, required, more: (
            {
                "type": "object",
                "properties": properties,
                "required": sorted(required),
            }
            | ({} if more is None else {"additionalProperties": more})
        ),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        st.sets(st.sampled_from("abc"), max_size=2),
        st.sampled_from([None, False, {"type": "string"}]),
    )


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        objects(inner),
        inner.map(lambda items: {"type": "array", "items": items}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"anyOf": parts}),
    ),
    max_leaves=5,
)
SCALARS = st.sampled_from(["x", "xyz", "", 0, 1, 2, 5, 1.5, True, None])
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcd"), inner, max_size=4), st.lists(inner, max_size=2)
    ),
    max_leaves=6,
)


def only_what_is_named(schema: Any) -> Any:
    """What a writer makes by `schema`: no field that it does not speak of."""
    if isinstance(schema, list):
        return [only_what_is_named(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        name: {k: only_what_is_named(v) for k, v in value.items()}
        if name == "properties"
        else value
        if name in ("enum", "const")
        else only_what_is_named(value)
        for name, value in schema.items()
    }
    return {"additionalProperties": False, **made} if schema.get("type") == "object" else made


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(SCHEMAS, SCHEMAS, st.lists(DOCUMENTS, min_size=1, max_size=8))
def test_what_is_called_compatible_is(
    written: dict[str, Any], read: dict[str, Any], documents: list[Any]
) -> None:
    """Judged by another implementation: no document that the writer may make is refused by the reader."""
    if misfits(written, read):
        return
    made, taken = Draft202012Validator(only_what_is_named(written)), Draft202012Validator(read)
    assert [d for d in documents if made.is_valid(d) and not taken.is_valid(d)] == []


@given(SCHEMAS)
def test_every_schema_fits_itself(schema: dict[str, Any]) -> None:
    assert misfits(schema, schema) == ()
