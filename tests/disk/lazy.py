"""Operations on a disk that keeps only what is flushed: recorded once, then cut at any call, with any flush left out.

A flush that is left out is named by the lines of code that make it and by what they flush.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bumpless.common.model.release import ITSELF
from disk.bench import Begun, Bench, kind
from disk.site import COMPONENT
from support.lazy_disk import LazyDisk, Observer, Seen, Tree, singles, write
from support.syscalls import Call, Then

Words = dict[str, Any]
PROMISES = frozenset({"saved", "unsaved", "pointed", "staged", "answered", "put", "shared", "taken"})
ATTEMPTS = 5
SINGLES = 12
"""Files and directories that differ in one cut, of those that may."""


@dataclass(frozen=True)
class Moment:
    """Before `call` (None: after the last). `place` of the code makes it, where it flushes, and `flushes` these.

    Of `heard`, the last `news` were said after the call before.
    """

    call: Call | None
    heard: tuple[Words, ...]
    news: int
    seen: Seen
    place: str = ""
    flushes: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return (
            f"cut before call {self.call.number} ({kind(self.call)})"
            if self.call
            else "cut after the last call"
        )


@dataclass(frozen=True)
class Recording:
    begun: Begun
    root: int
    moments: tuple[Moment, ...]

    @property
    def places(self) -> list[str]:
        """Those that flush, in the order in which they do."""
        return list(dict.fromkeys(m.place for m in self.moments if m.place))


def record(bench: Bench, name: str, *, killed_at: str = "", fails_at: str = "") -> Recording:
    """Run the operation once, or twice: at first it is killed before the flush that matches `killed_at`.

    The first flush that matches `fails_at` is said to have failed, though the disk may have done it.
    """
    begun = bench.begun(name)
    data = bench.copy(begun)
    observer = Observer(data)
    moments = [Moment(None, (), 0, observer.look())]
    if killed_at:
        _run(bench, begun, data, observer, moments, killed_at, Then.KILL)
    _run(bench, begun, data, observer, moments, fails_at, errno.EIO)
    bench.discard(data)
    return Recording(begun, observer.root, tuple(moments))


def _run(
    bench: Bench,
    begun: Begun,
    data: Path,
    observer: Observer,
    moments: list[Moment],
    pattern: str,
    then: Then | int,
) -> None:
    """Add what happens. The first flush that matches `pattern`, if any, gets `then`."""
    earlier = moments[-1].heard
    child = bench.child(begun.operation.step, data)
    struck = not pattern

    def note(call: Call) -> Then | int:
        nonlocal struck
        heard, seen = (*earlier, *child.ended.heard), observer.look()
        news = len(heard) - len(moments[-1].heard)
        if not call.flushes:
            moments.append(Moment(call, heard, news, seen))
            return Then.PERFORM
        where = flush_of(call, heard)
        strikes = not struck and re.search(pattern, where) is not None
        struck = struck or strikes
        flushes = frozenset(seen) if call.name == "syncfs" else frozenset({observer.inode(call.paths[0])})
        performed = flushes & seen.keys() if not strikes or then is not Then.KILL else frozenset[int]()
        moments.append(Moment(call, heard, news, seen, where, performed))
        return then if strikes else Then.PERFORM

    ended = child.run(note)
    if not struck:
        raise AssertionError(f"expected a flush that matches {pattern} in {begun.operation.name}, found none")
    heard = (*earlier, *ended.heard)
    moments.append(Moment(None, heard, len(heard) - len(moments[-1].heard), observer.look()))


def flush_of(call: Call, heard: Sequence[Words]) -> str:
    """The lines of the executor that make this flush (see `node`), and what is flushed."""
    said = next(w for w in reversed(heard) if "flushing" in w and w["thread"] == call.thread)
    what = re.sub(rf"^({COMPONENT}|{ITSELF})\b", "component", kind(call).partition(" ")[2])
    return f"{said['flushing']}, of {what}"


class Recordings:
    """Made when they are first asked for; each with the arguments of `record`."""

    def __init__(self, bench: Bench, wanted: Mapping[str, Mapping[str, str]]) -> None:
        self._bench, self._wanted = bench, wanted
        self._made: dict[str, Recording] = {}

    def __getitem__(self, name: str) -> Recording:
        if name not in self._made:
            self._made[name] = record(self._bench, **self._wanted[name])
        return self._made[name]

    def places(self) -> dict[str, list[str]]:
        """Every place that flushes, with the recordings in which it does; those with the fewest calls first."""
        found: dict[str, list[str]] = {}
        for name in sorted(self._wanted, key=lambda name: len(self[name].moments)):
            for place in self[name].places:
                found.setdefault(place, []).append(name)
        return found

    def cuts(self, name: str) -> Iterator[tuple[Recording, Moment, Tree]]:
        return ((self[name], moment, tree) for moment, tree in cuts(self[name]))

    def broken_without(self, place: str, names: Iterable[str], at: Path) -> str | None:
        """The first promise that a cut breaks if this place does not flush; None if none does.

        Another thread that flushes the same directory a moment later can hide it, so it is looked for in further runs.
        """
        for attempt in range(ATTEMPTS):
            for name in names:
                if attempt:
                    self._made[name] = record(self._bench, **self._wanted[name])
                for moment, tree in cuts_without(self[name], place):
                    if wrong := broken(self[name], moment, tree, at):
                        return wrong[0]
        return None


def cuts(recording: Recording) -> Iterator[tuple[Moment, Tree]]:
    """The different ones."""
    known: set[tuple[int, Tree]] = set()
    for moment, disk in _played(recording, ""):
        for tree in singles(disk, SINGLES):
            if (key := (len(moment.heard), tree)) not in known:
                known.add(key)
                yield moment, tree


def cuts_without(recording: Recording, place: str) -> Iterator[tuple[Moment, Tree]]:
    """Cuts in which what this place did not flush is old, and the rest as it was flushed or as it is now."""
    left: set[int] = set()
    known: set[tuple[int, Tree]] = set()
    for moment, disk in _played(recording, place):
        if left:
            for tree in (disk.after_a_cut(), disk.after_a_cut(old=left)):
                if (key := (len(moment.heard), tree)) not in known:
                    known.add(key)
                    yield moment, tree
        if moment.place == place:
            left |= moment.flushes


def broken(recording: Recording, moment: Moment, tree: Tree, at: Path) -> list[str]:
    """The promises that do not hold after this cut. `at` is made, with what is there then."""
    if at.exists():
        shutil.rmtree(at)
    write(tree, at)
    begun = recording.begun
    return [
        f"{begun.operation.name}, {moment}: {why}"
        for heard in _hearings(moment)
        for why in begun.broken(at, _strict(begun, heard))
    ]


def _hearings(moment: Moment) -> Iterator[Sequence[Words]]:
    """All that was said, and each part of it that ended in a promise since the call before: nothing changed since."""
    for end in range(len(moment.heard) - moment.news + 1, len(moment.heard)):
        if PROMISES & moment.heard[end - 1].keys():
            yield moment.heard[:end]
    yield moment.heard


def _strict(begun: Begun, heard: Sequence[Words]) -> list[Words]:
    """A record that could not be saved leaves the one before, which is more than a disk that goes on failing allows."""
    last, found = begun.record, []
    for words in heard:
        last = words.get("saved", last)
        found.append({"saved": last} if "unsaved" in words else words)
    return found


def _played(recording: Recording, without: str) -> Iterator[tuple[Moment, LazyDisk]]:
    first, *moments = recording.moments
    disk = LazyDisk(recording.root, first.seen)
    for moment in moments:
        disk.see(moment.seen)
        yield moment, disk
        if moment.place != without:
            disk.flush(moment.flushes)
