"""Every flush is there for a reason: left out, some cut breaks a promise.

Unless the file systems of these tests promise more than they have to; those flushes are named, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from disk import cuts
from disk.bench import OPERATIONS, Bench
from disk.cuts import Words
from support.nursery import Child
from support.power import KINDS, Kind
from support.syscalls import Call, Then

pytestmark = pytest.mark.timeout(900)
UNSHOWN = {
    "the directories above a component": "the first flush of a file in a new directory takes the way there along",
    "the directory of descriptions": "the tree that is flushed after it takes along what was named before",
    "a directory in a tree": "the flush of the tree's own directory takes the new ones below it along",
    "the directory a tree is made in": "the tree is moved out of it, and that is flushed",
    "the directory of versions, before trees go": "names and what they name change on the disk in the order they did",
    "a package that has arrived": "it is read by its digest, and fetched again if that is not its own",
}
"""Flushes that no cut shows on these file systems, which keep more than POSIX asks of them; each with the reason."""
SAMPLE = {
    "the directory of the journal": "remove",
    "the directory of the links": "switch",
    "a file in a tree": "stage",
}


def sites(bench: Bench) -> dict[str, list[str]]:
    """Every place that flushes, with the operations in which it does; those with the fewest calls first."""
    found: dict[str, list[str]] = {}
    for name in sorted(OPERATIONS, key=lambda name: len(bench.begun(name).calls)):
        begun = bench.begun(name)
        data = bench.copy(begun)
        child = bench.child(begun.operation.step, data)

        def note(call: Call, name: str = name, child: Child = child) -> Then:
            if call.flushes:
                found.setdefault(cuts.site(call, child.ended.heard), []).append(name)
            return Then.PERFORM

        child.run(note)
        bench.discard(data)
    return {site: list(dict.fromkeys(names)) for site, names in found.items()}


def broken_without(bench: Bench, place: Path, site: str, name: str, kind: Kind) -> str | None:
    """The first promise that a cut breaks if this place does not flush; None if none does."""
    begun = bench.begun(name)
    left: list[Call] = []

    def leave_out(call: Call, heard: Sequence[Words]) -> bool:
        if cuts.site(call, heard) == site:
            left.append(call)
        return call in left

    told = 0

    def wanted(call: Call, heard: Sequence[Words]) -> bool:
        """Once something was left out, at the first call after every promise."""
        nonlocal told
        news, told = len(heard) > told, len(heard)
        return bool(left) and news

    for cut, data in cuts.images(bench, begun, kind, place, wanted, leave_out):
        if wrong := begun.broken(data, cut.heard):
            return f"{kind.name}, {name}, {cut}: {wrong[0]}"
    return None


def test_a_flush_that_is_left_out_is_missed(powered: Bench, place: Path) -> None:
    """One place that loses the journal, one the links, one a tree, as an example of the next test."""
    for site, name in SAMPLE.items():
        assert broken_without(powered, place, site, name, KINDS["xfs"]), site


@pytest.mark.powercuts
@pytest.mark.timeout(7200)
def test_every_flush_is_missed(powered: Bench, place: Path) -> None:
    silent = []
    for site, names in sites(powered).items():
        ways = ((name, kind) for name in names for kind in KINDS.values())
        shown = next(filter(None, (broken_without(powered, place, site, *way) for way in ways)), None)
        print(f"without {site}: {shown}")
        if shown is None:
            silent.append(site)
    assert sorted(silent) == sorted(UNSHOWN)
