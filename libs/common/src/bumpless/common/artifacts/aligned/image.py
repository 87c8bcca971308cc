"""What a delta tells of a program: where it is loaded, and rules for where its bytes name places in it.

A `Rule` says where in the old file such fields lie and how their value leads to an address. The rules come from the
encoder (`elf` finds them) and travel in the blob, so a decoder knows nothing of file formats. A rule that is wrong
costs bytes, never correctness: it changes a prediction, to which the difference is added.

Addresses are the program's virtual ones. Parts that are never loaded have the address UNLOADED + offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import IntEnum

from ..errors import Corrupt

UNLOADED = 1 << 44
ADDRESSES = 1 << 46
"""Addresses of a program end here: what x86-64 gives a process, and what fits the numbers of a blob."""

MAX_RULES = 256
MAX_SPANS = 64


class Kind(IntEnum):
    """How a value leads to an address. `width` and the signs are the field's, `at` its own address."""

    RELATIVE = 0
    """at + add + value"""
    BACKWARD = 1
    """at + add - value"""
    ABSOLUTE = 2
    """old_base + value"""
    SIZE_AFTER_RELATIVE = 3
    """The value is the size of what the RELATIVE field `add` bytes before leads to."""
    SIZE_AFTER_ABSOLUTE = 4
    """The value is the size of what the 8-byte ABSOLUTE field `add` bytes before leads to."""
    CODE = 5
    """x86-64 instructions between `start` and `start + count`: calls, jumps, and operands relative to what follows
    them. `low` and `high` bound what operands lead to, `old_base` and `new_base` what calls and jumps do."""


SIZES = (Kind.SIZE_AFTER_RELATIVE, Kind.SIZE_AFTER_ABSOLUTE)
_BEFORE = {Kind.SIZE_AFTER_RELATIVE: 4, Kind.SIZE_AFTER_ABSOLUTE: 8}
"""Width of the field before a size."""


class Shape(IntEnum):
    """Where the fields of a rule lie in the old file."""

    REGULAR = 0
    """start + i * stride, for i below count"""
    LISTED = 1
    """base + u32 at (start + i * stride) + delta"""
    ARRAY = 2
    """As LISTED, then 4 * j more for j below the u32 at `length_at` of the record (delta does not count)."""
    BYTE_ARRAY = 3
    """As ARRAY with a length of one byte, after 4 * the u32 at `skip_at`."""


@dataclass(frozen=True)
class Rule:
    """All offsets are in the old file. Only values that lead to between `low` and `high` count."""

    kind: Kind
    shape: Shape = Shape.REGULAR
    width: int = 4
    start: int = 0
    stride: int = 4
    count: int = 0
    add: int = 0
    old_base: int = 0
    new_base: int = 0
    low: int = 0
    high: int = ADDRESSES
    base: int = 0
    delta: int = 0
    length_at: int = 0
    skip_at: int = 0


FIELDS = 15


@dataclass(frozen=True)
class Span:
    """`size` bytes from `offset` of the file that are loaded at `address`."""

    offset: int
    address: int
    size: int


@dataclass(frozen=True)
class Image:
    """What the encoder tells of an old and a new program. Spans correspond by their place in the list."""

    old_spans: tuple[Span, ...]
    new_spans: tuple[Span, ...]
    rules: tuple[Rule, ...]

    def to_numbers(self) -> list[int]:
        spans = [
            n for pair in zip(self.old_spans, self.new_spans, strict=True) for s in pair for n in astuple(s)
        ]
        rules = [int(n) for rule in self.rules for n in astuple(rule)]
        return [len(self.old_spans), len(self.rules), *spans, *rules]

    @classmethod
    def from_numbers(cls, values: Sequence[int], where: str) -> Image:
        """Raises: Corrupt."""
        count = len(values)
        if count < 2 or values[0] > MAX_SPANS or values[1] > MAX_RULES:
            raise Corrupt(f"at most {MAX_SPANS} spans and {MAX_RULES} rules", f"{values[:2]}", where)
        spans, rules = values[0], values[1]
        if count != 2 + 6 * spans + FIELDS * rules:
            raise Corrupt(f"{2 + 6 * spans + FIELDS * rules} numbers", f"{count}", where)
        if max(values) > 2 * ADDRESSES:
            raise Corrupt(f"numbers up to {2 * ADDRESSES}", f"{max(values)}", where)
        places = [Span(*values[at : at + 3]) for at in range(2, 2 + 6 * spans, 3)]
        found = []
        for at in range(2 + 6 * spans, count, FIELDS):
            kind, shape, width, *rest = values[at : at + FIELDS]
            if kind > max(Kind) or shape > max(Shape) or width not in (4, 8):
                raise Corrupt("a rule of a known kind", f"{kind}, {shape}, {width}", where)
            rule = Rule(Kind(kind), Shape(shape), width, *rest)
            if not rule.stride or rule.add < _BEFORE.get(rule.kind, 0):
                raise Corrupt(
                    "fields one after the other", f"a stride of {rule.stride}, {rule.add} before", where
                )
            found.append(rule)
        return cls(tuple(places[::2]), tuple(places[1::2]), tuple(found))
