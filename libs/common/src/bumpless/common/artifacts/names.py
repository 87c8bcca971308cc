"""The codecs by name and number: what can be said of a package without importing what decodes it."""

from __future__ import annotations

import os

NAMES = ("raw", "xz", "zstd", "zstd-prefix", "bsdiff4", "aligned", "predicted", "deflated")
"""In the order of their numbers, which packages name them by; never reordered."""

_MASK_AT, _MASK_BYTES = 6, 2


def names_of(mask: int) -> list[str]:
    """The codecs whose bits are set."""
    return [name for number, name in enumerate(NAMES) if mask >> number & 1]


def announced(package: str | os.PathLike[str]) -> list[str]:
    """The codecs that a file announces if it is a package, which is not looked at here.

    Raises:
        OSError: it cannot be read.
    """
    with open(package, "rb", buffering=0) as file:
        head = file.read(_MASK_AT + _MASK_BYTES) or b""
    return names_of(int.from_bytes(head[_MASK_AT:], "little"))
