"""Finds the fields of a window that name places in the program, by the rules of an `Image`, and reads where they lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import Corrupt
from ..extent import Extent
from .image import SIZES, UNLOADED, Image, Kind, Rule, Shape, Span
from .numbers import Ints
from .windows import Octets, Window, gather

MAX_POSITIONS = 1 << 21
"""Fields whose positions are listed, over all rules: 8 bytes of memory each."""

_LONGEST_ARRAY = 64
"""An array that claims more fields than this is none."""

_AT_ONCE = 1 << 14
_SPAN = 1 << 21


@dataclass(frozen=True)
class Fields:
    """Fields of one kind in the copied bytes of a window: `at` is where they begin there, `old` and `new` where they
    lie in the files. `kind`, `add` and `width` are as in a rule; for instructions they differ from `rule`'s."""

    rule: Rule
    kind: Kind
    add: int
    width: int
    at: Ints
    old: Ints
    new: Ints

    @property
    def sign(self) -> int:
        """Of the value, in the address."""
        return -1 if self.kind is Kind.BACKWARD else 1

    def base(self, places: Ints, base: int, addresses: Addresses) -> Ints:
        """The address less the value, at `places` of a file whose absolute fields count from `base`."""
        if self.kind is Kind.ABSOLUTE:
            return np.full(len(places), base, np.int64)
        return addresses(places) + self.add

    def leading(self, data: Octets, addresses: Addresses) -> tuple[Fields, Ints]:
        """Those that lead to where the rule allows, and the addresses they lead to."""
        targets = self.base(self.old, self.rule.old_base, addresses) + self.sign * values(
            data, self.at, self.width
        )
        if self.rule.kind is Kind.CODE:
            return self, targets
        good = np.flatnonzero((targets >= self.rule.low) & (targets < self.rule.high))
        return self._only(good), targets[good]

    def sized(self, data: Octets, addresses: Addresses) -> tuple[Fields, Ints, Ints]:
        """Of sizes: those of something the rule allows, where that begins, and the sizes."""
        sizes = values(data, self.at, self.width)
        before = self.at - self.add
        if self.kind is Kind.SIZE_AFTER_RELATIVE:
            starts = addresses(self.old - self.add) + values(data, before, 4)
        else:
            starts = self.rule.old_base + values(data, before, 8)
        good = np.flatnonzero((starts >= self.rule.low) & (starts < self.rule.high) & (sizes > 0))
        return self._only(good), starts[good], sizes[good]

    def _only(self, chosen: Ints) -> Fields:
        return Fields(
            self.rule, self.kind, self.add, self.width, self.at[chosen], self.old[chosen], self.new[chosen]
        )


class Addresses:
    """Offset in a file to address; what no span loads has an address of its own."""

    def __init__(self, parts: tuple[Span, ...]) -> None:
        loaded = [s for s in parts if s.address < UNLOADED]
        self._offsets, self._addresses, self._sizes = spans(sorted(loaded, key=lambda s: s.offset))

    def __call__(self, offsets: Ints) -> Ints:
        if not len(self._offsets):
            return offsets + UNLOADED
        span = np.maximum(np.searchsorted(self._offsets, offsets, "right") - 1, 0)
        inside = offsets - self._offsets[span]
        loaded = (inside >= 0) & (inside < self._sizes[span])
        return np.where(loaded, self._addresses[span] + inside, offsets + UNLOADED)


