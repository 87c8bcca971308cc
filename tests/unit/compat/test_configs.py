"""Configuration files: carried on with their comments and order, checked with their lines, rendered for old and new."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bumpless.common.compat.config_problems import ConfigInvalid
from bumpless.common.compat.configs import FORMATS, ConfigType, format_of
from bumpless.common.compat.hops import NoPath
from bumpless.common.compat.lenses import read_lens
from bumpless.common.compat.lifecycle import Item, Lifecycle
from bumpless.common.compat.paths import leaves
from bumpless.common.compat.records import RecordType
from bumpless.common.model.compat import ItemKind
from bumpless.common.model.config import ConfigFormat
from bumpless.common.model.finding import Code, Severity
from unit.compat.stating import v

TEXT = {"type": "string"}
NUMBER = {"type": "integer", "minimum": 1}
POLICY = {"enum": ["lru", "fifo"]}


def fields(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


KIND = RecordType(
    "api: app",
    {
        v("1.0.0"): fields(
            ["cache", "owner"], cache=fields(["ttl"], ttl=NUMBER, size=NUMBER), owner=TEXT, group=TEXT
        ),
        v("2.0.0"): fields(
            ["cache", "owner"],
            cache=fields(["ttl_seconds"], ttl_seconds=NUMBER, size=NUMBER, policy=POLICY),
            owner=TEXT,
            group=TEXT,
        ),
        v("3.0.0"): fields(
            ["cache", "ownership"],
            cache=fields(["ttl_seconds"], ttl_seconds=NUMBER, size=NUMBER, policy=POLICY),
            ownership=fields(["user", "group"], user=TEXT, group=TEXT),
        ),
    },
    {
        (v("1.0.0"), v("2.0.0")): read_lens(
            [{"rename": {"cache.ttl": "cache.ttl_seconds"}}, {"default": {"cache.policy": "lru"}}]
        ),
        (v("2.0.0"), v("3.0.0")): read_lens(
            [{"default": {"group": "users"}}, {"nest": {"ownership": {"user": "owner", "group": "group"}}}]
        ),
    },
)
YAML_1 = """\
# The service.

cache:
  # how long
  ttl: 60  # seconds
  size: 3
owner: me  # who
"""
YAML_3 = """\
# The service.

cache:
  # how long
  ttl_seconds: 60  # seconds
  size: 3
  policy: lru  # since 2.0.0
ownership:
  user: me  # who
  group: users  # since 3.0.0
"""
TOML_1 = """\
# The service.

owner = "me" # who

[cache]
# how long
ttl = 60 # seconds
size = 3
"""
TOML_3 = """\
# The service.


[cache]
# how long
ttl_seconds = 60 # seconds
size = 3
policy = "lru"  # since 2.0.0

