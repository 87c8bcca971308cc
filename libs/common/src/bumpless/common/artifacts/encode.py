"""Finds the smallest coding of a block's bytes. For builders; `codecs` has the decoders.

What is tried depends on sizes and kinds only, never on time or load, so the same bytes give the same package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import bsdiff4
from backports import zstd

from . import deflated, lanes
from .aligned import elf, patch
from .aligned.alignment import align, align_programs, coarse
from .errors import Corrupt
from .extent import Bytes
from .limits import MIB, PREFIX_MAX, WINDOW_LOG_MAX
from .streams import smallest_coding, xz_compress
from .workers import Workers

ZSTD_LEVEL = 19
_BSDIFF_MAX = 4 * MIB
"""Above, `aligned` with bzip2 streams costs the same few bytes, without a second sorting."""
_XZ_PER_BYTE = 14
_XZ_FIXED = 200 * MIB


@dataclass(frozen=True)
class Coded:
    codec: str
    blob: bytes


def whole(new: bytes, workers: Workers) -> Coded:
    """Without a base."""
    with workers.holding(min(_XZ_FIXED, _XZ_PER_BYTE * len(new)) + len(new)):
        packed = xz_compress(new)
    return Coded("xz", packed) if len(packed) < len(new) else Coded("raw", new)


def against(new: bytes, old: bytes, workers: Workers, *, predict: bool = True) -> Coded:
    """With the base `old`, or without where that is smaller. `predict` allows prediction of references."""
    found = [*_against(new, old, workers, predict)]
    if len(new) <= PREFIX_MAX or not found or min(len(c.blob) for c in found) > len(new) // 3:
        found.append(whole(new, workers))
    return min(found, key=lambda coded: (len(coded.blob), coded.codec))


def _against(new: bytes, old: bytes, workers: Workers, predict: bool) -> Iterator[Coded]:
    if not old or not new:
        return
    if 8 <= len(old) <= PREFIX_MAX and len(new) <= PREFIX_MAX:
        yield Coded("zstd-prefix", _with_prefix(new, old))
    if max(len(old), len(new)) <= _BSDIFF_MAX:
        yield Coded("bsdiff4", bsdiff4.diff(old, new))
    yield from _aligned(new, old, workers, predict)
    opened = deflated.encode(new, old, lambda n, o: against(n, o, workers, predict=predict))
    if opened is not None:
        yield Coded("deflated", opened)


def _aligned(new: bytes, old: bytes, workers: Workers, predict: bool) -> Iterator[Coded]:
    old_program, new_program = elf.read(old), elf.read(new)
    image = elf.image(old_program, new_program) if old_program and new_program else None
    source = Bytes(old, "base")
    if image is not None and old_program is not None and new_program is not None:
        with suppress(Corrupt):  # damaged programs are files like others
            alignment = align_programs(old_program, new_program, image, workers)
            known = image if predict else None
            codec = "aligned" if known is None else "predicted"
            blob = patch.encode(alignment, source, new, known, smallest_coding, lanes.count(codec, len(new)))
            if blob is not None:
                yield Coded(codec, blob)
            return
    plain = align(old, new, workers)
    for alignment in (plain, coarse(plain, 12), coarse(plain)):
        blob = patch.encode(alignment, source, new, None, smallest_coding)
        if blob is not None:
            yield Coded("aligned", blob)


def _with_prefix(new: bytes, old: bytes) -> bytes:
    window = min(WINDOW_LOG_MAX, max(10, (len(old) + len(new)).bit_length()))
    options: Mapping[int, int] = {
        zstd.CompressionParameter.compression_level: ZSTD_LEVEL,
        zstd.CompressionParameter.window_log: window,
        # Every result is hashed.
        zstd.CompressionParameter.checksum_flag: 0,
    }
    words = zstd.ZstdDict(old, is_raw=True).as_prefix
    return zstd.compress(new, options=options, zstd_dict=words)
