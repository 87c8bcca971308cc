"""What fits together, asked on the command line: the fixtures with answers worked out by hand, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bumpless.cli.commands import run
from bumpless.common.errors import Refused
from bumpless.common.release_file import ReleaseInvalid, parse_release_file

HERE = Path(__file__).parents[2] / "fixtures" / "compat"
A, B, FILES, RECORD = (
    str(HERE / name) for name in ("matrix-a.yaml", "matrix-b.yaml", "files.yaml", "record.json")
)
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Exit code, and what was printed: JSON read back, or the text."""

    def asked(*words: str, text: bool = False) -> tuple[int, Any]:
        code = run(list(words) if text else ["-o", "json", *words])
        out = capsys.readouterr().out
        return code, out if text else json.loads(out)

    return asked


def test_the_way_over_the_intermediate_versions(ask: Ask) -> None:
    words = ("compat", "path", A, "--from", "metadata-service=1.0.0")
    code, found = ask(*words)
    assert code == 0
    assert [move["to"] for move in found["path"]] == ["1.1.0", "2.0.0", "2.1.0", "3.0.0"]
    assert found["levels"] == {"metadata-service": "backward"}
    assert {move["evidence"] for move in found["path"]} == {"stated in the release file"}
    code, text = ask(*words, text=True)
    assert code == 0
    assert "readers first" in text


def test_no_path_names_the_missing_hop_and_what_can_be_reached(ask: Ask) -> None:
    fleet = ("metadata-service=1.0.0", "data-service=1.1.0", "client-sdk=1.0.0")
    words = ["compat", "path", B, *(w for each in fleet for w in ("--from", each))]
    code, found = ask(*words, "--to", "metadata-service=2.0.0")
    assert code == 1
    assert found["path"] is None
    assert found["gaps"]["metadata-service"]["reachable"] == ["1.1.0", "1.2.0"]
    assert found["gaps"]["metadata-service"]["missing"] == ["1.2.0", "2.0.0"]
    code, text = ask(*words, "--to", "metadata-service=2.0.0", text=True)
    assert code == 1
    assert "missing is the hop 1.2.0 > 2.0.0" in text


def test_a_level_with_its_direction_and_evidence(ask: Ask) -> None:
    _, there = ask("compat", "level", A, "metadata-service", "1.1.0", "v2")
    assert (there["level"], there["backward"], there["forward"]) == ("backward", True, False)
    _, back = ask("compat", "level", A, "metadata-service", "2.0", "1.1")
    assert (back["level"], back["order"]) == ("forward", "writers first")
    _, unknown = ask("compat", "level", A, "metadata-service", "1.0.0", "3.0.0")
    assert (unknown["level"], unknown["evidence"]) == ("none", "nothing is stated about this pair")


def test_the_report_of_an_interface(ask: Ask) -> None:
    code, found = ask("compat", "report", FILES, "files", "1.0.0", "3.0.0")
    assert code == 0
    assert {(c["change"], c["id"]): c["advice"] for c in found["changes"]} == {
        ("added", "POST /api/v2/files/upload"): "nothing has to be done",
        ("deprecated", "POST /api/v1/files"): "use POST /api/v2/files/upload",
        ("removed", "DELETE /api/v1/files/{id}"): "stop using it; there is no successor",
    }
    (finding,) = found["findings"]
    assert (finding["code"], finding["severity"]) == ("API_NO_DEPRECATION", "warn")
    code, text = ask("compat", "report", FILES, "files", "1.0.0", "3.0.0", text=True)
    assert "deprecated endpoint POST /api/v1/files: use POST /api/v2/files/upload" in text


def test_two_schemas_with_what_breaks_in_each_direction(ask: Ask, tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}))
    new.write_text(json.dumps({"type": "object", "properties": {"a": {"type": "string"}}}))
    code, found = ask("compat", "schema", str(old), str(new))
    assert (code, found["level"], found["new_reads_old"]) == (0, "backward", [])
    assert [m["path"] for m in found["old_reads_new"]] == ["a"]
    code, text = ask("compat", "schema", str(new), str(old), text=True)
    assert (code, text.splitlines()[0]) == (0, "forward: writers first")
    new.write_text(json.dumps({"type": "array"}))
    assert ask("compat", "schema", str(old), str(new))[0] == 1


