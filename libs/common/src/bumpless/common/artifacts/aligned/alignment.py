"""Finds what of an old file stands where in a new one. For the encoder only.

bsdiff's suffix sorting (Percival 2003) aligns the bytes. Programs are aligned with their references put aside, and
then again with each reference replaced by the place it leads to, old places moved to where the first alignment says
they went: entries of tables then match those that name the same thing, not those that look alike.
"""

from __future__ import annotations

import numpy as np
from bsdiff4 import core

from ..errors import Corrupt
from ..extent import Bytes
from ..limits import MIB
from ..workers import Workers
from . import elf
from .image import SIZES, Image
from .numbers import Ints
from .prediction import Mapping
from .references import Addresses, Fields, Finder, store
from .windows import Alignment, Octets, Window

PART = 40 * MIB
"""Files are aligned in parts of the new one that are no longer, each against its surroundings in the old one: sorting
takes 18 bytes of memory per byte of the old part."""

_AROUND = 5 * MIB
_PER_BYTE = 20
SHORT = 24
"""A copy shorter than this costs more in operations than it saves."""

_SHORT_GAP = 16
_TWICE_MAX = 32 * MIB
"""Programs up to this size are aligned by their references twice: the second time gains a little, mostly for small ones."""
_STEP = 4 * MIB


def align(old: bytes, new: bytes, workers: Workers) -> Alignment:
    parts = max(1, -(-max(len(old), len(new)) // PART))

    def one(part: int) -> list[list[int]]:
        begin, end = (len(new) * (part + i) // parts for i in (0, 1))
        low, high = 0, len(old)
        if parts > 1:
            low = max(0, len(old) * part // parts - _AROUND)
            high = min(len(old), len(old) * (part + 1) // parts + _AROUND)
        with workers.holding(_PER_BYTE * (high - low)):
            control, _, _ = core.diff(old[low:high], new[begin:end])
        return _operations(control, low)

    found = [operation for part in workers.parts(one, range(parts)) for operation in part]
    rows = np.array(found, np.int64).reshape(-1, 3)
    return Alignment(rows[:, 0], rows[:, 1], rows[:, 2])


def align_programs(old: elf.Program, new: elf.Program, image: Image, workers: Workers) -> Alignment:
    """As `align`, for two programs whose `image` leads from the old to the new one.

    Raises: Corrupt, for damaged programs whose rules ask for more than a decoder allows.
    """
    back = elf.image(new, old)
    if back is None:
        raise Corrupt("programs that lead to each other", "others", "program")
    target = _with_places(new.data, back, None, hashed=False)
    source = _with_places(old.data, image, None, hashed=False)
    found = coarse(align(source, target, workers))
    target = _with_places(new.data, back, None, hashed=True)
    for _ in range(2 if len(old.data) <= _TWICE_MAX else 1):
        mapping = Mapping(found, image)
        source = _with_places(old.data, image, mapping, hashed=True)
        found = coarse(align(source, target, workers))
    return found


def coarse(alignment: Alignment, shortest: int = SHORT) -> Alignment:
    """The alignment without copies of less than `shortest` bytes, and without gaps between copies that go on as if there
    was none."""
    kept: list[list[int]] = []
    for old, add, extra in zip(
        alignment.old.tolist(), alignment.add.tolist(), alignment.extra.tolist(), strict=True
    ):
        if add < shortest and kept:
            kept[-1][2] += add + extra
        else:
            kept.append([old, add, extra])
    joined: list[list[int]] = []
    for old, add, extra in kept:
        if joined:
            last = joined[-1]
            if last[2] <= _SHORT_GAP and old == last[0] + last[1] + last[2]:
                last[1] += last[2] + add
                last[2] = extra
                continue
        joined.append([old, add, extra])
    rows = np.array(joined, np.int64).reshape(-1, 3)
    return Alignment(rows[:, 0], rows[:, 1], rows[:, 2])


def _operations(control: bytes, shift: int) -> list[list[int]]:
    """bsdiff's control block, whose numbers are sign and magnitude, as [old, add, extra]."""
    raw = np.frombuffer(control, "<u8").reshape(-1, 3)
    magnitude = (raw & np.uint64((1 << 63) - 1)).astype(np.int64)
    add, extra, seek = np.where(raw >> np.uint64(63), -magnitude, magnitude).T
    moves = add + seek
    old = shift + np.cumsum(moves) - moves
    there = (add > 0) | (extra > 0)
    rows: list[list[int]] = np.column_stack((old, add, extra))[there].tolist()
    return rows


def _with_places(data: bytes, image: Image, mapping: Mapping | None, *, hashed: bool) -> bytes:
    """`data` with every reference replaced by a mark of the place it leads to; by zeros if not `hashed`."""
    old = np.frombuffer(data, np.uint8)
    out = old.copy()
    finder = Finder(image, Bytes(data, "program"), "program")
    addresses = Addresses(image.old_spans)
    for start in range(0, len(data), _STEP):
        size = min(_STEP, len(data) - start)
        place = np.full(1, start, np.int64)
        window = Window(start, place, place, np.full(1, size), np.zeros(1, np.int64), size, 0)
        part = old[start : start + size]
        for fields in finder.fields(window, part):
            at, marks = _marks(fields, part, addresses, mapping)
            store(out[start : start + size], at, fields.width, marks if hashed else marks * 0)
    return out.tobytes()


def _marks(fields: Fields, data: Octets, addresses: Addresses, mapping: Mapping | None) -> tuple[Ints, Ints]:
    """Where the fields that lead somewhere are, and a number for where each leads."""

    def moved(places: Ints) -> Ints:
        return mapping.moved(places) if mapping is not None else places

    if fields.kind in SIZES:
        sizes, starts, lengths = fields.sized(data, addresses)
        return sizes.at, moved(starts + lengths - 1) - moved(starts)
    references, targets = fields.leading(data, addresses)
    # Multiplied, so that places near each other look nothing alike.
    return references.at, (moved(targets) * np.int64(0x9E3779B97F4A7C1)) >> 16
