"""The rule that lets executors of two versions take turns: a journal is read by the version before and the one after.

`journal-1.json` was written by the first executor that could be replaced, and is never written again: a change that
makes this test fail keeps a node from being upgraded from that version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bumpless.executor.journal import Journal
from bumpless.executor.launcher import State, Trial, read_state
from bumpless.executor.record import ComponentRecord

STORED = Path(__file__).with_name("journal-1.json")


def with_later_fields(value: Any) -> Any:
    """What a later version may write: a field more in every record."""
    if isinstance(value, list):
        return [with_later_fields(item) for item in value]
    if not isinstance(value, dict):
        return value
    more = {name: with_later_fields(item) for name, item in value.items()}
    named_by_people = not value.keys().isdisjoint({"PROBE_MODE", "http", "staging"}) or not value
    return more if named_by_people else more | {"a_later_field": {"of": ["any", "form"]}}


@pytest.mark.parametrize("change", [lambda found: found, with_later_fields])
def test_a_journal_of_another_version_says_the_same(tmp_path: Path, change: Any) -> None:
    path = tmp_path / "journal.json"
    path.write_text(json.dumps(change(json.loads(STORED.read_text()))))
    record = Journal(path).load()
    assert record is not None
    assert record == Journal(STORED).load()
    assert [i.target.version for i in record.instances] == ["v1", "v2", "v0"]
    assert (record.state, record.number) == ("switching", (3, 2))
    assert None not in (record.waiting, record.result)
    assert record.outbox == (record.result,)


def test_what_this_version_writes_has_every_field_that_the_first_one_reads(tmp_path: Path) -> None:
    record = Journal(STORED).load()
    assert isinstance(record, ComponentRecord)
    path = tmp_path / "journal.json"
    Journal(path).save(record)

    def paths(value: Any, at: str = "") -> set[str]:
        if not isinstance(value, dict):
            return {at}
        return {at} | {found for name, item in value.items() for found in paths(item, f"{at}/{name}")}

    missing = paths(json.loads(STORED.read_text())) - paths(json.loads(path.read_text()))
    assert not missing, f"expected fields that the earlier version reads, found none of {sorted(missing)}"


def test_the_launchers_state_of_a_later_executor_is_read(tmp_path: Path) -> None:
    """Launchers are older than what they start."""
    trial = {"root": "b", "limit_s": 5, "starts": 1, "began": 2.5, "later": 1}
    (tmp_path / "launch.json").write_text(json.dumps({"confirmed": "a", "trial": trial, "later": {}}))
    assert read_state(tmp_path) == State("a", Trial("b", 5.0, 1, 2.5))
