"""The walk over an alignment: what of the old file goes where in the new one, in windows of bounded size.

An alignment is a list of operations in the order of the new file: copy `add` bytes from `old` (something is added to
them), then `extra` new bytes. Encoder and decoder walk the same windows, so whatever is predicted inside a window is
the same on both ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..extent import Extent
from .numbers import Ints

Octets: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Flags: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

WINDOW = 1 << 18
"""Bytes of the new file per window: large enough for numpy to be at full speed, small enough for learning to help."""

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
    they lie one after the other in the window's copied bytes, from `at[i]`. `mask` says which bytes of the window are
    copied; the others are extra."""

    old: Ints
    new: Ints
    size: Ints
    at: Ints
    copied: int
    extra: int
    mask: Flags

    def spread(self, copied: Octets, extra: Octets) -> Octets:
        """The window's bytes in order."""
        if not self.extra:
            return copied
        if not self.copied:
            return extra
        out = np.empty(len(self.mask), np.uint8)
        out[self.mask] = copied
        out[~self.mask] = extra
        return out


def windows(alignment: Alignment) -> Iterator[Window]:
    begins = alignment.new
    total = alignment.size
    for start in range(0, total, WINDOW):
        end = min(total, start + WINDOW)
        first = int(np.searchsorted(begins, start, "right")) - 1
        last = int(np.searchsorted(begins, end, "left"))
        new = begins[first:last]
        # What the window's edges leave of the operations: only the first and the last one can be cut.
        from_ = np.maximum(new, start)
        size = np.clip(np.minimum(new + alignment.add[first:last], end) - from_, 0, None)
        follows = np.append(
            new[1:], min(end, int(new[-1] + alignment.add[last - 1] + alignment.extra[last - 1]))
        )
        extra = np.minimum(follows, end) - from_ - size
        flags = np.tile(np.array([True, False]), len(new))
        mask = np.repeat(flags, np.column_stack((size, extra)).ravel())
        there = np.flatnonzero(size)
        size = size[there]
        yield Window(
            old=(alignment.old[first:last] + from_ - new)[there],
            new=from_[there],
            size=size,
            at=np.cumsum(size) - size,
            copied=int(size.sum()),
            extra=int(extra.sum()),
            mask=mask,
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
