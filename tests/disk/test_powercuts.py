"""The power is cut at a call: what the disk holds then is old or new, and what was said to be done is done."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import pytest

from disk import cuts
from disk.bench import OPERATIONS, Bench, sample
from support.power import KINDS, Kind

SHUT_DOWN = tuple(kind for kind in KINDS.values() if kind.shuts_down)


pytestmark = pytest.mark.timeout(900)
GOES_ON = 5
MOST = 120
"""Calls at which one operation is cut on one file system."""


@pytest.mark.parametrize("name", OPERATIONS)
def test_cuts_at_calls_of_some_kinds(powered: Bench, place: Path, name: str) -> None:
    begun = powered.begun(name)
    wrong = []
    for kind, call in zip(cycle(SHUT_DOWN), sample(begun.calls, begun.operation.few(3)), strict=False):
        wrong += cuts.shut_down(powered, begun, kind, place, call)
    chosen = {call.number for call in sample(begun.calls, begun.operation.few(2))}
    wrong += _images(powered, place, name, KINDS["btrfs"], chosen)
    assert not wrong, "\n".join(wrong)


@pytest.mark.powercuts
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_cuts_at_every_call(powered: Bench, place: Path, name: str, kind: Kind) -> None:
    # A hundred files that are written alike show what a few of them show.
    calls = sample(powered.begun(name).calls, MOST)
    goes_on = 5 * GOES_ON if OPERATIONS[name].dear else GOES_ON
    wrong: list[str] = []
    for first in range(0, len(calls), cuts.TOGETHER):
        chosen = {call.number for call in calls[first : first + cuts.TOGETHER]}
        wrong += _images(powered, place, name, kind, chosen, goes_on)
    print(f"cuts: {len(calls) + 1}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.powercuts
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", SHUT_DOWN, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", OPERATIONS)
def test_shut_down_at_many_calls(powered: Bench, place: Path, name: str, kind: Kind) -> None:
    begun = powered.begun(name)
    calls = sample(begun.calls, begun.operation.few(20))
    wrong = [w for call in calls for w in cuts.shut_down(powered, begun, kind, place, call)]
    print(f"cuts: {len(calls)}")
    assert not wrong, "\n".join(wrong)


def _images(
    bench: Bench, place: Path, name: str, kind: Kind, chosen: set[int], goes_on: int = 1
) -> list[str]:
    """Every so many cuts, the executor also goes on from what is left; a kill at every call shows that too."""
    begun = bench.begun(name)
    wrong = []
    found = cuts.images(bench, begun, kind, place, lambda call, heard: call.number in chosen)
    for number, (cut, data) in enumerate(found):
        broken = begun.broken(data, cut.heard)
        if not broken and number % goes_on == 0:
            broken = bench.goes_on(begun, data)
        wrong += [f"{kind.name}: {name}, {cut}: {why}" for why in broken]
    return wrong
