"""The simulator catches planted bugs. All of them: `make simulate-mutants`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.mutants import BY_NAME, MUTANTS, planted

QUICK = (
    "publishes-before-it-saves",
    "node-takes-expired-commands",
    "revert-leaves-out-who-did-not-answer",
    "needs-are-not-waited-for",
)
WITHIN = 150


def test_there_are_bugs_against_every_law_that_can_be_left_out() -> None:
    assert len(BY_NAME) == len(MUTANTS) >= 30
    assert {mutant.law for mutant in MUTANTS} >= {3, 4, 5, 6, 7, 8, 9}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_planted_bug_still_has_its_place(name: str) -> None:
    mutant = BY_NAME[name]
    spec = importlib.util.find_spec(mutant.module)
    assert spec is not None
    assert spec.origin is not None
    compile(planted(mutant, Path(spec.origin).read_text()), spec.origin, "exec")


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(name: str) -> None:
    command = [sys.executable, "-m", "simulation", "--quiet", "--mutant", name, "--seeds", str(WITHIN)]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "VIOLATION" in done.stdout, done.stdout + done.stderr
