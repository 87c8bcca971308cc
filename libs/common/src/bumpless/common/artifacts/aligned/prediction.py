"""What references become when the places they name move: old bytes in, predicted new bytes out.

Where places go is known from the alignment. Where that is wrong, the difference corrects it, and the corrected
address is remembered for later references to the same place. Encoder and decoder do the same in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..extent import Extent
from .image import SIZES, Image
from .numbers import Ints
from .references import Addresses, Fields, Finder, spans, store, values
from .windows import Alignment, Octets, Window

_SLOTS = 1 << 17
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
        self._known = np.full(_SLOTS, -1, np.int64)
        self._became = np.zeros(_SLOTS, np.int64)

    def moved(self, addresses: Ints) -> Ints:
        """Where places go, from the alignment alone."""
        span = np.searchsorted(self._addresses, addresses, "right") - 1
        span = np.maximum(span, 0)
        offsets = addresses + self._to_offset[span]
        became: Ints = addresses + self._shifts[self._copies.last(offsets)] + self._moved[span]
        return became

    def __call__(self, addresses: Ints) -> Ints:
        slots = _slots(addresses)
        return np.where(self._known[slots] == addresses, self._became[slots], self.moved(addresses))

    def learn(self, addresses: Ints, became: Ints) -> None:
        slots = _slots(addresses)
        self._known[slots] = addresses
        self._became[slots] = became


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
        values = np.clip(values, 0, _BEYOND - 1)
        page = np.clip(values >> self._bits, 0, len(self._pages) - 1)
        index: Ints = self._pages[page]
        for _ in range(_STEPS):
            ahead = self._column[index + 1] <= values
            if not ahead.any():
                return index
            index = index + ahead
        found: Ints = np.maximum(np.searchsorted(self._column, values, "right") - 1, 0)
        return found


@dataclass(frozen=True)
class _Guess:
    fields: Fields
    targets: Ints
    base: Ints
    guessed: Ints


class Predictor:
    """`predict` a window's copied bytes, then tell what they really became with `learn`; window after window."""

    def __init__(self, alignment: Alignment, image: Image, old: Extent, where: str) -> None:
        self._finder = Finder(image, old, where)
        self._mapping = Mapping(alignment, image)
        self._old = Addresses(image.old_spans)
        self._new = Addresses(image.new_spans)
        self._guesses: list[_Guess] = []

    def predict(self, window: Window, copied: Octets) -> Octets:
        """The predicted bytes; `copied` are the old ones and stay."""
        out = copied.copy()
        self._guesses = []
        for fields in self._finder.fields(window, copied):
            if fields.kind in SIZES:
                self._sizes(fields, copied, out)
            else:
                self._references(fields, copied, out)
        return out

    def learn(self, actual: Octets) -> None:
        for guess in self._guesses:
            became = guess.fields.sign * values(actual, guess.fields.at, guess.fields.width) + guess.base
            wrong = np.flatnonzero(became != guess.guessed)
            self._mapping.learn(guess.targets[wrong], became[wrong])

    def _references(self, fields: Fields, copied: Octets, out: Octets) -> None:
        fields, targets = fields.leading(copied, self._old)
        base = fields.base(fields.new, fields.rule.new_base, self._new)
        guessed = self._mapping(targets)
        store(out, fields.at, fields.width, fields.sign * (guessed - base))
        self._guesses.append(_Guess(fields, targets, base, guessed))

    def _sizes(self, fields: Fields, copied: Octets, out: Octets) -> None:
        fields, starts, sizes = fields.sized(copied, self._old)
        # The end may belong to what follows and was inserted before it; the last byte does not.
        value = self._mapping.moved(starts + sizes - 1) + 1 - self._mapping.moved(starts)
        store(out, fields.at, fields.width, np.where(value > 0, value, sizes))


def _slots(addresses: Ints) -> Ints:
    return ((addresses * np.int64(0x9E3779B97F4A7C1)) >> 40) & (_SLOTS - 1)
