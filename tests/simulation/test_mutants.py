"""The simulator catches planted bugs: all of them, around the seeds that docs/simulation.md records."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.mutants import BY_NAME, MUTANTS
from simulation.planting import planted


def test_there_are_bugs_against_every_law_that_can_be_left_out() -> None:
    assert len(BY_NAME) == len(MUTANTS) >= 40
    assert {mutant.law for mutant in MUTANTS} >= {3, 4, 5, 6, 7, 8, 9}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_planted_bug_still_has_its_place(name: str) -> None:
    mutant = BY_NAME[name]
    spec = importlib.util.find_spec(mutant.module)
    assert spec is not None
    assert spec.origin is not None
    compile(planted(mutant, Path(spec.origin).read_text()), spec.origin, "exec")


@pytest.mark.timeout(900)
def test_every_planted_bug_is_caught_where_it_is_recorded() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "--mutants", "--recorded"],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (
        f"{done.stdout}{done.stderr}\nexpected every planted bug to be caught around the seed that docs/simulation.md "
        "records; if the code or the drawing changed, run make simulate-mutants RECORD=1 and look at what it finds"
    )
