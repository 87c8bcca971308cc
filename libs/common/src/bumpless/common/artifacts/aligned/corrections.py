"""Places of a program that went elsewhere than the alignment says, as the encoder found when it had both ends.

They come with the image, so that every window can be predicted alone, in any lane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import Corrupt
from ..leb128 import encode
from . import numbers
from .image import Image
from .numbers import Ints

MOST = 1 << 17
"""Corrections of one program: 16 bytes of memory each, and a table of 1 MiB."""

_SLOTS = 1 << 18
_PAYS = 2
"""References that a correction must set right: fewer cost no more as differences."""


@dataclass(frozen=True)
class Corrections:
    """Old addresses, each once and ascending, and the new ones."""

    places: Ints
    became: Ints

    def to_numbers(self) -> list[int]:
        """Steps from place to place, then how far each one's way is from that of the one before."""
        ways = self.became - self.places
        steps, turns = (np.diff(column, prepend=np.int64(0)) for column in (self.places, ways))
        return [*steps.tolist(), *numbers.zigzag(turns).tolist()]

    @classmethod
    def from_numbers(cls, values: Ints, where: str) -> Corrections:
        """Raises: Corrupt."""
        if len(values) > 2 * MOST:
            raise Corrupt(f"at most {MOST} corrections", f"{len(values) // 2}", where)
        count = len(values) // 2
        places = np.cumsum(values[:count])
        return cls(places, places + np.cumsum(numbers.unzigzag(values[count:])))


NONE = Corrections(np.zeros(0, np.int64), np.zeros(0, np.int64))


class Corrector:
    """Finds corrections fast. Of several that share a slot the last one counts."""

    def __init__(self, corrections: Corrections) -> None:
        self._places = np.append(np.int64(-1), corrections.places)
        self._became = np.append(np.int64(0), corrections.became)
        self._slots = np.zeros(_SLOTS, np.int32)
        self._slots[_slots(corrections.places)] = np.arange(1, len(self._places), dtype=np.int32)

    def apply(self, addresses: Ints, moved: Ints) -> None:
        """Replace in `moved`, where the alignment says that `addresses` go, what is known better."""
        if len(self._places) == 1:
            return
        found = self._slots[_slots(addresses)]
        known = np.flatnonzero(self._places[found] == addresses)
        moved[known] = self._became[found[known]]


def pack(image: Image, corrections: Corrections) -> bytes:
    """Both as one column: the number of corrections, the image, the corrections."""
    return encode([len(corrections.places), *image.to_numbers(), *corrections.to_numbers()])


def unpack(data: bytes, where: str) -> tuple[Image, Corrections]:
    """Raises: Corrupt."""
    values = numbers.decode(data, sum(byte < 0x80 for byte in data), where)
    first = len(values) - 2 * int(values[0]) if len(values) else 0
    if first < 1:
        raise Corrupt("an image and its corrections", f"{len(values)} numbers", where)
    image = Image.from_numbers(values[1:first].tolist(), where)
    return image, Corrections.from_numbers(values[first:], where)


def choose(places: Ints, became: Ints, moved: Ints) -> Corrections:
    """For the encoder: those that pay, of all references by the places they lead to, where those really went, and where
    the alignment says they go."""
    if not len(places):
        return NONE
    order = np.lexsort((became, places))
    places, became, moved = places[order], became[order], moved[order]
    firsts = np.flatnonzero(_changes(places) | _changes(became))
    counts = np.diff(np.append(firsts, len(places)))
    places, became, right = places[firsts], became[firsts], moved[firsts] == became[firsts]
    # The way that most references to a place went, against those that are right without a correction.
    groups = np.flatnonzero(_changes(places))
    group = np.cumsum(_changes(places)) - 1
    already = np.add.reduceat(np.where(right, counts, 0), groups)
    most = np.maximum.reduceat(counts, groups)
    best = np.flatnonzero((counts == most[group]) & ~right)
    best = best[_changes(places[best])]
    gain = counts[best] - already[group[best]]
    pays = best[gain >= _PAYS]
    if len(pays) > MOST:
        gain = gain[gain >= _PAYS]
        pays = np.sort(pays[np.argsort(-gain, kind="stable")[:MOST]])
    return Corrections(places[pays], became[pays])


def _changes(column: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether an entry differs from the one before."""
    changes = np.ones(len(column), np.bool_)
    changes[1:] = column[1:] != column[:-1]
    return changes


def _slots(addresses: Ints) -> Ints:
    return ((addresses * np.int64(0x9E3779B97F4A7C1)) >> 40) & (_SLOTS - 1)