class Finder:
    """Finds the fields of every window. Holds the positions of rules that list them."""

    def __init__(self, image: Image, old: Extent, where: str) -> None:
        self._rules, self._where = image.rules, where
        self._listed: dict[Rule, Ints] = {}
        tables = _Tables(old, where)
        for rule in image.rules:
            if rule.shape is not Shape.REGULAR:
                self._listed[rule] = tables.positions(rule)

    def fields(self, window: Window, copied: Octets) -> list[Fields]:
        """Those that lie in one copy each; disjoint as far as the rules are."""
        found: list[Fields] = []
        ends = window.old + window.size
        low, high = int(window.old.min(initial=1 << 60)), int(ends.max(initial=0))
        for rule in self._rules:
            if rule.kind is Kind.CODE:
                if rule.start < high and rule.start + rule.count > low:
                    found += _instructions(rule, window, copied)
            else:
                begin, end = self._extent(rule)
                if begin < high and end > low:
                    one = self._tabled(rule, window, ends)
                    if len(one.at):
                        found.append(one)
            # The predictor holds all fields of a window. Those of a program hardly overlap.
            if sum(len(fields.at) for fields in found) > len(copied):
                raise Corrupt(f"at most {len(copied)} fields", "more", self._where)
        return found

    def _extent(self, rule: Rule) -> tuple[int, int]:
        if rule.shape is Shape.REGULAR:
            return rule.start, rule.start + rule.stride * rule.count
        listed = self._listed[rule]
        return (int(listed[0]), int(listed[-1]) + rule.width) if len(listed) else (0, 0)

    def _tabled(self, rule: Rule, window: Window, ends: Ints) -> Fields:
        listed = self._listed.get(rule)
        # A size is predicted from the field before it, which must be in the same copy.
        back = rule.add if rule.kind in SIZES else 0
        if listed is None:
            stride = max(1, rule.stride)
            first = -(-(window.old + back - rule.start) // stride)
            after = (ends - rule.width - rule.start) // stride + 1
            first, after = np.clip(first, 0, rule.count), np.clip(after, 0, rule.count)
        else:
            first = np.searchsorted(listed, window.old + back)
            after = np.searchsorted(listed, ends - rule.width, "right")
        counts = np.maximum(after - first, 0)
        piece = np.repeat(np.arange(len(counts)), counts)
        index = np.arange(len(piece)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        old = rule.start + index * rule.stride if listed is None else listed[index]
        inside = old - window.old[piece]
        return Fields(
            rule, rule.kind, rule.add, rule.width, window.at[piece] + inside, old, window.new[piece] + inside
        )


class _Tables:
    """Positions that rules list, with each table read once. Positions of all rules together are bounded."""

    def __init__(self, old: Extent, where: str) -> None:
        self._old, self._where = old, where
        self._left = MAX_POSITIONS
        self._records: dict[tuple[int, int, int, int], Ints] = {}

    def positions(self, rule: Rule) -> Ints:
        """Sorted, each once. Raises: Corrupt."""
        old = self._old
        records = self._heads(rule)
        found: Ints
        if rule.shape is Shape.LISTED:
            found = records + rule.delta
        else:
            ends = records + max(rule.length_at, rule.skip_at) + 4
            records = records[(records >= 0) & (ends <= old.size)]
            counts = self._u32(records + rule.length_at)
            skip: Ints = np.zeros(len(records), np.int64)
            if rule.shape is Shape.BYTE_ARRAY:
                counts = counts & 0xFF
                skip = 4 * self._u32(records + rule.skip_at)
            counts[counts > _LONGEST_ARRAY] = 0
            self._check(int(counts.sum()), rule)
            each = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
            found = np.repeat(records + rule.delta + skip, counts) + 4 * each
        self._check(len(found), rule)
        # What was read counts too: many positions may turn out to be one.
        self._left -= max(rule.count, len(found))
        found = np.sort(found[(found >= 0) & (found + rule.width <= old.size)])
        # Not np.unique, which imports modules when it is called: a process without access to files may be here.
        once: Ints = found[np.append(True, np.diff(found) > 0)[: len(found)]]
        return once

    def _heads(self, rule: Rule) -> Ints:
        """Where the records begin that the table of the rule names."""
        key = (rule.start, rule.stride, rule.count, rule.base)
        if key not in self._records:
            self._check(rule.count, rule)
            if rule.count and rule.start + rule.stride * (rule.count - 1) + 4 > self._old.size:
                raise Corrupt(
                    f"a table inside {self._old.size} bytes",
                    f"{rule.count} entries at {rule.start}",
                    self._where,
                )
            self._records[key] = rule.base + self._u32(rule.start + rule.stride * np.arange(rule.count))
        return self._records[key]

    def _check(self, count: int, rule: Rule) -> None:
        if count > self._left:
            raise Corrupt(f"at most {MAX_POSITIONS} listed fields", f"{rule.count} records", self._where)

    def _u32(self, at: Ints) -> Ints:
        """The numbers at these places, which lie inside the file."""
        out = np.empty(len(at), np.int64)
        for begin in range(0, len(at), _AT_ONCE):
            part = at[begin : begin + _AT_ONCE]
            low, high = int(part.min()), int(part.max()) + 4
            if high - low <= _SPAN:
                held = np.frombuffer(self._old.read(low, high - low), np.uint8)
                found = values(held, part - low, 4)
            else:
                found = values(gather(self._old, part, np.full(len(part), 4)), 4 * np.arange(len(part)), 4)
            out[begin : begin + len(part)] = found & 0xFFFFFFFF
        return out


def _instructions(rule: Rule, window: Window, copied: Octets) -> list[Fields]:
    if len(copied) < 6:
        return []
    # The last byte before a field of four: a call or jump; the second byte of a conditional jump; a ModR/M byte with
    # mod 0 and r/m 5, whose operand lies relative to the next instruction. No byte is two of them.
    before = copied[:-4]
    near = (before & 0xFE) == 0xE8
    near[1:] |= (before[:-1] == 0x0F) & ((before[1:] & 0xF0) == 0x80)
    starts = np.flatnonzero(near | ((before & 0xC7) == 0x05))
    near = near[starts]
    starts += 1
    found = values(copied, starts, 4)
    # Most bytes that look like an instruction are none, and lead further than the program is long.
    reach = max(rule.high, rule.new_base)
    likely = np.flatnonzero((found < reach) & (found > -reach))
    starts, near, found = starts[likely], near[likely], found[likely]
    # The copy of each: both columns are sorted, and there are fewer copies.
    firsts = np.append(np.searchsorted(starts, window.at), len(starts))
    piece = np.repeat(np.arange(len(window.at)), np.diff(firsts))
    inside = starts - window.at[piece]
    old = window.old[piece] + inside
    # The opcode must be in the same copy: what stands before another copy is no part of the instruction.
    fits = (
        (inside >= 1)
        & (inside + 4 <= window.size[piece])
        & (old >= rule.start)
        & (old + 4 <= rule.start + rule.count)
    )
    starts, near, old = starts[fits], near[fits], old[fits]
    new = window.new[piece[fits]] + inside[fits]
    address = old + rule.delta + 4 + found[fits]
    low, high = np.where(near, rule.old_base, rule.low), np.where(near, rule.new_base, rule.high)
    good = np.flatnonzero((address >= low) & (address < high))
    keep = good[_apart(starts[good], 4)]
    return [Fields(rule, Kind.RELATIVE, 4, 4, starts[keep], old[keep], new[keep])]


def _apart(starts: Ints, width: int) -> Ints:
    """Indices of a choice in which no two overlap: each that its predecessor leaves free, in three rounds."""
    chosen = np.zeros(len(starts), np.bool_)
    open_ = np.arange(len(starts))
    for _ in range(3):
        if not len(open_):
            break
        free = np.ones(len(open_), np.bool_)
        free[1:] = np.diff(starts[open_]) >= width
        chosen[open_[free]] = True
        last = np.maximum.accumulate(np.where(free, open_, -1))
        open_ = open_[~free & (starts[open_] >= starts[last] + width)]
    return np.flatnonzero(chosen)


def values(data: Octets, at: Ints, width: int) -> Ints:
    """The little-endian numbers at `at`; four bytes are signed."""
    found: Ints = _numbers(data, width)[at].astype(np.int64)
    return found


def store(data: Octets, at: Ints, width: int, new: Ints) -> None:
    """Write the low `width` bytes of each number at `at`, in this order."""
    _numbers(data, width)[at] = new


def _numbers(data: Octets, width: int) -> Ints:
    """The number that begins at each byte; shares memory with `data`."""
    return np.ndarray((max(0, len(data) - width + 1),), "<i4" if width == 4 else "<i8", data, 0, (1,))


def spans(parts: Sequence[Span]) -> tuple[Ints, Ints, Ints]:
    """Offsets, addresses and sizes as columns."""
    return (
        np.array([s.offset for s in parts], np.int64),
        np.array([s.address for s in parts], np.int64),
        np.array([s.size for s in parts], np.int64),
    )
