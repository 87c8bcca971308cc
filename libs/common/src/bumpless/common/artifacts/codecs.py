"""How the bytes of a block are decoded. `encode` has the other half, which readers do not need.

A codec is one row of `CODECS`: the format version that introduced it and a decoder that yields pieces of at most
PIECE bytes. A decoder trusts nothing it reads: it works in bounded memory, never reads outside the base, and stops at
the end of its blob. The caller counts and hashes what it yields.

To add a codec: add its name to `names`, and its row with the next format version as `since`; readers of older versions
refuse it by number.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from backports import zstd

from . import bsdiff, lanes
from .errors import Corrupt
from .extent import Extent
from .limits import PREFIX_MAX, WINDOW_LOG_MAX
from .streams import Decompressor, inflate, xz_decompressor


@dataclass(frozen=True)
class Codec:
    """`decode(blob, base, size)` yields the `size` bytes. `prepare` imports what it takes: a process that is about to
    lose access to files calls it before. `lane(blob, base, size, number)` yields what is in one lane (see `lanes`),
    window by window; codecs that are never made in several have none."""

    name: str
    since: int
    needs_base: bool
    decode: Callable[[Extent, Extent | None, int], Iterator[bytes]]
    prepare: Callable[[], object] | None = None
    lane: Callable[[Extent, Extent | None, int, int], Iterator[bytes]] | None = None


def zstd_decompressor(prefix: bytes | None) -> Decompressor:
    # An empty prefix is no dictionary for zstd; a base is never empty.
    words = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    return zstd.ZstdDecompressor(words, {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX})


def _raw(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    return blob.pieces()


def _xz(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    return inflate(xz_decompressor(), blob.pieces(), blob.name)


def _zstd(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    return inflate(zstd_decompressor(None), blob.pieces(), blob.name)


def _prefix(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    old = _required(base, blob)
    if not 8 <= old.size <= PREFIX_MAX:
        raise Corrupt(f"a base of 8 to {PREFIX_MAX} bytes", f"{old.size} bytes", blob.name)
    return inflate(zstd_decompressor(old.read(0, old.size)), blob.pieces(), blob.name)


def _bsdiff(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    def unpack(part: Extent) -> Iterator[bytes]:
        return inflate(bz2.BZ2Decompressor(), part.pieces(), part.name)

    return bsdiff.apply(blob, _required(base, blob), size, unpack)


def _aligned(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    from .aligned import patch  # numpy, which most packages of text do without

    return patch.decode(blob, _required(base, blob), size)


def _predicted(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    from .aligned import patch

    return patch.decode(blob, _required(base, blob), size, lanes.count("predicted", size))


def _predicted_lane(blob: Extent, base: Extent | None, size: int, lane: int) -> Iterator[bytes]:
    from .aligned import patch

    return patch.decode(blob, _required(base, blob), size, lanes.count("predicted", size), lane)


def _deflated(blob: Extent, base: Extent | None, size: int) -> Iterator[bytes]:
    from . import deflated  # it decodes with this table

    return deflated.decode(blob, _required(base, blob), size)


def _import_aligned() -> object:
    from .aligned import patch

    return patch


def _import_deflated() -> object:
    from . import deflated

    return deflated, _import_aligned()


def _required(base: Extent | None, blob: Extent) -> Extent:
    if base is None:
        raise Corrupt("a base file for this codec", "none", blob.name)
    return base


CODECS: Mapping[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec("raw", 2, False, _raw),
        Codec("xz", 2, False, _xz),
        Codec("zstd", 2, False, _zstd),
        Codec("zstd-prefix", 2, True, _prefix),
        Codec("bsdiff4", 2, True, _bsdiff),
        Codec("aligned", 2, True, _aligned, _import_aligned),
        Codec("predicted", 2, True, _predicted, _import_aligned, _predicted_lane),
        Codec("deflated", 2, True, _deflated, _import_deflated),
    )
}
"""`predicted` blobs have an image to predict references with, and large results are made in two lanes."""
