"""What the comparison calls compatible is a subtype by `jsonsubschema`, which decides it in another way altogether.

Every object says whether it has further fields, because a writer of our schemas makes only those that it names and the
oracle knows no such rule. Schemas that the oracle gives up on are left out.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from jsonsubschema import isSubschema

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
    st.builds(lambda high: {"type": "string", "maxLength": high}, st.integers(1, 3)),
    st.lists(st.sampled_from(["x", "xyz", "abc"]), min_size=1, max_size=3, unique=True).map(
        lambda values: {"type": "string", "enum": values}
    ),
)


def objects(inner: Drawn, names: str = "abc", more: tuple[Any, ...] = (True, False, TEXT)) -> Drawn:
    return st.builds(
        lambda fields, required, more: (
            {"type": "object", "properties": fields, "additionalProperties": more}
            | ({"required": sorted(required)} if required else {})
        ),
        st.dictionaries(st.sampled_from(names), inner, max_size=3),
        st.sets(st.sampled_from(names), max_size=2),
        st.sampled_from(more),
    )


def _both(parts: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """Where both name a field they say the same: of one that can have no value the oracle does not notice it."""
    one, other = parts
    shared = {k: one["properties"][k] for k in one["properties"].keys() & other["properties"].keys()}
    return {"allOf": [one, other | {"properties": other["properties"] | shared}]}


SCHEMAS: Drawn = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        objects(inner),
        inner.map(lambda items: {"type": "array", "items": items}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"anyOf": parts}),
        st.lists(inner, min_size=2, max_size=2).map(lambda parts: {"oneOf": parts}),
        st.tuples(objects(inner, "ab", (True, False)), objects(inner, "bc", (True, False))).map(_both),
    ),
    max_leaves=4,
)


def relaxed(schema: dict[str, Any], other: dict[str, Any], how: int) -> dict[str, Any]:
    """Something that often takes what `schema` takes."""
    match how:
        case 0:
            return {k: v for k, v in schema.items() if k not in ("required", "maxLength", "maximum", "enum")}
        case 1:
            return {"anyOf": [other, schema]}
        case 2:
            return {"allOf": [schema, {k: v for k, v in schema.items() if k != "required"}]}
        case _:
            return schema | ({"additionalProperties": True} if "properties" in schema else {})


PAIRS = st.one_of(
    st.tuples(SCHEMAS, SCHEMAS),
    st.builds(lambda s, o, how: (s, relaxed(s, o, how)), SCHEMAS, SCHEMAS, st.integers(0, 3)),
)


@QUICK
@given(PAIRS)
def test_what_is_called_compatible_is_a_subtype(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    written, read = pair
    assume(not misfits(written, read))
    try:
        fits = isSubschema(written, read)
    except Exception:  # noqa: BLE001 it gives up with errors of many kinds, such as on negated objects
        assume(False)
    assert fits


@QUICK
@given(PAIRS)
def test_what_breaks_one_way_widens_the_other(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    old, new = pair
    assert level_between(old, new)[0] is level_between(new, old)[0].reversed
    assert level_between(old, old)[0] is level_between(new, new)[0] is Level.FULL


def test_the_oracle_knows_what_is_no_subtype() -> None:
    assert isSubschema({"type": "integer"}, {"type": "number"})
    assert not isSubschema({"type": "number"}, {"type": "integer"})
