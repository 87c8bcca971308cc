"""Every command against the one table: its help, the JSON it prints, and its exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bumpless.cli.answers import ANSWERS
from bumpless.cli.commands import command
from bumpless.cli.reference import leaves, pages
from support.command_check import faults, in_process, words_of
from support.command_table import ALONE, NOWHERE, Run, all_runs
from support.pact_provider import provider

HERE = Path(__file__).parents[2]
LEAVES = dict(leaves(command()))
PAGES = {page.name: page for page in pages()}
GET = {"responses": {"200": {"description": "good"}}}


def test_no_command_is_missing() -> None:
    assert set(LEAVES) == set(all_runs()), "tests/support/command_table.py has every command"
    assert set(LEAVES) == set(ANSWERS), "bumpless.cli.answers has every command"


def test_every_exit_code_that_is_documented_is_run() -> None:
    ran = {name: {run.code for run in runs} for name, runs in all_runs().items()}
    claimed = {name: set(answer.exits) for name, answer in ANSWERS.items()}
    assert {name: codes for name, codes in claimed.items() if codes != ran[name]} == {}


@pytest.mark.parametrize("name", LEAVES)
def test_help_says_what_it_does_with_an_example_of_itself(name: str) -> None:
    page = PAGES[name]
    assert page.text[0].endswith("."), "a sentence"
    assert page.examples
    assert any(re.search(rf"\bbumpless {name}\b", example) for example in page.examples)
    lacking = [p.term for p in (*page.arguments, *page.options) if not p.help and p.term != "--help"]
    assert lacking == [], "every argument and option says what it does"


@pytest.fixture
def fill(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the words in braces stand for."""
    for name, text in (("tree", "old"), ("tree2", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text * 100)
    for name, paths in (("old", {"/a": {"get": GET}, "/b": {"get": GET}}), ("new", {"/a": {"get": GET}})):
        document = {"openapi": "3.0.3", "info": {"title": "a", "version": "1"}, "paths": paths}
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    (tmp_path / "password").write_text("correct horse battery\n")
    for name, cluster in (("linked", '{"dashboard": "http://127.0.0.1:1"}'), ("broken", "nonsense")):
        (tmp_path / name / "keys").mkdir(parents=True)
        (tmp_path / name / "cluster.json").write_text(cluster)
        (tmp_path / name / "keys/dashboard.secret").write_text("5" * 64)
    (tmp_path / "broken/identities.json").write_text("nonsense")
    trace = (HERE / "fixtures/gate/good.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "short.jsonl").write_text("".join(trace[:140]))
    (tmp_path / "alerts.yaml").write_text("built_in: true\n")
    with provider("good") as url:
        yield {
            "tmp": str(tmp_path),
            "fixtures": str(HERE / "fixtures"),
            "digest": "sha256:" + "0" * 64,
            "provider": url,
        }


def test_what_needs_no_control_plane(
    fill: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUMPLESS_HOME", str(tmp_path / "home"))
    assert in_process("keys", "generate").code == 0
    wrong = [
        fault
        for name, runs in ALONE.items()
        for run in runs
        for fault in faults(name, run, in_process(*words_of(name, run, fill)))
    ]
    for name, words in NOWHERE.items():
        run = Run(words, 1)
        wrong += faults(name, run, in_process(*words_of(name, run, fill)))
    assert wrong == [], "\n\n".join(wrong)
