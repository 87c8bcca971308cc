"""Items that come and go: status at any version, the report from one version to another, what should not be so."""

from __future__ import annotations

import pytest

from bumpless.common.compat.lifecycle import Change, Item, Lifecycle, Policy, Status
from bumpless.common.model.compat import ItemKind
from bumpless.common.model.finding import Code, Severity
from unit.compat.stating import v


def endpoint(
    id_: str,
    introduced: str,
    deprecated: str | None = None,
    removed: str | None = None,
    use: str | None = None,
) -> Item:
    gone = None if removed is None else v(removed)
    warned = None if deprecated is None else v(deprecated)
    return Item(ItemKind.ENDPOINT, id_, "files", v(introduced), warned, gone, use)


LIST = endpoint("GET /api/v1/files", "1.0.0")
CREATE = endpoint("POST /api/v1/files", "1.0.0", "2.0.0", use="POST /api/v2/files/upload")
UPLOAD = endpoint("POST /api/v2/files/upload", "2.0.0")
DELETE = endpoint("DELETE /api/v1/files/{id}", "1.0.0", removed="3.0.0")
FILES = Lifecycle([LIST, CREATE, UPLOAD, DELETE])


@pytest.mark.parametrize(
    ("item", "version", "expected"),
    [
        (UPLOAD, "1.9.0", Status.ABSENT),
        (UPLOAD, "2.0.0", Status.AVAILABLE),
        (CREATE, "1.9.9", Status.AVAILABLE),
        (CREATE, "2.0.0", Status.DEPRECATED),
        (CREATE, "9.0.0", Status.DEPRECATED),
        (DELETE, "2.9.9", Status.AVAILABLE),
        (DELETE, "3.0.0", Status.REMOVED),
    ],
)
def test_status_at_a_version(item: Item, version: str, expected: Status) -> None:
    assert FILES.status("files", item.id, v(version)) is expected


def test_what_nobody_declared_is_absent() -> None:
    assert FILES.status("files", "GET /nowhere", v("1.0.0")) is Status.ABSENT
    assert FILES.status("other", LIST.id, v("1.0.0")) is Status.ABSENT


def test_the_fixture_of_a_report() -> None:
    report = FILES.report("files", v("1.0.0"), v("3.0.0"))
    assert {(c.change, c.item.id): c.advice for c in report.changes} == {
        (Change.ADDED, UPLOAD.id): "nothing has to be done",
        (Change.DEPRECATED, CREATE.id): f"use {UPLOAD.id}",
        (Change.REMOVED, DELETE.id): "stop using it; there is no successor",
    }
    (finding,) = report.findings
    assert (finding.code, finding.severity) == (Code.API_NO_DEPRECATION, Severity.WARN)
    assert DELETE.id in finding.subject
    assert "never deprecated" in finding.evidence


def test_nothing_changes_between_equal_versions() -> None:
    report = FILES.report("files", v("2.0.0"), v("2.0"))
    assert (report.changes, report.findings) == ((), ())


def test_calls_seen_turn_a_removal_into_a_block() -> None:
    report = Lifecycle([DELETE], usage={DELETE.id: 12}).report("files", v("2.0.0"), v("3.0.0"))
    blocking = [f for f in report.findings if f.severity is Severity.BLOCK]
    assert [f.code for f in blocking] == [Code.API_REMOVED_IN_USE]
    assert "called 12 times" in blocking[0].evidence


def test_going_back_takes_away_what_was_new() -> None:
    report = FILES.report("files", v("3.0.0"), v("1.0.0"))
    assert (Change.REMOVED, UPLOAD.id) in {(c.change, c.item.id) for c in report.changes}
    assert (Change.ADDED, DELETE.id) in {(c.change, c.item.id) for c in report.changes}
    assert [f.subject for f in report.findings] == [f"files: {UPLOAD.id}"]


@pytest.mark.parametrize(("majors", "findings"), [(1, 0), (2, 1)])
def test_the_warning_period_is_counted_in_major_versions(majors: int, findings: int) -> None:
    item = endpoint("GET /old", "1.0.0", "2.0.0", "3.0.0")
    report = Lifecycle([item], Policy(majors)).report("files", v("2.0.0"), v("3.0.0"))
    assert len(report.findings) == findings


@pytest.mark.parametrize(
    ("item", "evidence"),
    [
        (endpoint("a", "2.0.0", removed="1.0.0"), "removed in 1.0.0, and introduced in 2.0.0"),
        (endpoint("a", "2.0.0", deprecated="1.0.0"), "before 2.0.0 introduced it"),
        (endpoint("a", "1.0.0", "3.0.0", "2.0.0"), "not after it was deprecated"),
        (endpoint("a", "1.0.0", use="b"), "its successor b is not among the items"),
    ],
)
def test_contradictions_are_found(item: Item, evidence: str) -> None:
    found = Lifecycle([item]).contradictions()
    assert any(evidence in f.evidence for f in found)
    assert {f.code for f in found} == {Code.LIFECYCLE_INVALID}


def test_one_id_twice_is_a_contradiction_and_the_fixture_has_none() -> None:
    assert "declared 2 times" in Lifecycle([LIST, LIST]).contradictions()[0].evidence
    assert FILES.contradictions() == ()
