"""What is added to the copied bytes, or to their prediction: byte by byte, or only where it is not zero.

The second form is smaller and much faster to read where prediction leaves little, which is the rule for programs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import Corrupt
from ..extent import Stream
from .numbers import Ints
from .windows import Octets

MAX_RUNS = 1 << 19
"""Of all lanes: more than any patch that paid in this form had; 16 bytes of memory each."""

_SPARSE = 0.025
_DENSE = 0.05
"""Shares of bytes that are not zero: below the first only the runs are worth trying, above the second only all."""


class Differences(Protocol):
    """Window after window."""

    def add_to(self, copied: Octets) -> None:
        """Raises: Corrupt."""
        ...

    def end(self) -> None:
        """Raises: Corrupt, if anything is left."""
        ...


class Dense:
    """One byte for each copied one."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def add_to(self, copied: Octets) -> None:
        copied += np.frombuffer(self._stream.take(len(copied)), np.uint8)

    def end(self) -> None:
        self._stream.end()


class Sparse:
    """Runs of bytes that are not zero: `gaps` before them and their `sizes`. No run goes on into the next window."""

    def __init__(self, gaps: Ints, sizes: Ints, stream: Stream, where: str) -> None:
        self._sizes, self._stream, self._where = sizes, stream, where
        self._ends = np.cumsum(gaps + sizes)
        self._done = 0
        self._next = 0

    def add_to(self, copied: Octets) -> None:
        end = self._done + len(copied)
        after = int(np.searchsorted(self._ends, end, "right"))
        sizes = self._sizes[self._next : after]
        starts = self._ends[self._next : after] - sizes - self._done
        if len(starts):
            if int(starts[0]) < 0:
                raise Corrupt("runs inside a window", "one that goes on", self._where)
            total = int(sizes.sum())
            places = np.arange(total) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
            copied[places] += np.frombuffer(self._stream.take(total), np.uint8)
        self._done, self._next = end, after

    def end(self) -> None:
        if self._next != len(self._sizes):
            raise Corrupt("runs inside the copied bytes", "others", self._where)
        self._stream.end()


@dataclass(frozen=True)
class Runs:
    """The sparse form: columns, and the bytes of all runs."""

    gaps: Ints
    sizes: Ints
    data: bytes


def worth_trying(parts: Iterable[Octets], total: int) -> tuple[bool, bool]:
    """Whether the form with all bytes, and that with runs, are worth trying for differences of `total` bytes."""
    share = sum(int(np.count_nonzero(part)) for part in parts) / max(1, total)
    return share >= _SPARSE, share <= _DENSE


def runs(parts: Iterable[Octets]) -> Runs:
    """The runs in the differences of all windows of a lane."""
    starts, ends, data = [], [], []
    at = 0
    for part in parts:
        there = part != 0
        edges = np.flatnonzero(np.diff(there, prepend=False, append=False))
        starts.append(at + edges[::2])
        ends.append(at + edges[1::2])
        data.append(part[there].tobytes())
        at += len(part)
    first, last = (np.concatenate([np.zeros(0, np.int64), *found]) for found in (starts, ends))
    before = np.concatenate((np.zeros(min(1, len(last)), np.int64), last[:-1]))
    return Runs(first - before, last - first, b"".join(data))
