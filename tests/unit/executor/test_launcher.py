"""Which version is started: a table; and a launcher that takes the place of its process, as a service manager starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bumpless.executor import launcher
from bumpless.executor.launcher import INSTALLED, STARTS, Choice, State, Trial, choose

OLD, NEW = "a" * 64, "b" * 64
NOW = 1000.0


@pytest.mark.parametrize(
    ("current", "previous", "state", "expected"),
    [
        (INSTALLED, INSTALLED, State(), Choice(INSTALLED)),
        (INSTALLED, OLD, State(OLD), Choice(INSTALLED)),
        (NEW, OLD, State(NEW), Choice(NEW)),
        (NEW, OLD, State(NEW, Trial(OLD, 5)), Choice(NEW)),
        (NEW, OLD, State(OLD), Choice(NEW, Trial(NEW, 60, 1, NOW))),
        (NEW, OLD, State(OLD, Trial(NEW, 5)), Choice(NEW, Trial(NEW, 5, 1, NOW))),
        (NEW, OLD, State(OLD, Trial(OLD, 5, STARTS, NOW)), Choice(NEW, Trial(NEW, 60, 1, NOW))),
        (NEW, OLD, State(OLD, Trial(NEW, 5, 1, NOW - 4)), Choice(NEW, Trial(NEW, 5, 2, NOW))),
        # The machine was started again since: its clock says less than the one before.
        (NEW, OLD, State(OLD, Trial(NEW, 5, 1, NOW + 9)), Choice(NEW, Trial(NEW, 5, 2, NOW))),
        (NEW, INSTALLED, State(), Choice(NEW, Trial(NEW, 60, 1, NOW))),
    ],
)
def test_what_is_started(current: str, previous: str, state: State, expected: Choice) -> None:
    assert choose(current, previous, state, NOW) == expected


@pytest.mark.parametrize(
    ("state", "back", "why"),
    [
        (State(OLD, Trial(NEW, 5, STARTS, NOW - 1)), OLD, "found it ended 2 times"),
        (State(OLD, Trial(NEW, 5, 1, NOW - 5)), OLD, "within 5 s, found it silent"),
        (State(None, Trial(NEW, 5, STARTS, NOW - 1)), OLD, "found it ended"),
        (State(INSTALLED, Trial(NEW, 5, STARTS, NOW - 1)), INSTALLED, "found it ended"),
    ],
)
def test_what_is_started_instead_of_a_version_that_did_not_come_up(state: State, back: str, why: str) -> None:
    choice = choose(NEW, OLD, state, NOW)
    assert (choice.root, choice.trial) == (back, None)
    assert why in choice.fell_back


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"trial": {"root": 1}}', b'{"trial": 7}', b"\xff"])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "launch.json").write_bytes(data)
    assert launcher.read_state(tmp_path) == State()


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = State(OLD, Trial(NEW, 5.5, 1, 77.25))
    launcher.write_state(tmp_path, state)
    assert launcher.read_state(tmp_path) == state


class Node:
    """Versions whose executor writes down how it was started, and then does what `ACTS` says."""

    def __init__(self, data: Path) -> None:
        self.data, self.home = data, launcher.home_of(data)
        for version in (OLD, NEW):
            app = self.home / "versions" / version / "site" / "bumpless" / "executor" / "app.py"
            app.parent.mkdir(parents=True)
            app.write_text(_APP)
            app.with_name("__init__.py").touch()
        self.point(OLD, None)

    def point(self, current: str, previous: str | None) -> None:
        for name, version in (("current", current), ("previous", previous)):
            link = self.home / name
            link.unlink(missing_ok=True)
            if version is not None:
                link.symlink_to(f"versions/{version}")

    def launch(self, acts: str = "ends") -> tuple[int, dict[str, object]]:
        """(how the process ended, what its executor was told). The process id stays what it was."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("BUMPLESS_")}
        env |= {launcher.DATA_DIR: str(self.data), "ACTS": acts}
        process = subprocess.Popen(
            (sys.executable, "-m", "bumpless.executor.launcher"), env=env, stderr=subprocess.PIPE
        )
        process.communicate(timeout=60)
        told = json.loads((self.data / "told").read_text())
        assert told.pop("pid") == process.pid
        return process.returncode, told


_APP = """
import json, os, sys, time
from pathlib import Path

told = json.loads(os.environ["BUMPLESS_LAUNCHED"]) | {"pid": os.getpid(), "code": __file__}
(Path(os.environ["BUMPLESS_EXECUTOR_DATA_DIR"]) / "told").write_text(json.dumps(told))
if os.environ["ACTS"] == "hangs":
    time.sleep(600)
sys.exit("last words of this version")
"""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_confirmed_version_is_started_every_time(node: Node) -> None:
    launcher.write_state(node.data, State(OLD))
    for _ in range(STARTS + 1):
        _, told = node.launch()
        assert (told["root"], told["failed"], told["stderr"]) == (OLD, "", -1)
        assert f"versions/{OLD}/site" in str(told["code"])
    assert not list(node.home.rglob("__pycache__")), "a version's folder must stay as it was verified"


def test_a_version_that_ends_is_given_up_with_its_last_words(node: Node) -> None:
    launcher.write_state(node.data, State(OLD, Trial(NEW, 60)))
    node.point(NEW, OLD)
    for _ in range(STARTS):
        assert node.launch()[1]["root"] == NEW
    for _ in range(2):
        _, told = node.launch()
        assert (told["root"], told["failed"]) == (OLD, NEW)
        assert str(told["why"]).endswith("last words of this version")


def test_a_version_that_hangs_is_ended_by_its_alarm_and_given_up_at_once(node: Node) -> None:
    launcher.write_state(node.data, State(OLD, Trial(NEW, 2.0)))
    node.point(NEW, OLD)
    code, told = node.launch("hangs")
    assert (-code, told["root"]) == (signal.SIGALRM, NEW)
    _, told = node.launch()
    assert (told["root"], told["failed"]) == (OLD, NEW)
    assert "within 2 s" in str(told["why"])


def test_a_start_that_cannot_be_counted_is_not_made(node: Node) -> None:
    launcher.write_state(node.data, State(OLD))
    node.point(NEW, OLD)
    (node.data / ".launch.json.part").mkdir()
    _, told = node.launch()
    assert (told["root"], told["failed"]) == (OLD, NEW)
    assert "expected to write" in str(told["why"])


def test_without_a_data_directory_it_says_what_is_missing() -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("BUMPLESS_")}
    done = subprocess.run(
        (sys.executable, "-m", "bumpless.executor.launcher"), env=env, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert launcher.DATA_DIR in done.stderr.decode()
