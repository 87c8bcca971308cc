"""What the comparison calls compatible is a subtype by `jsonsubschema`, which decides it in another way altogether.

Every object says whether it has further fields, because a writer of our schemas makes only those that it names and the
oracle knows no such rule. Schemas that the oracle gives up on are left out, and so are `oneOf`, `allOf` and lengths beside
enums, which it judges too strictly (it denies that a schema is a subtype of itself twice): these are judged by documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonsubschema import isSubschema

from bumpless.common.compat.openapi import breaking, compare
from bumpless.common.compat.schemas import level_between, misfits
from bumpless.common.model.level import Level

Drawn = st.SearchStrategy[dict[str, Any]]
TEXT = {"type": "string"}
QUICK = settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    phases=[Phase.generate],
)
LEAVES: Drawn = st.one_of(
    st.sampled_from(["string", "integer", "number", "boolean"]).map(lambda kind: {"type": kind}),
    st.just({"type": ["string", "null"]}),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    st.lists(st.sampled_from(["x", "xyz", "abc"]), min_size=1, max_size=3, unique=True).map(
        lambda values: {"type": "string", "enum": values}
    ),
)


def objects(inner: Drawn) -> Drawn:
    return st.builds(
        lambda fields, required, more: (
            {"type": "object", "properties": fields, "additionalProperties": more}
            | ({"required": sorted(required)} if required else {})
        ),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        st.sets(st.sampled_from("abc"), max_size=2),
        st.sampled_from([True, False, TEXT]),
    )


SHORT: Drawn = st.builds(lambda high: {"type": "string", "maxLength": high}, st.integers(1, 3))


def schemas(leaves: Drawn, *more: Callable[[Drawn], Drawn]) -> Drawn:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            objects(inner),
            inner.map(lambda items: {"type": "array", "items": items}),
            st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"anyOf": parts}),
            *(one(inner) for one in more),
        ),
        max_leaves=4,
    )


SCHEMAS = schemas(LEAVES)
ALL = schemas(
    st.one_of(LEAVES, SHORT),
    lambda inner: st.lists(inner, min_size=2, max_size=2).map(lambda parts: {"oneOf": parts}),
    lambda inner: st.lists(objects(inner), min_size=2, max_size=2).map(lambda parts: {"allOf": parts}),
)
SCALARS = st.sampled_from(["x", "xyz", "abc", "", "long one", 0, 1, 2, 5, 1.5, True, None])
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcd"), inner, max_size=4), st.lists(inner, max_size=2)
    ),
    max_leaves=6,
)


def relaxed(schema: dict[str, Any], other: dict[str, Any], how: int, *, both: bool) -> dict[str, Any]:
    """Something that often takes what `schema` takes."""
    match how:
        case 0:
            return {k: v for k, v in schema.items() if k not in ("required", "maxLength", "maximum", "enum")}
        case 1:
            return {"anyOf": [other, schema]}
        case 2 if both:
            return {"allOf": [schema, {k: v for k, v in schema.items() if k != "required"}]}
        case _:
            return schema | ({"additionalProperties": True} if "properties" in schema else {})


def pairs(of: Drawn, *, both: bool = True) -> st.SearchStrategy[tuple[dict[str, Any], dict[str, Any]]]:
    return st.one_of(
        st.tuples(of, of),
        st.builds(lambda s, o, how: (s, relaxed(s, o, how, both=both)), of, of, st.integers(0, 3)),
    )


@QUICK
@given(pairs(SCHEMAS, both=False))
def test_what_is_called_compatible_is_a_subtype(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    written, read = pair
    assume(not misfits(written, read))
    try:
        fits = isSubschema(written, read)
    except Exception:  # noqa: BLE001 it gives up with errors of many kinds, such as on negated objects
        assume(False)
    assert fits


@QUICK
@given(pairs(ALL), st.lists(DOCUMENTS, min_size=4, max_size=20))
def test_no_document_tells_otherwise(
    pair: tuple[dict[str, Any], dict[str, Any]], documents: list[Any]
) -> None:
    written, read = pair
    if not misfits(written, read):
        made, taken = Draft202012Validator(written), Draft202012Validator(read)
        assert [d for d in documents if made.is_valid(d) and not taken.is_valid(d)] == []


def speaking(schema: dict[str, Any], way: str) -> dict[str, Any]:
    """A document in which the server reads it, answers it, or sends it to a client."""
    content = {"content": {"application/json": {"schema": schema}}}
    operation: dict[str, Any] = {"responses": {"200": {}}}
    match way:
        case "answers":
            operation["responses"]["200"] = content
        case _:
            operation["requestBody"] = content
    path = {"a": {"post": operation}}
    return {"openapi": "3.1.0", "webhooks" if way == "calls" else "paths": path}


@QUICK
@given(pairs(ALL))
def test_who_reads_turns_the_comparison_round(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    old, new = pair
    broken = {
        way: [
            bool(breaking(compare(speaking(a, way), speaking(b, way)))) for a, b in ((old, new), (new, old))
        ]
        for way in ("reads", "answers", "calls")
    }
    assert broken["reads"] == broken["answers"][::-1] == broken["calls"][::-1]
    assert compare(speaking(old, "answers"), speaking(old, "answers")) == ()


@QUICK
@given(pairs(ALL))
def test_what_breaks_one_way_widens_the_other(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    old, new = pair
    assert level_between(old, new)[0] is level_between(new, old)[0].reversed
    assert level_between(old, old)[0] is level_between(new, new)[0] is Level.FULL


def test_the_oracle_knows_what_is_no_subtype() -> None:
    assert isSubschema({"type": "integer"}, {"type": "number"})
    assert not isSubschema({"type": "number"}, {"type": "integer"})
