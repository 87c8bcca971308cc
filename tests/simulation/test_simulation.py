"""The core under simulation: no seed breaks an invariant, and a seed is the same run every time."""

from __future__ import annotations

import os

import pytest

from simulation.run import simulate
from simulation.scenario import draw

SEEDS = int(os.environ.get("SEEDS", "300"))
FIRST = int(os.environ.get("FIRST", "0"))
PART = 100


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, PART))
@pytest.mark.timeout(1200)
def test_no_invariant_is_broken(first: int) -> None:
    for seed in range(first, min(first + PART, FIRST + SEEDS)):
        result = simulate(draw(seed))
        assert result.violation is None, f"{result}\n{result.violation}\nreplay it: make simulate SEED={seed}"


@pytest.mark.parametrize("seed", [1, 7, 9])
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    first, second = simulate(draw(seed)), simulate(draw(seed))
    assert (first.trace, first.events, first.ends) == (second.trace, second.events, second.ends)
    assert first.trace != simulate(draw(seed + 1)).trace
