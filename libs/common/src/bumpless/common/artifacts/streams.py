"""Compressed streams, read with bounded memory and never further than asked."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from backports import zstd

from .errors import Corrupt
from .extent import Extent
from .limits import MIB, PIECE, XZ_DICT, XZ_MEMORY


class Decompressor(Protocol):
    """What `bz2`, `lzma` and `zstd` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def inflate(decompressor: Decompressor, pieces: Iterable[bytes], where: str) -> Iterator[bytes]:
    """The decompressed stream in pieces of at most PIECE bytes, however much a piece expands to.

    Raises:
        Corrupt: the stream is damaged, ends early, or is followed by other bytes.
    """
    for piece in pieces:
        if decompressor.eof:
            raise Corrupt("nothing after the compressed stream", "more bytes", where)
        data = piece
        while True:
            try:
                out = decompressor.decompress(data, PIECE)
            except (lzma.LZMAError, zstd.ZstdError, OSError, ValueError, EOFError) as error:
                # bz2 reports damage as OSError; nothing is read from a file in here.
                raise Corrupt("an intact compressed stream", str(error), where) from error
            if out:
                yield out
            data = b""
            if decompressor.eof or decompressor.needs_input:
                break
    if not decompressor.eof or decompressor.unused_data:
        found = "more bytes" if decompressor.eof else "an early end"
        raise Corrupt("one complete compressed stream", found, where)


def xz_compress(data: bytes) -> bytes:
    # The dictionary never exceeds the data, so that decoding a small blob needs little memory.
    size = min(XZ_DICT, max(4096, len(data)))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size}]
    return lzma.compress(data, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=filters)


def xz_decompressor() -> Decompressor:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


@dataclass(frozen=True)
class Coder:
    """How one stream inside a patch is compressed. The row in CODERS is its number."""

    encode: Callable[[bytes], bytes]
    decode: Callable[[Extent], Iterator[bytes]]


_LZMA_DICT = 4 * MIB
_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": _LZMA_DICT}]


def _lzma_encode(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=_LZMA)


def _lzma_decode(blob: Extent) -> Iterator[bytes]:
    # The dictionary is there from the first piece that is asked for to the last.
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": _LZMA_DICT}]
    yield from inflate(
        lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=filters), blob.pieces(), blob.name
    )


def _bz2_decode(blob: Extent) -> Iterator[bytes]:
    yield from inflate(bz2.BZ2Decompressor(), blob.pieces(), blob.name)


CODERS: tuple[Coder, ...] = (
    Coder(lambda data: data, lambda blob: blob.pieces()),
    Coder(_lzma_encode, _lzma_decode),
    Coder(bz2.compress, _bz2_decode),
)
"""LZMA codes dense differences best, bzip2 the long runs of zeros of files that hardly differ."""


def smallest_coding(data: bytes) -> tuple[int, bytes]:
    """The number of the coder that makes `data` smallest, and what it makes."""
    coded = [(len(blob), number, blob) for number, blob in enumerate(coder.encode(data) for coder in CODERS)]
    _, number, blob = min(coded)
    return number, blob
