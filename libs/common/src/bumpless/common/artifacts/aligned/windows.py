"""The walk over an alignment: what of the old file goes where in the new one, in windows of bounded size.

An alignment is a list of operations in the order of the new file: copy `add` bytes from `old` (something is added to
them), then `extra` new bytes. Encoder and decoder walk the same windows, so whatever is predicted inside a window is
the same on both ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from ..extent import Extent
from ..lanes import WINDOW
from .numbers import Ints

Octets: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

_NEAR = 1 << 11
"""Reads of the old file that are closer than this become one."""

_BETWEEN = 1 << 24
"""Bytes of the old file that are read for nothing, at most: a window may hold as many copies as bytes."""


@dataclass(frozen=True)
class Alignment:
    """One entry per operation; `old` is where its copy begins."""

    old: Ints
    add: Ints
    extra: Ints

    @property
    def new(self) -> Ints:
        """Where each operation begins in the new file."""
        sizes = self.add + self.extra
        begins: Ints = np.cumsum(sizes) - sizes
        return begins

    @property
    def size(self) -> int:
        """Bytes of the new file."""
        return int(self.add.sum() + self.extra.sum())


@dataclass(frozen=True)
class Window:
    """The copies in one window. Copy i takes `size[i]` bytes from `old[i]` of the old file to `new[i]` of the new one;
    they lie one after the other in the window's copied bytes, from `at[i]`. All other bytes, `extra` of them, are
    inserted."""

    start: int
    old: Ints
    new: Ints
    size: Ints
    at: Ints
    copied: int
    extra: int

    def spread(self, copied: Octets, extra: bytes) -> bytes:
        """The window's bytes in order."""
        if not self.extra:
            return copied.tobytes()
        if not self.copied:
            return extra
        copied_to = np.append(0, self.at + self.size).tolist()
        inserted_to = [0, *(self.new - self.start - self.at).tolist(), self.extra]
        data = copied.data
        parts: list[memoryview | bytes] = [b""] * (2 * len(copied_to) - 1)
        parts[::2] = [extra[at:end] for at, end in pairwise(inserted_to)]
        parts[1::2] = [data[at:end] for at, end in pairwise(copied_to)]
        return b"".join(parts)

    def parted(self, data: Octets) -> tuple[Octets, Octets]:
        """Of the window's bytes in order, those that stand where copies go, and the others."""
        here = np.zeros(len(data), np.bool_)
        here[np.arange(self.copied) + np.repeat(self.new - self.start - self.at, self.size)] = True
        return data[here], data[~here]


def windows(alignment: Alignment, lane: int = 0, lanes: int = 1) -> Iterator[Window]:
    """Every window, or those of one of several lanes."""
    begins = alignment.new
    total = alignment.size
    for start in range(lane * WINDOW, total, lanes * WINDOW):
        end = min(total, start + WINDOW)
        first = int(np.searchsorted(begins, start, "right")) - 1
        last = int(np.searchsorted(begins, end, "left"))
        new = begins[first:last]
        # What the window's edges leave of the operations: only the first and the last one can be cut.
        from_ = np.maximum(new, start)
        size = np.clip(np.minimum(new + alignment.add[first:last], end) - from_, 0, None)
        there = np.flatnonzero(size)
        sizes = size[there]
        ends = np.cumsum(sizes)
        here = int(ends[-1]) if len(ends) else 0
        yield Window(
            start=start,
            old=(alignment.old[first:last] + from_ - new)[there],
            new=from_[there],
            size=sizes,
            at=ends - sizes,
            copied=here,
            extra=end - start - here,
        )


def gather(source: Extent, starts: Ints, sizes: Ints) -> Octets:
    """The spans of `source` one after the other. Spans near each other are read at once."""
    if not len(starts):
        return np.empty(0, np.uint8)
    order = np.argsort(starts, kind="stable")
    begins, ends = starts[order], (starts + sizes)[order]
    reach = np.maximum.accumulate(ends)
    near = min(_NEAR, _BETWEEN // len(order))
    cuts = np.flatnonzero(begins[1:] > reach[:-1] + near) + 1
    firsts, lasts = np.append(0, cuts), np.append(cuts, len(order)) - 1
    froms, sizes_read = begins[firsts], reach[lasts] - begins[firsts]
    held = memoryview(
        b"".join(map(source.read, froms.tolist(), sizes_read.tolist()))
        if len(firsts) > 1
        else source.read(int(froms[0]), int(sizes_read[0]))
    )
    # Where each span lies in what was read.
    places = np.empty(len(order), np.int64)
    bases = np.cumsum(sizes_read) - sizes_read - froms
    places[order] = begins + np.repeat(bases, lasts - firsts + 1)
    parts = [held[at:end] for at, end in zip(places.tolist(), (places + sizes).tolist(), strict=True)]
    # Spans are long enough that joining slices beats an index for every byte.
    return np.frombuffer(bytearray().join(parts), np.uint8)
