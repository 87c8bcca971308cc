"""What is found when a tree was changed, and what is read to find it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bumpless.common.artifacts.tree import scan
from bumpless.common.contract.base import Digest
from bumpless.executor import sound
from bumpless.executor.sound import differences


class Place:
    def __init__(self, home: Path) -> None:
        self.tree, self.notes = home / "versions" / "one", home / "verified" / "one"
        (self.tree / "lib").mkdir(parents=True)
        for name in ("main.py", "lib/a.py", "lib/b.py"):
            (self.tree / name).write_text(f"# {name}\n")
        self.root = Digest(scan(self.tree).root)

    def differ(self) -> tuple[str, ...]:
        return differences(self.tree, self.root, self.notes)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(sound, "RACY_NS", 0)
    found = Place(tmp_path)
    assert found.differ() == ()
    return found


def opened(place: Place, read: list[str]) -> tuple[str, ...]:
    """As `differ`; `read` gets the files that were read whole."""
    digest = sound.scan

    def watched(root: Path, **given: object) -> object:
        known = given["known"]

        def asked(path: str, info: os.stat_result) -> str:
            found = known(path, info)  # type: ignore[operator]
            if not found:
                read.append(path)
            return str(found)

        return digest(root, known=asked)

    before, sound.scan = sound.scan, watched  # type: ignore[assignment]
    try:
        return place.differ()
    finally:
        sound.scan = before


def test_only_what_changed_is_read_again(place: Place) -> None:
    read: list[str] = []
    assert opened(place, read) == ()
    assert read == []
    os.utime(place.tree / "main.py")
    assert opened(place, read) == ()
    assert read == ["main.py"]


def test_a_file_with_the_old_size_and_time_is_found(place: Place) -> None:
    file = place.tree / "main.py"
    info = file.stat()
    file.write_text("# MAIN.PY\n"[: info.st_size])
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert place.differ() == ("main.py is changed",)


def test_what_was_added_and_what_is_missing_are_named(place: Place) -> None:
    (place.tree / "lib/a.py").unlink()
    (place.tree / "lib/z.py").touch()
    (place.tree / "main.py").chmod(0o755)
    assert place.differ() == ("lib/a.py is missing", "lib/z.py is added", "main.py is changed")


def test_many_differences_are_counted(place: Place) -> None:
    for number in range(9):
        (place.tree / f"extra{number}").touch()
    assert place.differ()[-1] == "and 4 more"


def test_without_notes_everything_is_read_and_the_digest_tells(place: Place) -> None:
    place.notes.write_text("torn {")
    (place.tree / "main.py").write_text("else")
    [said] = place.differ()
    assert said.startswith("its digest is sha256:")


def test_what_a_tree_may_not_hold_is_said(place: Place) -> None:
    os.mkfifo(place.tree / "pipe")
    [said] = place.differ()
    assert "pipe" in said


def test_a_tree_that_is_gone_is_said(place: Place) -> None:
    place.tree.rename(place.tree.with_name("elsewhere"))
    assert "No such file" in place.differ()[0]


def test_notes_of_trees_that_are_gone_are_removed(place: Place) -> None:
    stray = place.notes.with_name("stray")
    stray.touch()
    os.utime(place.tree / "main.py")
    place.differ()
    assert not stray.exists()


def test_a_file_changed_just_before_the_look_is_read_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "RACY_NS", 10**18)
    os.utime(place.tree / "main.py")
    read: list[str] = []
    for _ in range(2):
        opened(place, read)
    assert read.count("main.py") == 2
