"""Hypothesis drives the simulated world; a planted bug is found by it, and told in few steps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis.stateful import run_state_machine_as_test

from simulation.stateful import Fleet, options

EXAMPLES = os.environ.get("EXAMPLES", "")


def test_no_course_of_events_breaks_an_invariant() -> None:
    run_state_machine_as_test(Fleet, settings=options(int(EXAMPLES or "40"), fixed=not EXAMPLES))


def test_a_planted_bug_is_found_and_told_in_few_steps() -> None:
    bug = "revert-leaves-out-who-did-not-answer"
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "--stateful", "150", "--mutant", bug],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "VIOLATION" in done.stdout, done.stdout + done.stderr
    steps = [line for line in done.stdout.splitlines() if line.startswith("state.")]
    assert 1 <= len([line for line in steps if "everything_holds" not in line]) <= 4, done.stdout
