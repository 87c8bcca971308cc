"""How two processes share the making of one result: it is cut into windows, and each makes every second one.

Neither needs anything of the other's windows. Who makes which follows from the codec and the size alone, so the reader
of a result knows it before anything of the package was looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

WINDOW = 1 << 18
"""Bytes of a result per window: large enough for numpy to be at full speed, small enough for learning to help."""

LANES = 2
_LANED = frozenset({"predicted"})
_SMALL = 4 * WINDOW
"""Results up to this size are made in one lane: they are soon done, and a second one costs bytes."""


def count(codec: str, size: int) -> int:
    """In how many lanes a result of `size` bytes is made; lane i has the windows i, i + lanes, ..."""
    return LANES if codec in _LANED and size > _SMALL else 1


def windows(size: int) -> Iterator[int]:
    """The sizes of the windows, in order."""
    return (min(WINDOW, size - at) for at in range(0, size, WINDOW))