def test_two_openapi_documents(ask: Ask, tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    operation = {"responses": {"200": {"description": "good"}}}
    old.write_text(json.dumps({"openapi": "3.1.0", "paths": {"/a": {"get": operation}}}))
    new.write_text(json.dumps({"openapi": "3.1.0", "paths": {"/a": {"get": operation, "put": operation}}}))
    code, found = ask("compat", "openapi", str(old), str(new))
    assert (code, found["level"]) == (0, "backward")
    assert [(c["weight"], c["where"]) for c in found["changes"]] == [("info", "PUT /a")]
    code, text = ask("compat", "openapi", str(new), str(old), text=True)
    assert (code, "breaking PUT /a: removed without having been deprecated" in text) == (1, True)


def test_calls_seen_block_a_removal(ask: Ask, tmp_path: Path) -> None:
    usage = tmp_path / "usage.json"
    usage.write_text(json.dumps({"DELETE /api/v1/files/{id}": 3}))
    code, found = ask("compat", "report", FILES, "files", "2.0.0", "3.0.0", "--usage", str(usage))
    assert code == 1
    assert "API_REMOVED_IN_USE" in {f["code"] for f in found["findings"]}


def test_a_record_without_a_group_is_refused_with_the_nested_path(ask: Ask) -> None:
    words = ("record", "migrate", FILES, "file", "1", "3", RECORD, "--supply", "now=2026-01-01")
    code, found = ask(*words)
    assert code == 1
    assert found["record"] is None
    assert [fault["path"] for fault in found["faults"]] == ["ownership.group"]
    code, text = ask(*words, text=True)
    assert (code, text) == (1, "refused at file 3.0.0\n  ownership.group: expected a value, found none\n")


def test_a_record_with_a_group_becomes_a_valid_one_and_goes_back(ask: Ask, tmp_path: Path) -> None:
    words = ("record", "migrate", FILES, "file-with-group")
    code, found = ask(*words, "1", "3", RECORD, "--supply", "now=2026-01-01")
    assert code == 0
    assert found["record"]["ownership"] == {"user": "user1", "group": "users"}
    assert found["versions"] == ["1.0.0", "2.0.0", "3.0.0"]
    assert len(found["sha256"]) == 64
    new = tmp_path / "new.json"
    new.write_text(json.dumps(found["record"]))
    assert ask("record", "check", FILES, "file-with-group", "3", str(new)) == (
        0,
        {"fits": True, "faults": []},
    )
    code, refused = ask(*words, "3", "1", str(new))
    assert code == 1
    assert "it loses data, which was not allowed" in refused["reason"]
    code, back = ask(*words, "3", "1", str(new), "--lossy")
    assert code == 0
    assert back["record"] == json.loads(Path(RECORD).read_text())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("compat", "level", A, "metadata-service", "one", "2"), "expected a version such as"),
        (("compat", "path", A, "--from", "metadata-service"), "expected COMPONENT=VERSION"),
        (("compat", "path", A, "--from", "a=1", "--to", "b=2"), "none for b"),
        (
            ("record", "check", FILES, "photo", "1", RECORD),
            "expected a record type of .*file, file-with-group",
        ),
        (("record", "check", FILES, "file", "9", RECORD), "expected a version of file"),
        (("record", "check", FILES, "file", "1", "/nowhere"), "expected a file with JSON"),
    ],
)
def test_what_is_wrong_is_said(words: tuple[str, ...], expected: str) -> None:
    with pytest.raises(Refused, match=expected):
        run(list(words))


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("compat: {levels: {api: {'1.0>2.0': some}}}", "4: compat.levels.api.1.0>2.0"),
        ("compat: {levels: {api: {'1.0-2.0': full}}}", "expected two versions such as '2.0.0>2.1.0'"),
        (
            "compat: {pairs: [{client: a, provider: b, accepts: '>>1'}]}",
            "expected a range such as|expected a version",
        ),
        ("lifecycle: {items: [{kind: endpoint, id: x, of: a, in: first}]}", "expected a version such as"),
        ("lifecycle: {items: [{kind: door, id: x, of: a, in: 1}]}", "4: lifecycle.items.0.kind"),
        ("records: {file: {schemas: {}}}", "records.file.schemas"),
    ],
)
def test_a_release_file_says_which_line_is_wrong(section: str, expected: str) -> None:
    text = f"product: p\nversion: v2\ncomponents: {{a: {{}}}}\n{section}\n"
    with pytest.raises(ReleaseInvalid, match=expected):
        parse_release_file(text, "release.yaml")


def test_the_minimal_release_file_loads_unchanged() -> None:
    text = """
components:
  - {name: database, version: v2}
  - {name: cache, version: v2, depends_on: [database]}
  - {name: api, version: v2, depends_on: [cache]}
  - {name: gateway, version: v2, depends_on: [api]}
strategy: rolling
rollback_policy: auto
"""
    found = parse_release_file(text, "release.yaml")
    assert [(c.name, c.version, c.depends_on) for c in found.components] == [
        ("database", "v2", ()),
        ("cache", "v2", ("database",)),
        ("api", "v2", ("cache",)),
        ("gateway", "v2", ("api",)),
    ]


def test_the_way_of_a_record_and_what_it_costs(ask: Ask) -> None:
    code, found = ask("record", "path", FILES, "file-with-group", "1", "3")
    assert (code, found["path"]) == (0, ["1.0.0 > 2.0.0", "2.0.0 > 3.0.0"])
    assert {f["code"] for f in found["findings"]} == {"ROLLBACK_LOSSY"}
    assert ask("record", "path", FILES, "file-with-group", "1", "3", "--no-way-back")[1]["findings"] == []
    code, text = ask("record", "path", FILES, "file", "1", "3", "--no-way-back", text=True)
    assert code == 1
    assert "block RECORD_MISFIT file 1.0.0 > 3.0.0: a record with only what 1.0.0 requires is refused" in text
    assert "at 3.0.0: ownership.group: expected a value, found none" in text
    code, text = ask("record", "path", FILES, "file", "1", "9", text=True)
    assert code == 1
    assert "block RECORD_PATH_NONE file 1.0.0 > 9.0.0: no path" in text
