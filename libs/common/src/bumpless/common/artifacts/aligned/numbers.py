"""Whole columns of LEB128 numbers at once."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from ..errors import Corrupt
from ..leb128 import MAX_BYTES

Ints: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def decode(data: bytes, count: int, where: str) -> Ints:
    """Raises: Corrupt, unless `data` is exactly `count` numbers below 2**49."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if len(ends) != count or (count and ends[-1] != len(raw) - 1) or (not count and data):
        raise Corrupt(f"{count} numbers", f"{len(ends)} in {len(raw)} bytes", where)
    if len(raw) == count:
        return raw.astype(np.int64)
    starts = np.concatenate((np.zeros(min(count, 1), np.int64), ends[:-1] + 1))
    sizes = ends - starts + 1
    longest = int(sizes.max(initial=0))
    if longest > MAX_BYTES:
        raise Corrupt(f"numbers of at most {MAX_BYTES} bytes", f"{longest}", where)
    values = np.zeros(count, np.int64)
    for place in range(longest):
        there = np.flatnonzero(sizes > place)
        values[there] |= (raw[starts[there] + place] & 0x7F).astype(np.int64) << (7 * place)
    return values


def zigzag(values: Ints) -> Ints:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    return (values << 1) ^ (values >> 63)


def unzigzag(values: Ints) -> Ints:
    return (values >> 1) ^ -(values & 1)