[ownership]
user = "me" # who
group = "users"  # since 3.0.0
"""
JSON_1 = json.dumps({"cache": {"ttl": 60, "size": 3}, "owner": "me"}, indent=4) + "\n"
JSON_3 = (
    json.dumps(
        {
            "cache": {"ttl_seconds": 60, "size": 3, "policy": "lru"},
            "ownership": {"user": "me", "group": "users"},
        },
        indent=4,
    )
    + "\n"
)
ALL = [("yaml", YAML_1, YAML_3), ("toml", TOML_1, TOML_3), ("json", JSON_1, JSON_3)]


def config(form: str = "yaml", kind: RecordType = KIND) -> ConfigType:
    return ConfigType(f"app.{form}", ConfigFormat(form), kind)


@pytest.mark.parametrize(("form", "old", "new"), ALL)
def test_a_file_is_carried_on_with_its_comments_and_its_order(form: str, old: str, new: str) -> None:
    carried = config(form).migrate(old, v("1.0.0"), v("3.0.0"))
    assert carried.text == new
    assert carried.versions == (v("1.0.0"), v("2.0.0"), v("3.0.0"))
    assert not carried.lossy


@pytest.mark.parametrize(("form", "old", "new"), [ALL[0], ALL[2]])
def test_the_way_back_gives_the_same_bytes(form: str, old: str, new: str) -> None:
    back = config(form).migrate(new, v("3.0.0"), v("1.0.0"), lossy=True)
    assert back.text == old
    assert back.kept == {"group": "users", "cache.policy": "lru"}


def test_the_way_back_that_loses_what_was_added_must_be_allowed() -> None:
    with pytest.raises(NoPath, match="it loses data"):
        config().migrate(YAML_3, v("3.0.0"), v("1.0.0"))


def test_between_two_forms_the_latest_one_holds() -> None:
    carried = config().migrate(YAML_1, v("1.7.2"), v("3.4.0"))
    assert carried.text == YAML_3
    with pytest.raises(ConfigInvalid, match=r"expected a schema for 0\.9\.0, found none before 1\.0\.0"):
        config().form(v("0.9.0"))


def test_both_names_stand_while_an_old_instance_may_read_the_file() -> None:
    second = config().migrate(YAML_1, v("1.0.0"), v("2.0.0")).text
    both = config().both(second, v("2.0.0"))
    assert FORMATS[ConfigFormat.YAML].data(both)["cache"] == {
        "ttl_seconds": 60,
        "size": 3,
        "policy": "lru",
        "ttl": 60,
    }
    assert "ttl: 60  # the name before 2.0.0" in both
    assert [line for line in both.splitlines(keepends=True) if line in second.splitlines(keepends=True)] == (
        second.splitlines(keepends=True)
    )
    warned = config().findings(both, v("2.0.0"))
    assert [(f.code, f.severity) for f in warned] == [(Code.CONFIG_OLD_KEY, Severity.WARN)]
    assert config().read(both, v("2.0.0")) == config().read(second, v("2.0.0"))


def test_the_old_name_goes_when_a_file_with_both_is_carried_on() -> None:
    second = config().migrate(YAML_1, v("1.0.0"), v("2.0.0")).text
    both = config().both(second, v("2.0.0"))
    assert config().migrate(both, v("2.0.0"), v("2.0.0")).text == second


def test_both_names_with_different_values_name_both_lines() -> None:
    both = "cache:\n  ttl_seconds: 60\n  ttl: 61\nowner: me\n"
    for act in (
        lambda: config().read(both, v("2.0.0")),
        lambda: config().migrate(both, v("2.0.0"), v("3.0.0")),
    ):
        with pytest.raises(ConfigInvalid) as caught:
            act()
        assert str(caught.value) == (
            "app.yaml:3: cache.ttl: expected the value of cache.ttl_seconds, its successor on line 2, which is 60, "
            "found 61"
        )


@pytest.mark.parametrize(
    ("text", "line", "key", "expected", "found"),
    [
        (YAML_1.replace("60", "soon"), 5, "cache.ttl", "integer", "'soon'"),
        (YAML_1.replace("60", "0"), 5, "cache.ttl", "at least 1", "0"),
        (YAML_1.replace("size", "sise"), 6, "cache.sise", "one of ttl, size", "sise"),
        ("cache:\n  ttl: 1\n", 1, "owner", "a value", "none"),
        ("owner: me\nowner: you\n", 2, "", "every name once", "owner again, as on line 1"),
        ("owner: [\n", 2, "", "YAML: expected the node content, but found '<stream end>'", "''"),
        ("- 1\n", 1, "", "a mapping", "'- 1'"),
        ("a: &x 1\nb: *x\n", 1, "", "no anchors and aliases", "'a: &x 1'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(
    text: str, line: int, key: str, expected: str, found: str
) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        config().read(text, v("1.0.0"))
    problem = caught.value.problems[0]
    assert (problem.line, problem.key, problem.expected, problem.found) == (line, key, expected, found)
    findings = config().findings(text, v("1.0.0"))
    assert {f.code for f in findings} == {Code.CONFIG_INVALID}
    assert {f.severity for f in findings} == {Severity.BLOCK}


def test_an_old_name_alone_blocks_and_names_its_successor() -> None:
    [finding] = config().findings(YAML_1, v("2.0.0"))
    assert (finding.code, finding.severity) == (Code.CONFIG_OLD_KEY, Severity.BLOCK)
    assert finding.subject == "app.yaml:5: cache.ttl"
    assert "reads cache.ttl_seconds" in finding.evidence


def test_a_deprecated_key_is_told_with_its_successor() -> None:
    item = Item(ItemKind.CONFIG, "cache.size", "api", v("1.0.0"), v("3.0.0"), use="cache.entries")
    [finding] = config().findings(YAML_3, v("3.0.0"), Lifecycle([item]), "api")
    assert (finding.code, finding.severity) == (Code.CONFIG_OLD_KEY, Severity.WARN)
    assert finding.recommendation == "use cache.entries"
    assert config().findings(YAML_1, v("1.0.0"), Lifecycle([item]), "api") == ()


def test_one_name_that_would_need_two_values_is_refused() -> None:
    kind = RecordType(
        "x",
        {v("1"): fields(["ttl"], ttl=TEXT), v("2"): fields(["ttl"], ttl=NUMBER)},
        {(v("1"), v("2")): read_lens([{"cast": {"ttl": ["string", "integer"]}}])},
    )
    with pytest.raises(
        ConfigInvalid, match=r"ttl: expected '60' for 1\.0\.0, found 60, which 2\.0\.0 needs there"
    ):
        config("yaml", kind).both("ttl: 60\n", v("2"))


def test_lines_of_an_env_file_stay() -> None:
    kind = RecordType(
        "x",
        {
            v("1"): fields(["TTL"], TTL=TEXT, NAME=TEXT),
            v("2"): fields(["TTL_S"], TTL_S=TEXT, NAME=TEXT, POLICY=TEXT),
        },
        {(v("1"), v("2")): read_lens([{"rename": {"TTL": "TTL_S"}}, {"default": {"POLICY": "a b"}}])},
    )
    env = config("env", kind)
    old = "# seconds\nTTL=60\n\nNAME='x y'\n"
    new = env.migrate(old, v("1"), v("2")).text
    assert new == "# seconds\nTTL_S=60\n\nNAME='x y'\n# since 2.0.0\nPOLICY='a b'\n"
    assert env.both(new, v("2")) == new + "# the name before 2.0.0\nTTL=60\n"
    assert env.migrate(new, v("2"), v("1"), lossy=True).text == old


def test_sections_of_an_ini_file_are_mappings() -> None:
    kind = RecordType(
        "x",
        {v("1"): fields(["cache"], cache=fields(["ttl"], ttl=TEXT)), v("2"): {"type": "object"}},
        {
            (v("1"), v("2")): read_lens(
                [{"rename": {"cache.ttl": "cache.ttl_s"}}, {"default": {"log": {"level": "info"}}}]
            )
        },
    )
    new = config("ini", kind).migrate("; top\n[cache]\n; s\nttl = 60\n", v("1"), v("2")).text
    assert new == "; top\n[cache]\n; s\nttl_s = 60\n\n[log]\n# since 2.0.0\nlevel = info\n"


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a/b.yml", "yaml"),
        ("x.json", "json"),
        (".env", "env"),
        ("prod.env", "env"),
        ("a.cfg", "ini"),
        ("README", None),
    ],
)
def test_the_name_tells_the_format(name: str, form: str | None) -> None:
    assert format_of(name) == form


NAMES = st.sampled_from(["a", "b", "ccc", "d_1", "on", "null", "1"])
VALUES = st.one_of(
    st.integers(-5, 5),
    st.booleans(),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=("Cc",)), max_size=6),
    st.lists(st.integers(0, 3), max_size=3),
)
TREES = st.dictionaries(
    NAMES, st.one_of(VALUES, st.dictionaries(NAMES, VALUES, min_size=1, max_size=4)), min_size=1, max_size=5
)


@pytest.mark.parametrize("form", ["yaml", "json", "toml"])
@settings(deadline=None, max_examples=60)
@given(data=TREES, extra=VALUES, pick=st.randoms(use_true_random=False))
def test_every_change_does_what_it_says_and_nothing_else(
    form: str, data: dict[str, Any], extra: Any, pick: Any
) -> None:
    document = FORMATS[ConfigFormat(form)]
    text = "{}\n" if form == "json" else ""
    for path, value in leaves(data):
        text = document.put(text, path, value, "a note")
    assert document.data(text) == data
    assert set(document.lines(text)) >= {path for path, _ in leaves(data)}
    chosen = pick.choice([path for path, _ in leaves(data)])
    parent = chosen.rpartition(".")[0]
    fresh = f"{parent}.new" if parent else "new"
    renamed = document.data(document.move(text, chosen, fresh))
    assert dict(leaves(renamed)).keys() == {fresh if p == chosen else p for p, _ in leaves(data)}
    assert document.data(document.move(document.move(text, chosen, fresh), fresh, chosen)) == data
    changed = document.put(text, chosen, extra, "")
    assert dict(leaves(document.data(changed)))[chosen] == extra
    left = dict(leaves(document.data(document.take(text, chosen))))
    assert chosen not in left
    assert left.keys() - {parent} == {p for p, _ in leaves(data)} - {chosen}


@settings(deadline=None, max_examples=25)
@given(ttl=st.integers(1, 10**6), size=st.integers(1, 9), owner=st.text("abcXYZ :#-'", max_size=8))
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_up_and_down_is_where_it_began(form: str, ttl: int, size: int, owner: str) -> None:
    found = config(form)
    document = FORMATS[ConfigFormat(form)]
    text = "{}\n" if form == "json" else "# head\n\n"
    for path, value in {"cache.ttl": ttl, "cache.size": size, "owner": owner}.items():
        text = document.put(text, path, value, "")
    up = found.migrate(text, v("1.0.0"), v("3.0.0"))
    assert found.migrate(up.text, v("3.0.0"), v("1.0.0"), lossy=True).text == text
