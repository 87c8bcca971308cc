"""The journal and the layout: what is on the disk after every step, also after one that did not finish."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.executor import durable
from bumpless.executor.journal import Journal
from bumpless.executor.layout import Layout, require_room
from bumpless.executor.record import ComponentRecord
from unit.executor.making import apply, digest, target

A, B, C = digest("a"), digest("b"), digest("c")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path, "api")
    for root in (A, B, C):
        place(found, root)
    return found


def place(layout: Layout, root: Digest) -> None:
    layout.version(root).mkdir()
    (layout.version(root) / "file").write_text(root)


def test_the_journal_gives_back_what_was_saved(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.json")
    assert journal.load() is None
    record = ComponentRecord(
        node="node-a", component="api", current=target("v1"), command=apply((1, 2), target("v1"))
    )
    journal.save(record)
    assert journal.load() == record


def test_a_killed_save_leaves_the_earlier_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.json")
    record = ComponentRecord(node="node-a", component="api")
    journal.save(record)
    (tmp_path / ".journal.json.part").write_bytes(b'{"record": {"no')
    assert journal.load() == record
    journal.save(record)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 2, "record": {"node": "n", "component": "c"}}'])
def test_a_journal_that_cannot_be_read_stops_the_executor(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.json"
    path.write_bytes(content)
    with pytest.raises(Refused, match="journal"):
        Journal(path).load()


@pytest.mark.parametrize("cut", [0, 1, -1], ids=["empty", "begun", "torn"])
def test_a_torn_journal_gives_way_to_the_record_before(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.json"
    first, second, third = (
        ComponentRecord(node="node-a", component="api", restarts=number) for number in range(3)
    )
    journal = Journal(path)
    journal.save(first)
    journal.save(second)
    path.write_bytes(path.read_bytes()[:cut])
    later = Journal(path)
    assert later.load() == first
    # What cannot be read is not kept in the place of what can.
    later.save(third)
    path.write_bytes(b"")
    assert Journal(path).load() == first


def test_a_component_whose_journal_was_moved_away_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    journal = Journal(path)
    journal.save(ComponentRecord(node="node-a", component="api", restarts=1))
    journal.save(ComponentRecord(node="node-a", component="api", restarts=2))
    path.unlink()
    anew = Journal(path)
    assert anew.load() is None
    anew.save(ComponentRecord(node="node-a", component="api"))
    path.write_bytes(b"torn")
    with pytest.raises(Refused, match="the one before it"):
        Journal(path).load()


WAYS: list[tuple[tuple[Digest | None, Digest | None], tuple[Digest | None, Digest | None]]] = [
    ((None, None), (A, None)),
    ((A, None), (B, A)),
    ((B, A), (C, B)),
    ((C, B), (B, C)),
    ((B, C), (None, B)),
    ((None, B), (A, B)),
    ((A, B), (A, A)),
    ((A, B), (A, B)),
]


@pytest.mark.parametrize(("before", "after"), WAYS)
@pytest.mark.parametrize("swaps", [True, False])
def test_links_get_where_they_shall_be_from_anywhere(
    layout: Layout,
    before: tuple[Digest | None, Digest | None],
    after: tuple[Digest | None, Digest | None],
    swaps: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not swaps:
        # A file system without exchange is a fact of the machine, not a port.
        monkeypatch.setattr("bumpless.executor.layout.exchange", lambda left, right: False)
    layout.point(*before)
    for _ in range(2):
        layout.point(*after)
        assert (layout.current(), layout.previous()) == after
    if after[0] is not None:
        assert (layout.home / "current" / "file").read_text() == after[0]


def test_a_crash_between_the_two_moves_is_finished_by_doing_it_again(layout: Layout) -> None:
    layout.point(A, C)
    durable.place_link(layout.home / "previous", f"versions/{B.removeprefix('sha256:')}")
    assert layout.current() == A
    layout.point(B, A)
    assert (layout.current(), layout.previous()) == (B, A)


def test_a_tree_that_is_not_there_cannot_become_current(layout: Layout) -> None:
    layout.point(A, None)
    with pytest.raises(Refused, match="stage it again"):
        layout.point(digest("missing"), A)
    assert layout.current() == A


def test_only_what_nothing_names_is_collected(layout: Layout) -> None:
    layout.point(A, B)
    assert layout.collect([]) == (C,)
    assert set(layout.present()) == {A, B}
    assert list(layout.staging.iterdir()) == []


def test_what_a_killed_executor_left_is_swept(layout: Layout) -> None:
    (layout.staging / "half" / "tree").mkdir(parents=True)
    (layout.staging / "file").write_text("x")
    for place in (layout.home, layout.descriptions):
        (place / ".something.part").symlink_to("nowhere")
    layout.clear_staging()
    left = (*layout.staging.iterdir(), *layout.home.glob(".*"), *layout.descriptions.iterdir())
    assert left == ()


def test_staging_needs_room_for_the_tree_and_to_spare(layout: Layout) -> None:
    require_room(layout.staging, 1, 1)
    with pytest.raises(Refused, match=r"bytes free on the file system of .*, found [0-9]+; make room"):
        require_room(layout.staging, 1 << 60, 1)
    if os.statvfs(layout.staging).f_files:
        with pytest.raises(Refused, match="inodes free on the file system"):
            require_room(layout.staging, 1, 1 << 60)


@pytest.mark.parametrize("root", ["sha256:abc", "sha256:" + "../" * 21 + "x", "sha256:" + "G" * 64])
def test_a_root_that_is_no_digest_names_no_path(layout: Layout, root: str) -> None:
    with pytest.raises(Refused):
        layout.version(Digest(root))


def test_exchange_swaps_two_names_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        os.symlink(f"to-{name}", tmp_path / name)
    if durable.exchange(tmp_path / "a", tmp_path / "b"):
        assert os.readlink(tmp_path / "a") == "to-b"
    with pytest.raises(FileNotFoundError):
        durable.exchange(tmp_path / "a", tmp_path / "missing")
