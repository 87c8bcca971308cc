"""What references become when the places they name move: old bytes in, predicted new bytes out.

Where places go is known from the alignment, and from corrections of it. Nothing is carried from one window to the next.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..extent import Extent
from .corrections import Corrections, Corrector
from .image import SIZES, Image
from .numbers import Ints
from .references import Addresses, Fields, Finder, spans, store, values
from .windows import Alignment, Octets, Window

_STEPS = 8
_BEYOND = np.int64(1 << 62)
_SHORTEST = 8
"""Copies below this say little about where their surroundings went."""


class Mapping:
    """Old address to new address."""

    def __init__(self, alignment: Alignment, image: Image) -> None:
        long = np.flatnonzero(alignment.add >= _SHORTEST)
        order = long[np.argsort(alignment.old[long], kind="stable")]
        ends = (alignment.old + alignment.add)[order]
        # A copy inside another one says less than the longer one.
        reach = np.maximum.accumulate(ends)
        outer = np.ones(len(order), np.bool_)
        outer[1:] = ends[1:] > reach[:-1]
        order = order[outer]
        self._copies = _Sorted(np.append(np.int64(-1), alignment.old[order]))
        shifts = (alignment.new - alignment.old)[order]
        self._shifts = np.append(shifts[:1] if len(shifts) else np.int64(0), shifts)
        old_offsets, old_addresses, _ = spans(image.old_spans)
        new_offsets, new_addresses, _ = spans(image.new_spans)
        by_address = np.argsort(old_addresses, kind="stable")
        self._addresses = np.append(np.int64(-1), old_addresses[by_address])
        self._to_offset = np.append(np.int64(0), (old_offsets - old_addresses)[by_address])
        moved = (new_addresses - new_offsets) - (old_addresses - old_offsets)
        self._moved = np.append(np.int64(0), moved[by_address])

    def moved(self, addresses: Ints) -> Ints:
        """Where places go, from the alignment alone."""
        span = np.searchsorted(self._addresses, addresses, "right") - 1
        span = np.maximum(span, 0)
        offsets = addresses + self._to_offset[span]
        became: Ints = addresses + self._shifts[self._copies.last(offsets)] + self._moved[span]
        return became


class _Sorted:
    """A sorted column that begins with -1, with an index of its pages: several times faster than a search."""

    def __init__(self, column: Ints) -> None:
        self._column = np.append(column, _BEYOND)
        last = max(0, int(column[-1]))
        self._bits = max(0, last.bit_length() - len(column).bit_length() - 2)
        pages = np.arange((last >> self._bits) + 1) << self._bits
        self._pages = np.searchsorted(column, pages, "right") - 1

    def last(self, values: Ints) -> Ints:
        """The index of the last entry that is not above each value; negative ones count as 0."""
        values = np.minimum(np.maximum(values, 0), _BEYOND - 1)
        index: Ints = self._pages[np.minimum(values >> self._bits, len(self._pages) - 1)]
        left = np.flatnonzero(self._column[index + 1] <= values)
        for _ in range(_STEPS):
            if not len(left):
                return index
            index[left] += 1
            left = left[self._column[index[left] + 1] <= values[left]]
        index[left] = np.searchsorted(self._column[:-1], values[left], "right") - 1
        return index


class Predictor:
    """`predict` says what the copied bytes of a window become."""

    def __init__(
        self,
        alignment: Alignment,
        image: Image,
        corrections: Corrections,
        old: Extent,
        where: str,
    ) -> None:
        self._finder = Finder(image, old, where)
        self._mapping = Mapping(alignment, image)
        self._corrector = Corrector(corrections)
        self._old = Addresses(image.old_spans)
        self._new = Addresses(image.new_spans)

    def predict(self, window: Window, copied: Octets) -> Octets:
        """The predicted bytes; `copied` are the old ones and stay."""
        out = copied.copy()
        for fields in self._finder.fields(window, copied):
            if fields.kind in SIZES:
                self._sizes(fields, copied, out)
            else:
                self._references(fields, copied, out)
        return out

    def witness(self, window: Window, copied: Octets, became: Octets) -> Iterator[tuple[Ints, Ints, Ints]]:
        """For the encoder: of references in a window, the places they lead to, those in the new file, and those the
        alignment says."""
        for fields in self._finder.fields(window, copied):
            if fields.kind not in SIZES:
                fields, targets = fields.leading(copied, self._old)
                base = fields.base(fields.new, fields.rule.new_base, self._new)
                actual = fields.sign * values(became, fields.at, fields.width) + base
                yield targets, actual, self._mapping.moved(targets)

    def _references(self, fields: Fields, copied: Octets, out: Octets) -> None:
        fields, targets = fields.leading(copied, self._old)
        base = fields.base(fields.new, fields.rule.new_base, self._new)
        guessed = self._mapping.moved(targets)
        self._corrector.apply(targets, guessed)
        store(out, fields.at, fields.width, fields.sign * (guessed - base))

    def _sizes(self, fields: Fields, copied: Octets, out: Octets) -> None:
        fields, starts, sizes = fields.sized(copied, self._old)
        # The end may belong to what follows and was inserted before it; the last byte does not.
        value = self._mapping.moved(starts + sizes - 1) + 1 - self._mapping.moved(starts)
        store(out, fields.at, fields.width, np.where(value > 0, value, sizes))
