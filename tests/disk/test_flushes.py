"""Every flush is there for a reason: left out, some cut breaks a promise; and with all of them, none does.

The file systems that the power cuts are tried on keep more than they have to, each something else. So the flushes are
held against a disk that keeps nothing else (`support.lazy_disk`); three of them are also left out on a real one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from disk import cuts, lazy
from disk.bench import OPERATIONS, Bench
from disk.cuts import Words
from support.power import KINDS, Kind
from support.syscalls import Call

pytestmark = pytest.mark.timeout(900)
RECORDINGS: dict[str, dict[str, str]] = {
    **{name: {"name": name} for name in OPERATIONS},
    "stage again after a kill": {"name": "stage", "killed_at": r"component/versions$"},
    "configure again after a kill": {"name": "configure", "killed_at": r"component/configs$"},
    "switch with a record that cannot be flushed": {
        "name": "switch",
        "fails_at": r"Journal\.save:\d+, of component$",
    },
}
"""What is recorded, with what happens in it; see `lazy.record`."""
QUICK = ("switch", "remove")
GOES_ON = 40
"""So many cuts of a lazy disk, and the executor goes on from one of them."""
SAMPLE = {
    r"Journal\.save.* component$": "remove",
    r"Layout\.point.* component$": "switch",
    r"staging/[^/]+/tree/lib/version$": "stage",
}
"""Flushes that are left out on a real disk: one that loses the journal, one the links, one a tree."""


@pytest.fixture(scope="module")
def recordings(powered: Bench) -> lazy.Recordings:
    return lazy.Recordings(powered, RECORDINGS)


@pytest.mark.parametrize("name", QUICK)
def test_a_lazy_disk_breaks_no_promise_and_misses_every_flush(
    recordings: lazy.Recordings, place: Path, name: str
) -> None:
    """An example of the next two tests. What needs a first installation or a crash to be missed is left to those."""
    assert not next(filter(None, (lazy.broken(*cut, place / "cut") for cut in recordings.cuts(name))), None)
    for flush in recordings[name].places:
        if re.search(r"Journal\.save|Layout\.(point|_discard)", flush):
            assert recordings.broken_without(flush, [name], place / "cut"), flush


@pytest.mark.powercuts
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_disk_that_keeps_only_what_is_flushed_breaks_no_promise(
    powered: Bench, recordings: lazy.Recordings, place: Path, name: str
) -> None:
    wrong: list[str] = []
    number = 0
    for number, (recording, moment, tree) in enumerate(recordings.cuts(name), start=1):
        broken = lazy.broken(recording, moment, tree, place / "cut")
        if not broken and number % GOES_ON == 0:
            broken = [f"{moment}: {why}" for why in powered.goes_on(recording.begun, place / "cut")]
        wrong += broken
    print(f"cuts of a lazy disk: {number}")
    assert number
    assert not wrong, "\n".join(wrong)


@pytest.mark.powercuts
@pytest.mark.timeout(7200)
def test_every_flush_is_missed(recordings: lazy.Recordings, place: Path) -> None:
    silent = []
    for flush, names in recordings.places().items():
        shown = recordings.broken_without(flush, names, place / "cut")
        print(f"without {flush}: {shown}")
        if shown is None:
            silent.append(flush)
    assert not silent, "left out and not missed: " + "; ".join(silent)


def test_a_flush_that_is_left_out_on_a_real_disk_is_missed(powered: Bench, place: Path) -> None:
    for flush, name in SAMPLE.items():
        assert _broken_without(powered, place, flush, name, KINDS["xfs"]), flush


def _broken_without(bench: Bench, place: Path, flush: str, name: str, kind: Kind) -> str | None:
    """The first promise that a cut breaks if flushes that match are only pretended; None if none does."""
    begun = bench.begun(name)
    left: list[Call] = []
    told = 0

    def leave_out(call: Call, heard: Sequence[Words]) -> bool:
        if re.search(flush, lazy.flush_of(call, heard)):
            left.append(call)
        return call in left

    def wanted(call: Call, heard: Sequence[Words]) -> bool:
        """Once something was left out, at the first call after every promise."""
        nonlocal told
        promised = sum(bool(lazy.PROMISES & words.keys()) for words in heard)
        news, told = promised > told, promised
        return bool(left) and news

    for cut, data in cuts.images(bench, begun, kind, place, wanted, leave_out):
        if wrong := begun.broken(data, cut.heard):
            return f"{kind.name}, {name}, {cut}: {wrong[0]}"
    return None
