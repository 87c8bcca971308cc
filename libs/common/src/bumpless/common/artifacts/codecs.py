"""How the bytes of one file, or of a solid group of files, are coded in a package.

A codec is one row of `CODECS`: the format version that introduced it, an encoder that may decline, and a decoder that
yields pieces of at most PIECE bytes. A decoder trusts nothing it reads: it works in bounded memory, never reads
outside the base, and stops at the end of its blob. The caller counts and hashes what it yields.

To add a codec: add its row with the next format version as `since`; readers of older versions refuse it by number.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import bsdiff4
from backports import zstd

from . import bsdiff
from .errors import Corrupt
from .extent import Extent
from .limits import MIB, PIECE, PREFIX_MAX, WINDOW_LOG_MAX, XZ_DICT, XZ_MEMORY

BSDIFF_MAX = 128 * MIB
"""Largest file a builder aligns: the suffix array takes 18 times its size, 2.3 GiB here. Readers have no such bound."""

ZSTD_LEVEL = 19


@dataclass(frozen=True)
class Codec:
    """`encode(new, old)` gives None where it does not apply; `decode(blob, base, size)` yields the `size` bytes."""

    name: str
    since: int
    needs_base: bool
    encode: Callable[[bytes, bytes], bytes | None]
    decode: Callable[[Extent, Extent | None, int], Iterator[bytes]]


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
            except (lzma.LZMAError, zstd.ZstdError, OSError, ValueError) as error:
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


def best(new: bytes, old: bytes | None, *, version: int) -> tuple[Codec, bytes]:
    """The smallest coding of `new` that readers of format `version` know; the first row of CODECS wins a tie."""
    chosen = (RAW, new)
    for codec in CODECS.values():
        if codec.since > version or (codec.needs_base and not old):
            continue
        blob = codec.encode(new, old or b"")
        if blob is not None and len(blob) < len(chosen[1]):
            chosen = (codec, blob)
    return chosen


def _decode_raw(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    return blob.pieces()


def _decode_xz(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    return inflate(xz_decompressor(), blob.pieces(), blob.name)


def _zstd_options(window: int) -> Mapping[int, int]:
    """Window for `window` bytes of history; no checksum, because every result is hashed."""
    return {
        zstd.CompressionParameter.compression_level: ZSTD_LEVEL,
        zstd.CompressionParameter.window_log: min(WINDOW_LOG_MAX, max(10, window.bit_length())),
        zstd.CompressionParameter.checksum_flag: 0,
    }


def _zstd_decompressor(prefix: bytes | None) -> Decompressor:
    # An empty prefix is no dictionary for zstd; a base is never empty.
    words = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    return zstd.ZstdDecompressor(words, {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX})


def _encode_zstd(new: bytes, old: bytes) -> bytes:
    return zstd.compress(new, options=_zstd_options(len(new)))


def _decode_zstd(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    return inflate(_zstd_decompressor(None), blob.pieces(), blob.name)


def _encode_prefix(new: bytes, old: bytes) -> bytes | None:
    if len(old) > PREFIX_MAX or len(new) > PREFIX_MAX or len(old) < 8:
        return None
    words = zstd.ZstdDict(old, is_raw=True).as_prefix
    return zstd.compress(new, options=_zstd_options(len(old) + len(new)), zstd_dict=words)


def _decode_prefix(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    old = _required(base, blob)
    if not 8 <= old.size <= PREFIX_MAX:
        raise Corrupt(f"a base of 8 to {PREFIX_MAX} bytes", f"{old.size} bytes", blob.name)
    return inflate(_zstd_decompressor(old.read(0, old.size)), blob.pieces(), blob.name)


def _encode_bsdiff(new: bytes, old: bytes) -> bytes | None:
    if max(len(old), len(new)) > BSDIFF_MAX:
        return None
    patch: bytes = bsdiff4.diff(old, new)
    return patch


def _decode_bsdiff(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    def unpack(part: Extent) -> Iterator[bytes]:
        return inflate(bz2.BZ2Decompressor(), part.pieces(), part.name)

    return bsdiff.apply(blob, _required(base, blob), size, unpack)


def _required(base: Extent | None, blob: Extent) -> Extent:
    if base is None:
        raise Corrupt("a base file for this codec", "none", blob.name)
    return base


RAW = Codec("raw", 1, False, lambda new, old: new, _decode_raw)

CODECS: Mapping[str, Codec] = {
    codec.name: codec
    for codec in (
        RAW,
        Codec("xz", 1, False, lambda new, old: xz_compress(new), _decode_xz),
        Codec("zstd", 1, False, _encode_zstd, _decode_zstd),
        Codec("zstd-prefix", 1, True, _encode_prefix, _decode_prefix),
        Codec("bsdiff4", 1, True, _encode_bsdiff, _decode_bsdiff),
    )
}
