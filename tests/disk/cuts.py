"""Power cuts of an operation on a disk, and what a flush that is left out would break."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from disk.bench import Begun, Bench, kind
from support.power import Disk, Kind
from support.syscalls import Call, Then

Words = dict[str, Any]
TOGETHER = 60
"""Images kept of one run."""


@dataclass(frozen=True)
class Cut:
    """The power went before `call` (None: after all of them), when the node had said `heard`."""

    call: Call | None
    heard: tuple[Words, ...]

    def __str__(self) -> str:
        return (
            f"cut before call {self.call.number} ({kind(self.call)})"
            if self.call
            else "cut after the last call"
        )


def shut_down(bench: Bench, begun: Begun, sort: Kind, work: Path, at: Call) -> list[str]:
    """Cut the power at one call of a run, by shutting the file system down; what broke, then or when it went on."""
    with _prepared(begun, sort, work) as disk:
        data = disk.root / "data"

        def decide(call: Call) -> Then:
            if call.number < at.number:
                return Then.PERFORM
            disk.shut_down()
            return Then.KILL

        ended = bench.run(begun, data, decide)
        if ended.answer is not None:
            disk.shut_down()  # it took a call less this time
        disk.unmount()
        disk.mount()
        wrong = begun.broken(data, ended.heard) or bench.goes_on(begun, data)
    return [
        f"{sort.name}: {begun.operation.name}, cut before call {at.number} ({kind(at)}): {w}" for w in wrong
    ]


def images(
    bench: Bench,
    begun: Begun,
    sort: Kind,
    work: Path,
    wanted: Callable[[Call, Sequence[Words]], bool],
    leave_out: Callable[[Call, Sequence[Words]], bool] = lambda call, heard: False,
) -> Iterator[tuple[Cut, Path]]:
    """Run once and cut the power before each wanted call and after the last; each cut with its data directory.

    `leave_out` says which flushes are only pretended; then the image is of the disk without them.
    """
    taken: list[tuple[Cut, Disk]] = []
    with _prepared(begun, sort, work) as disk:
        child = bench.child(begun.operation.step, disk.root / "data")

        def cut(call: Call | None) -> None:
            taken.append((Cut(call, tuple(child.ended.heard)), disk.image(Path(mkdtemp(dir=work)))))

        def decide(call: Call) -> Then:
            if wanted(call, child.ended.heard):
                cut(call)
            return Then.PRETEND if call.flushes and leave_out(call, child.ended.heard) else Then.PERFORM

        child.run(decide)
        cut(None)
    for found, image in taken:
        with image.mounted():
            yield found, image.root / "data"
        image.remove()


@contextmanager
def _prepared(begun: Begun, sort: Kind, work: Path) -> Iterator[Disk]:
    at = Path(mkdtemp(dir=work))
    with Disk.make(sort, at) as disk:
        subprocess.run(("cp", "-a", str(begun.template), str(disk.root / "data")), check=True)
        disk.sync()
        yield disk
    shutil.rmtree(at)
