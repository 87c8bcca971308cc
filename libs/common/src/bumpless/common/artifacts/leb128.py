"""LEB128: numbers that are not negative, seven bits to the byte. (`aligned.numbers` reads whole columns faster.)"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .errors import Corrupt

MAX_BYTES = 7
"""Per number: 49 bits, so that sums of many stay far inside 64."""


def encode(values: Iterable[int]) -> bytes:
    """Raises: ValueError, for a negative number or one of 2**49 or more."""
    out = bytearray()
    for value in values:
        if not 0 <= value < 1 << (7 * MAX_BYTES):
            raise ValueError(f"expected a number from 0 to 2**49, found {value}")
        while value >= 0x80:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    return -((value + 1) >> 1) if value & 1 else value >> 1


class Reader:
    """Numbers and text from the front of `data`."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._at, self._where = data, 0, where

    def number(self) -> int:
        """Raises: Corrupt."""
        value = shift = 0
        while True:
            if self._at >= len(self._data) or shift > 7 * (MAX_BYTES - 1):
                raise Corrupt(f"numbers of at most {MAX_BYTES} bytes", "others, or the end", self._where)
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def numbers(self, count: int) -> list[int]:
        """Raises: Corrupt."""
        if count > len(self._data) - self._at:
            raise Corrupt(f"{count} numbers", f"{len(self._data) - self._at} bytes", self._where)
        return [self.number() for _ in range(count)]

    def strings(self) -> Iterator[str]:
        """What is left, as text that ends in NUL each. Raises: Corrupt."""
        while self._at < len(self._data):
            end = self._data.find(b"\0", self._at)
            if end < 0:
                raise Corrupt("names that end in NUL", "others", self._where)
            name, self._at = self._data[self._at : end], end + 1
            try:
                yield name.decode()
            except UnicodeDecodeError as error:
                raise Corrupt("names in UTF-8", str(error), self._where) from error
