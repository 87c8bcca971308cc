"""The core under simulation: no seed breaks an invariant, and a seed is the same run every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.run import simulate
from simulation.scenario import FAULTS, HAPPENINGS, draw

SEEDS = int(os.environ.get("SEEDS", "2000"))
FIRST = int(os.environ.get("FIRST", "0"))


@pytest.mark.timeout(1800)
def test_no_invariant_is_broken() -> None:
    command = [sys.executable, "-m", "simulation", "--quiet", "--first", str(FIRST), "--seeds", str(SEEDS)]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SEEDS} seeds" in done.stdout
    if SEEDS >= 1000:
        # "reorder" spreads the time that every message takes, and is not counted.
        kinds = {*FAULTS, *HAPPENINGS} - {"reorder"}
        never = sorted(kind for kind in kinds if f" {kind}:" not in done.stdout)
        assert not never, f"expected every kind of fault to strike, found none of {never}"


@pytest.mark.parametrize("seed", [1, 7, 9])
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    first, second = simulate(draw(seed)), simulate(draw(seed))
    assert (first.trace, first.events, first.ends) == (second.trace, second.events, second.ends)
    assert first.trace != simulate(draw(seed + 1)).trace
