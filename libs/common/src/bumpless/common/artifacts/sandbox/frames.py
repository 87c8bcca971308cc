"""What `sandbox` and its `patcher` say to each other on their socket, as bytes.

The parent sends requests, each one message with its descriptors. The child sends frames, a header and a body each. What
comes from the child may be any bytes: it is read here without trust, and errors in it never gain a meaning that a
damaged package could not have.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from ..errors import ArtifactError, Corrupt, TooLarge, WrongBase
from .confine import Confinement, Measure

REQUEST = struct.Struct("<HHxxxxQQQQQ")
"""Number of the codec; WHOLE or the number of a lane; start and size of the blob, start and size of the base, size of the
result, with all its lanes.

With the descriptors of the blob and, where there is one, of the base.
"""

WHOLE = 0xFFFF

HEADER = struct.Struct("<BI")
"""Kind of a frame and size of its body."""

HELLO, DATA, LAST, ERROR = range(4)
"""HELLO, once: who the child is and how it is confined. DATA: bytes of the result, at least one. LAST: its last bytes, if any. ERROR,
in place of LAST: why there is no result."""

TEXT_MAX = 4096
"""Longest body of a HELLO or ERROR, in bytes."""

BLOB, BASE = "blob", "base"
"""What errors call the two on the wire; only the parent knows their names."""


def pack_hello(pid: int, confinement: Confinement) -> bytes:
    """The process's number, then a line for each measure, with a reason where it does not hold."""
    lines = [*confinement.active, *(f"{m} {reason}" for m, reason in confinement.missing.items())]
    return "\n".join((str(pid), *lines)).encode()


def unpack_hello(body: bytes) -> tuple[int, Confinement]:
    """What a child said that has read nothing yet, so it is believed."""
    pid, *lines = body.decode().splitlines()
    said = [line.partition(" ") for line in lines]
    return int(pid), Confinement(
        frozenset(Measure(name) for name, _, reason in said if not reason),
        {Measure(name): reason for name, _, reason in said if reason},
    )


def pack_error(error: ArtifactError) -> bytes:
    """Name and fields, separated by NUL."""
    text = "\0".join((type(error).__name__, *map(str, vars(error).values())))
    return text.encode(errors="backslashreplace")[:TEXT_MAX]


def unpack_error(body: bytes, place: Callable[[str], str]) -> ArtifactError | None:
    """The error, if it is of a kind that says no more than that these bytes are of no use; only printable characters.

    `place` gives the name for what the wire calls BLOB or BASE, with what follows.
    """
    parts = body.decode(errors="replace").split("\0")
    name, *fields = ("".join(c if c.isprintable() else "?" for c in part) for part in parts)
    match name, fields:
        case "Corrupt", [expected, found, where]:
            return Corrupt(expected, found, place(where))
        case "TooLarge", [limit, found, where] if limit.isdecimal() and found.isdecimal():
            return TooLarge(int(limit), int(found), place(where))
        case "WrongBase", [expected, found]:
            return WrongBase(expected, found)
    return None
