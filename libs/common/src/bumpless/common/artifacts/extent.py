"""Exact amounts in bounded memory: from a span of an open file, from a stream of pieces, into a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import Corrupt
from .limits import PIECE


@dataclass(frozen=True, slots=True)
class Extent:
    """`size` bytes of the file open as `fd`, from `start`; `name` is what errors call it."""

    fd: int
    start: int
    size: int
    name: str

    def read(self, at: int, count: int) -> bytes:
        """Exactly `count` bytes at `at`, which the caller knows to lie inside.

        Raises:
            Corrupt: the file ended before (it was cut while it was read).
        """
        parts: list[bytes] = []
        done = 0
        while done < count:
            part = os.pread(self.fd, count - done, self.start + at + done)
            if not part:
                raise Corrupt(f"{self.size} bytes", f"{at + done}", self.name)
            parts.append(part)
            done += len(part)
        return b"".join(parts)

    def pieces(self) -> Iterator[bytes]:
        for at in range(0, self.size, PIECE):
            yield self.read(at, min(PIECE, self.size - at))


class Bytes(Extent):
    """The same over bytes in memory."""

    __slots__ = ("_data",)
    _data: bytes

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(-1, 0, len(data), name)
        object.__setattr__(self, "_data", data)

    def read(self, at: int, count: int) -> bytes:
        return self._data[at : at + count]


class Stream:
    """Reads any amount from an iterator of pieces, holding one piece more than asked for at most."""

    def __init__(self, pieces: Iterator[bytes], name: str) -> None:
        self._pieces, self._name = pieces, name
        self._held = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes.

        Raises:
            Corrupt: the stream ends before.
        """
        end = self._at + count
        if end <= len(self._held):
            out = self._held[self._at : end]
            self._at = end
            return out
        parts = [self._held[self._at :]]
        left = count - len(parts[0])
        while left > 0:
            self._held = self._next(left)
            self._at = min(left, len(self._held))
            parts.append(self._held[: self._at])
            left -= self._at
        return b"".join(parts)

    def _next(self, count: int) -> bytes:
        piece = next(self._pieces, None)
        if piece is None:
            raise Corrupt(f"{count} more bytes", "none", self._name)
        return piece

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes, in pieces as they come."""
        while count > 0:
            if self._at == len(self._held):
                self._held, self._at = self._next(count), 0
            piece = self._held[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            yield piece

    def end(self) -> None:
        """Raises: Corrupt, if anything is left."""
        if self._at < len(self._held) or next(self._pieces, None) is not None:
            raise Corrupt("the end of the stream", "more bytes", self._name)


def write_all(fd: int, data: bytes) -> None:
    """`os.write` until everything is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
