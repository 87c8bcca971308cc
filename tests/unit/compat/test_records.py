"""Records: checked against their schemas, moved by lenses, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bumpless.common.compat.hops import NoPath
from bumpless.common.compat.lenses import Lens, LensError, Pass, read_lens
from bumpless.common.compat.record_findings import record_findings
from bumpless.common.compat.record_probe import lacking
from bumpless.common.compat.records import Fault, RecordInvalid, RecordType
from bumpless.common.model.finding import Code, Severity
from unit.compat.stating import v

TEXT = {"type": "string"}


def fields(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


SCHEMAS = {
    v("1"): fields(["name", "size", "owner"], name=TEXT, size={"type": "integer"}, owner=TEXT),
    v("2"): fields(
        ["name", "file_size", "owner"],
        name=TEXT,
        file_size={"type": "integer"},
        owner=TEXT,
        group=TEXT,
        created_at=TEXT,
        permissions=TEXT,
    ),
    v("3"): fields(
        ["name", "file_size", "ownership"],
        name=TEXT,
        file_size={"type": "integer"},
        ownership=fields(["user", "group"], user=TEXT, group=TEXT),
        created_at=TEXT,
        permissions=TEXT,
        metadata={"type": "object"},
    ),
}
FIRST = read_lens(
    [
        {"rename": {"size": "file_size"}},
        {"default": {"permissions": "rw-r--r--", "created_at": {"supplied": "now"}}},
    ]
)
NESTING = [{"nest": {"ownership": {"user": "owner", "group": "group"}}}, {"default": {"metadata": {}}}]
OLD = {"name": "test.txt", "size": 1024, "owner": "user1"}
NOW = {"now": "2026-01-01T00:00:00Z"}


def files(second: list[dict[str, Any]]) -> RecordType:
    return RecordType("file", SCHEMAS, {(v("1"), v("2")): FIRST, (v("2"), v("3")): read_lens(second)})


WITHOUT_GROUP = files(NESTING)
WITH_GROUP = files([{"default": {"group": "users"}}, *NESTING])


def test_the_fixture_is_refused_with_the_nested_path() -> None:
    with pytest.raises(RecordInvalid) as caught:
        WITHOUT_GROUP.move(OLD, v("1"), v("3"), supplied=NOW)
    assert caught.value.version == v("3")
    assert [f.path for f in caught.value.faults] == ["ownership.group"]


def test_the_fixture_with_a_group_becomes_a_valid_record() -> None:
    moved = WITH_GROUP.move(OLD, v("1"), v("3"), supplied=NOW)
    assert moved.record == {
        "name": "test.txt",
        "file_size": 1024,
        "permissions": "rw-r--r--",
        "created_at": NOW["now"],
        "ownership": {"user": "user1", "group": "users"},
        "metadata": {},
    }
    assert [str(version) for version in moved.versions] == ["1.0.0", "2.0.0", "3.0.0"]
    assert moved.sha256 == WITH_GROUP.move(OLD, v("1"), v("3"), supplied=NOW).sha256
    assert OLD == {"name": "test.txt", "size": 1024, "owner": "user1"}, "the input stays as it was"


def test_what_the_caller_must_supply_is_named() -> None:
    with pytest.raises(RecordInvalid) as caught:
        WITH_GROUP.move(OLD, v("1"), v("3"))
    assert str(caught.value).endswith(" 2.0.0: created_at: expected a value supplied as now, found none")


def test_the_way_down_loses_data_only_if_allowed_and_gives_it_back() -> None:
    new = WITH_GROUP.move(OLD, v("1"), v("3"), supplied=NOW).record | {"metadata": {"colour": "red"}}
    with pytest.raises(NoPath, match="it loses data, which was not allowed"):
        WITH_GROUP.move(new, v("3"), v("1"))
    down = WITH_GROUP.move(new, v("3"), v("1"), lossy=True)
    assert (down.record, down.lossy) == (OLD, True)
    assert down.kept["metadata"] == {"colour": "red"}
    assert WITH_GROUP.move(down.record, v("1"), v("3"), kept=down.kept).record == new


@pytest.mark.parametrize(
    ("record", "path", "text"),
    [
        ({}, "name", "expected a value"),
        (OLD | {"size": "big"}, "size", "not of type 'integer'"),
        (OLD | {"colour": "red"}, "colour", "expected no such field"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_before_it_is_moved(
    record: dict[str, Any], path: str, text: str
) -> None:
    with pytest.raises(RecordInvalid) as caught:
        WITH_GROUP.move(record, v("1"), v("2"), supplied=NOW)
    assert any(f.path == path and text in f.text for f in caught.value.faults)


def test_all_faults_are_named_at_once() -> None:
    assert [f.path for f in WITH_GROUP.faults(v("1"), {"size": 1.5})] == ["name", "owner", "size"]


def test_an_unknown_version_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RecordInvalid, match=r"expected one of the versions 1\.0\.0, 2\.0\.0, 3\.0\.0"):
        WITH_GROUP.move(OLD, v("7"), v("3"))


def test_a_schema_that_is_none_is_named() -> None:
    broken = RecordType("file", {v("1"): {"type": "strange"}}, {(v("1"), v("2")): FIRST})
    found = broken.schema_faults()
    assert any("the schema of file 1.0.0 is none" in text for text in found)
    assert any("2.0.0 has no schema" in text for text in found)
    assert WITH_GROUP.schema_faults() == ()


def there(lens: Lens, record: dict[str, Any], **supplied: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    run = Pass(supplied)
    return lens.forward(record, run), run.kept


@pytest.mark.parametrize(
    ("written", "before", "after"),
    [
        ({"rename": {"a.b": "c"}}, {"a": {"b": 1}}, {"a": {}, "c": 1}),
        ({"default": {"a": 1}}, {"a": 2}, {"a": 2}),
        ({"drop": ["a"]}, {"a": 1, "b": 2}, {"b": 2}),
        ({"drop": "a"}, {"a": 1}, {}),
        ({"nest": {"o": {"x": "a"}}}, {"a": 1}, {"o": {"x": 1}}),
        ({"unnest": {"o": {"x": "a"}}}, {"o": {"x": 1}}, {"a": 1}),
        ({"cast": {"a": ["string", "integer"]}}, {"a": "7"}, {"a": 7}),
        ({"map": {"a": {"red": 1, "green": 2}}}, {"a": "red"}, {"a": 1}),
    ],
)
def test_operations(written: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    moved, _ = there(read_lens([written]), before)
    assert moved == after


@pytest.mark.parametrize(
    ("written", "record", "message"),
    [
        ({"rename": {"a": "b"}}, {"a": 1, "b": 2}, "expected nothing here, to put a there"),
        ({"cast": {"a": ["string", "integer"]}}, {"a": "x"}, "can be a integer without loss"),
        ({"cast": {"a": ["number", "integer"]}}, {"a": 1.5}, "without loss"),
        ({"cast": {"a": ["string", "boolean"]}}, {"a": "no"}, "without loss"),
        ({"map": {"a": {"red": 1}}}, {"a": "blue"}, "expected one of red"),
        ({"py": "m:f"}, {}, "expected no Python function here"),
    ],
)
def test_what_cannot_be_moved_is_refused_with_its_place(
    written: dict[str, Any], record: dict[str, Any], message: str
) -> None:
    with pytest.raises(LensError, match=message):
        read_lens([written]).forward(record, Pass())


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"rename": "a"},
        {"nest": {"a": {}, "b": {}}},
        {"cast": {"a": "integer"}},
        {"twist": {}},
        {"drop": 1},
        {"rename": {"a": "b"}, "default": {}},
        {"rename": {"a": "b"}, "back": "x"},
    ],
)
def test_what_is_no_lens_is_said_so(written: dict[str, Any]) -> None:
    with pytest.raises(LensError, match="expected"):
        read_lens([written])


def test_a_python_function_has_a_way_back_only_if_it_names_one() -> None:
    def double(record: dict[str, Any]) -> dict[str, Any]:
        return {"a": record["a"] * 2}

    def halve(record: dict[str, Any]) -> dict[str, Any]:
        return {"a": record["a"] // 2}

    known = {"m:double": double, "m:halve": halve}
    run = Pass(resolve=known.__getitem__)
    both = read_lens([{"py": "m:double", "back": "m:halve"}])
    assert both.back(both.forward({"a": 3}, run), run) == {"a": 3}
    one = read_lens([{"py": "m:double"}])
    assert not one.invertible
    with pytest.raises(LensError, match="expected a way back of m:double"):
        one.back({"a": 6}, run)
    with pytest.raises(LensError, match="m:double failed: KeyError"):
        one.forward({}, run)


NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.one_of(st.integers(-5, 5), st.text("xy", max_size=3), st.none(), st.booleans())
OPERATIONS = st.one_of(
    st.tuples(NAMES, NAMES).filter(lambda n: n[0] != n[1]).map(lambda n: {"rename": {n[0]: f"new_{n[1]}"}}),
    st.tuples(NAMES, VALUES).map(lambda n: {"default": {n[0]: n[1]}}),
    NAMES.map(lambda n: {"drop": [n]}),
    NAMES.map(lambda n: {"nest": {"o": {"inner": n}}}),
)


@given(
    st.dictionaries(NAMES, VALUES, max_size=3),
    OPERATIONS,
)
def test_there_and_back_is_where_it_began_and_there_again_the_same(
    record: dict[str, Any], written: dict[str, Any]
) -> None:
    lens = read_lens([written])
    run = Pass()
    moved = lens.forward(record, run)
    back = lens.back(moved, run)
    if "default" not in written:  # its way back takes out what the old version does not have
        assert back == record
    assert lens.forward(back, run) == moved


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["a", "b", "c"]).map(lambda n: {"rename": {n: f"new_{n}"}}),
        st.sampled_from(["a", "b", "c"]).map(lambda n: {"nest": {f"o_{n}.p": {"inner": n}}}),
        st.sampled_from(["a", "b", "c"]).map(lambda n: {"cast": {n: ["integer", "string"]}}),
        st.just({"map": {"m": {"red": "r", "green": "g"}}}),
        st.just({"unnest": {"u": {"x": "u_x"}}}),
        st.just({"drop": ["d"]}),
        st.just({"py": "m:up", "back": "m:down"}),
        st.just({"py": "m:up"}),
    ),
    max_size=6,
    unique_by=str,
)
RECORDS = st.fixed_dictionaries(
    {"n": st.integers()},
    optional={
        "a": st.integers(),
        "b": st.integers(),
        "c": st.integers(),
        "d": st.text(),
        "m": st.sampled_from(["red", "green"]),
        "u": st.fixed_dictionaries({"x": st.integers()}),
    },
)
FUNCTIONS = {"m:up": lambda r: r | {"n": r["n"] + 1}, "m:down": lambda r: r | {"n": r["n"] - 1}}


@settings(deadline=None)
@given(RECORDS, STEPS)
def test_a_lens_inverts_where_it_claims_to(record: dict[str, Any], written: list[dict[str, Any]]) -> None:
    lens = read_lens(written)
    try:
        moved = lens.forward(record, Pass(resolve=FUNCTIONS.__getitem__))
    except LensError:
        return  # two operations that want the same value in two forms
    if not lens.invertible:
        with pytest.raises(LensError, match="expected a way back"):
            lens.back(moved, Pass(resolve=FUNCTIONS.__getitem__))
        return
    back = lens.back(moved, Pass(resolve=FUNCTIONS.__getitem__))
    assert back == {name: value for name, value in record.items() if name != "d" or not lens.lossy}


def test_what_was_added_to_a_nested_object_is_not_lost_on_the_way_back() -> None:
    lens = read_lens([{"nest": {"o": {"x": "a"}}}])
    assert lens.back({"o": {"x": 1, "y": 2}}, Pass()) == {"a": 1, "o": {"y": 2}}
    assert lens.back({"o": {"x": 1}}, Pass()) == {"a": 1}


def test_the_digest_is_that_of_the_content() -> None:
    one = WITH_GROUP.move(OLD, v("1"), v("3"), supplied=NOW)
    other = WITH_GROUP.move(dict(reversed(OLD.items())), v("1"), v("3"), supplied=NOW)
    assert one.sha256 == other.sha256
    assert one.sha256 != WITH_GROUP.move(OLD | {"size": 1025}, v("1"), v("3"), supplied=NOW).sha256


@pytest.mark.parametrize(
    ("second", "way_back", "found"),
    [
        ([{"rename": {"owner": "o"}}], True, []),
        ([{"drop": ["owner"]}], False, [(Code.RECORD_LOSSY, Severity.WARN)]),
        ([{"default": {"x": 1}}], False, []),
        ([{"default": {"x": 1}}], True, [(Code.ROLLBACK_LOSSY, Severity.WARN)]),
        ([{"py": "m:f"}], False, []),
        ([{"py": "m:f"}], True, [(Code.ROLLBACK_LOSSY, Severity.BLOCK)]),
    ],
)
def test_findings_about_a_way(
    second: list[dict[str, Any]], way_back: bool, found: list[tuple[Code, Severity]]
) -> None:
    findings = record_findings(files(second), v("2"), v("3"), way_back=way_back)
    costs = [f for f in findings if f.code is not Code.RECORD_MISFIT]
    assert [(f.code, f.severity) for f in costs] == found


def test_what_a_later_version_requires_and_nothing_gives_is_found_before_any_record_is_moved() -> None:
    nested = [{"nest": {"ownership": {"user": "owner", "group": "group"}}}]
    [finding] = record_findings(files(nested), v("1"), v("3"), way_back=False)
    assert (finding.code, finding.severity, finding.waivable) == (Code.RECORD_MISFIT, Severity.BLOCK, True)
    assert "refused at 3.0.0: ownership.group: expected a value, found none" in finding.evidence
    assert (
        record_findings(files([{"default": {"group": "users"}}, *nested]), v("1"), v("3"), way_back=False)
        == ()
    )
    assert record_findings(files([{"py": "m:f"}]), v("1"), v("3"), way_back=False) == ()


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"type": "string", "pattern": "^[0-9]{4}$"}},
        },
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"type": "integer"}},
        },
        {"type": "array"},
    ],
)
def test_where_no_record_can_be_made_up_nothing_is_said(schema: dict[str, Any]) -> None:
    after = {"type": "object", "required": ["b"]}
    kind = RecordType("a", {v("1"): schema, v("2"): after}, {(v("1"), v("2")): read_lens([])})
    assert lacking(kind, v("1"), v("2")) is None


@pytest.mark.parametrize(
    ("ref", "lost"),
    [
        ("#/$defs/a~1b", False),
        ("#/$defs/none", True),
        ("#/allOf/0", False),
        ("#/allOf/7", True),
        ("#", False),
        ("#name", False),
        ("other.json#/a", True),
        ("https://json-schema.org/draft/2020-12/schema", False),
    ],
)
def test_references_that_lead_nowhere_are_faults_of_the_schema(ref: str, lost: bool) -> None:
    schema = {"allOf": [{"type": "object"}], "$defs": {"a/b": {}}, "properties": {"x": {"$ref": ref}}}
    faults = RecordType("file", {v("1"): schema}, {}).schema_faults()
    assert faults == ((f"the schema of file 1.0.0 has nothing at {ref}",) if lost else ())


def test_the_least_record_has_values_of_every_type() -> None:
    properties = {
        "s": {"type": "string", "minLength": 3},
        "i": {"type": "integer", "exclusiveMinimum": 4},
        "n": {"type": ["number", "null"], "minimum": 0.5},
        "b": {"type": "boolean"},
        "e": {"enum": ["x", "y"]},
        "c": {"const": 7},
        "l": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["x"]}},
        "o": {"properties": {"x": {"type": "integer"}}, "required": ["x"]},
        "z": {"type": "null"},
    }
    before = {"type": "object", "properties": properties, "required": sorted(properties)}
    after = {**before, "required": [*sorted(properties), "more"]}
    kind = RecordType("a", {v("1"): before, v("2"): after}, {(v("1"), v("2")): read_lens([])})
    assert lacking(kind, v("1"), v("2")) == (v("2"), (Fault("more", "expected a value, found none"),))


def test_no_way_is_a_finding_that_names_the_missing_lens() -> None:
    kind = RecordType("file", SCHEMAS, {(v("1"), v("2")): FIRST})
    [finding] = record_findings(kind, v("1"), v("3"), way_back=True)
    assert (finding.code, finding.severity) == (Code.RECORD_PATH_NONE, Severity.BLOCK)
    assert "missing is the hop 2.0.0 > 3.0.0" in finding.evidence
