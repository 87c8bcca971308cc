"""Who ran here before is known, and that it has ended: of real processes, killed and alive."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bumpless.common.shell.predecessor import Predecessor

RUNS = """
import sys
from pathlib import Path
from bumpless.common.shell.predecessor import Predecessor

found = Predecessor(Path(sys.argv[1]))
print(found.ours, found.ended(), flush=True)
sys.stdin.read()
"""


class Process:
    def __init__(self, file: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUNS, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.ours, self.ended = self._process.stdout.readline().split()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "services" / "planner" / "planner.process"


def test_the_first_one_has_no_predecessor(file: Path) -> None:
    assert Predecessor(file).ended() is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_killed_process_has_ended(file: Path) -> None:
    first = Process(file)
    first.kill()
    second = Process(file)
    assert second.ended == first.ours
    second.kill()
    assert Predecessor(file).ended() == second.ours


@pytest.mark.parametrize("stopped", [False, True])
def test_one_that_lives_has_not_ended_even_if_it_is_stopped(file: Path, stopped: bool) -> None:
    first = Process(file)
    if stopped:
        first.signal(signal.SIGSTOP)
    mine = Predecessor(file)
    assert mine.ended() is None
    assert mine.ended() is None
    first.kill()
    assert mine.ended() == first.ours


def test_who_comes_after_two_that_overlapped_knows_the_one_that_was_left(file: Path) -> None:
    first, second = Process(file), Process(file)
    first.kill()
    second.kill()
    third = Process(file)
    assert third.ended == first.ours  # the second never had the file to itself
    third.kill()


def test_what_is_known_stays_known(file: Path) -> None:
    Process(file).kill()
    mine = Predecessor(file)
    assert mine.ended() == mine.ended() is not None
    mine.close()
    assert Predecessor(file).ended() == mine.ours


def test_a_process_that_was_started_by_another_does_not_keep_its_file(file: Path) -> None:
    mine = Predecessor(file)
    mine.ended()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        mine.close()
        assert Predecessor(file).ended() == mine.ours
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * 4000])
def test_a_file_that_says_something_else_is_written_anew(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    mine = Predecessor(file)
    mine.ended()
    assert file.read_text() == mine.ours


def test_without_a_directory_that_can_be_written_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    mine = Predecessor(tmp_path / "file" / "planner.process")
    assert mine.ended() is None
    assert mine.ended() is None


def test_the_directory_is_that_of_the_service_manager(tmp_path: Path) -> None:
    assert Predecessor.of_this_process("planner", {}).ended() is None
    first = Predecessor.of_this_process("planner", {"STATE_DIRECTORY": f"{tmp_path}:/elsewhere"})
    assert first.ended() is None
    first.close()
    other = Predecessor.of_this_process("rollback", {"STATE_DIRECTORY": str(tmp_path)})
    assert other.ended() is None
    again = Predecessor.of_this_process("planner", {"STATE_DIRECTORY": str(tmp_path)})
    assert again.ended() == first.ours
    assert sorted(os.listdir(tmp_path)) == ["planner.process", "rollback.process"]


def test_tokens_are_of_the_process_and_never_the_same(file: Path) -> None:
    mine = Predecessor(file)
    tokens = {mine.token() for _ in range(3)}
    assert len(tokens) == 3
    assert all(token.startswith(mine.ours + ".") for token in tokens)
