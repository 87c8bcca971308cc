"""Runs one command as one child and says what it cost.

Wall time, CPU time (user and system) and peak memory come from wait4(), which counts children the command waited for.
Peak memory of one process is not that of a pool: `with_workers` also samples what the whole process tree has in
memory at the same moment. The measuring process must stay small, because Linux lets a child start with the peak of the
process that spawned it; so it holds no file in memory.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

SAMPLE_S = 0.05


class CommandFailed(Exception):
    """A tool did not do what was asked; its words are in the message."""


@dataclass(frozen=True)
class Figures:
    """`rss_mib` is the largest process; with workers, the largest sum seen at one moment if that was more."""

    wall_s: float
    cpu_s: float
    rss_mib: float

    def as_json(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


def run(argv: Sequence[str | Path], *, out: Path | None = None, with_workers: bool = False) -> Figures:
    """The cost of `argv`, whose standard output goes to the file `out`, or nowhere.

    Raises:
        CommandFailed: it ended with another code than 0.
    """
    target = open(out, "wb") if out else subprocess.DEVNULL  # noqa: SIM115
    began = time.perf_counter()
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=target, stderr=subprocess.PIPE)
    sampler = _Sampler(process.pid) if with_workers else None
    words: list[bytes] = []
    reader = threading.Thread(target=lambda: words.append(process.stderr.read()))  # type: ignore[union-attr]
    reader.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    process.stderr.close()  # type: ignore[union-attr]
    if out:
        target.close()  # type: ignore[union-attr]
    peak = max(usage.ru_maxrss / 1024, sampler.stop() if sampler else 0.0)
    if process.returncode != 0:
        said = b"".join(words).decode(errors="replace").strip()[-2000:]
        raise CommandFailed(f"{' '.join(map(str, argv))} ended with {process.returncode}: {said}")
    return Figures(wall, usage.ru_utime + usage.ru_stime, peak)


def together(parts: Iterable[Figures]) -> Figures:
    """One after the other: times add up, memory does not."""
    every = list(parts)
    return Figures(sum(f.wall_s for f in every), sum(f.cpu_s for f in every), max(f.rss_mib for f in every))


def best(repeats: Iterable[Figures]) -> Figures:
    """The least time of several runs, and the most memory."""
    every = list(repeats)
    return Figures(min(f.wall_s for f in every), min(f.cpu_s for f in every), max(f.rss_mib for f in every))


class _Sampler:
    """The proportional set size of a process and its descendants, so shared pages count once."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak_kib = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> float:
        """The largest sum in MiB."""
        self._over.set()
        self._thread.join()
        return self._peak_kib / 1024

    def _work(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self._peak_kib = max(self._peak_kib, sum(_pss_kib(pid) for pid in _family(self._pid)))


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):  # it ended meanwhile
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                children = file.read().split()
            for child in children:
                yield from _family(int(child))


def _pss_kib(pid: int) -> int:
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
