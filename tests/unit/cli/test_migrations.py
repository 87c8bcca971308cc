"""SQL scripts of a release, shown to the real linter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bumpless.cli import migrating
from bumpless.cli.commands import run
from bumpless.cli.migrating import signed_migrations
from bumpless.common.errors import Refused
from bumpless.common.model.release import ComponentFile
from bumpless.common.release_file import ReleaseInvalid, parse_release_file

UNSAFE = """\
ALTER TABLE files DROP COLUMN size;
CREATE INDEX files_owner ON files (owner);
ALTER TABLE files RENAME COLUMN owner TO holder;
"""
SAFE = """\
SET lock_timeout = '2s';
SET statement_timeout = '5s';
CREATE INDEX CONCURRENTLY IF NOT EXISTS files_owner ON files (owner);
"""


def component(*paths: str) -> ComponentFile:
    migrations = [{"id": f"m{number}", "sql": path} for number, path in enumerate(paths, start=1)]
    return ComponentFile.model_validate({"name": "db", "version": "2.0.0", "migrations": migrations})


def test_what_is_unsafe_is_found_with_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.sql").write_text(UNSAFE)
    (tmp_path / ".squawk.toml").write_text('excluded_rules = ["ban-drop-column"]\n')
    monkeypatch.chdir(tmp_path)  # what lies around here has no say
    (found,) = signed_migrations(tmp_path, component("1.sql"))
    lines = {problem.rule: problem.lines for problem in found.found}
    assert (lines["ban-drop-column"], lines["renaming-column"]) == ((1,), (3,))
    assert lines["require-concurrent-index-creation"] == (2,)
    assert lines["require-lock-timeout"] == (1,)
    assert found.linter.startswith("squawk ")
    assert found.digest.startswith("sha256:")


def test_what_is_safe_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "1.sql").write_text(SAFE)
    (found,) = signed_migrations(tmp_path, component("1.sql"))
    assert found.found == ()
    assert signed_migrations(tmp_path, component()) == ()


def test_lint_tells_what_preflight_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "1.sql").write_text(UNSAFE)
    file = tmp_path / "release.yaml"
    migrations = [{"id": "m1", "sql": "1.sql"}]
    file.write_text(json.dumps({"version": "2.0.0", "components": {"db": {"migrations": migrations}}}))
    assert run(["-o", "json", "release", "lint", str(file)]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"db: 1.sql: ban-drop-column", "db: 1.sql: renaming-column"} <= {f["subject"] for f in findings}
    assert {f["code"] for f in findings} == {"SQL_UNSAFE"}
    (tmp_path / "1.sql").write_text(SAFE)
    assert run(["release", "lint", str(file)]) == 0


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, "db: migration m1: a file with SQL, found nothing at"),
        (b"\xff\xfe", "db: migration m1: UTF-8 in"),
        (b" " * (migrating.MAX_SQL_BYTES + 1), "db: migration m1: at most"),
    ],
)
def test_a_script_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes | None, expected: str) -> None:
    if data is not None:
        (tmp_path / "1.sql").write_bytes(data)
    with pytest.raises(Refused, match=expected):
        signed_migrations(tmp_path, component("1.sql"))


def test_without_the_linter_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.sql").write_text(SAFE)
    monkeypatch.setattr(migrating, "LINTER", "squawk-that-nobody-has")
    with pytest.raises(Refused, match=r"pip install 'bumpless-cli\[sql\]'"):
        signed_migrations(tmp_path, component("1.sql"))
    assert signed_migrations(tmp_path, component()) == ()


def test_one_id_stands_for_one_script() -> None:
    text = "version: v2\ncomponents:\n  db: {migrations: [{id: a, sql: 1.sql}, {id: a, sql: 2.sql}]}\n"
    with pytest.raises(
        ReleaseInvalid, match=r"3: components.db: expected one migration for each id, found a"
    ):
        parse_release_file(text, "release.yaml")


def test_records_belong_to_a_component_of_the_release() -> None:
    text = "version: v2\ncomponents: {db: {}}\nrecords:\n  file:\n    of: bd\n    schemas: {'1': a.json}\n"
    with pytest.raises(ReleaseInvalid, match=r"5: records.file.of: expected one of db, found 'bd'"):
        parse_release_file(text, "release.yaml")
