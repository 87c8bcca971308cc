"""The blob of an aligned patch, and its decoder: bounded memory at any file size.

    head      coders of the three streams, form of the differences, numbers of operations and runs, lengths (see _HEAD)
    control   the image (see `image`), then columns of LEB128 numbers: add, extra, seek; gap and size of each run
    diff      what is added to copied bytes, or to their prediction, modulo 256: to each, or to those in runs
    extra     the bytes that are not copied

`seek` is how far, in the old file, a copy begins behind the end of the one before.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import Corrupt
from ..extent import Extent, Stream
from ..leb128 import MAX_BYTES
from ..leb128 import encode as encode_numbers
from ..limits import MIB
from ..streams import CODERS
from . import differences as differ
from . import numbers
from .differences import Dense, Differences, Sparse
from .image import Image
from .numbers import Ints
from .prediction import Predictor
from .windows import Alignment, Octets, gather, windows

MAX_OPERATIONS = 1 << 19
"""More than any patch that paid had; 50 bytes of memory each."""

MAX_IMAGE = MIB

_HEAD = struct.Struct("<4B10I")
_LARGEST = 1 << 40
_DENSE, _SPARSE = 0, 1


@dataclass(frozen=True)
class _Head:
    control_coder: int
    diff_coder: int
    extra_coder: int
    form: int
    operations: int
    runs: int
    image: int
    add: int
    extra_column: int
    seek: int
    gap: int
    size: int
    control: int
    diff: int


def encode(
    alignment: Alignment,
    old: Extent,
    new: bytes,
    image: Image | None,
    compress: Callable[[bytes], tuple[int, bytes]],
) -> bytes | None:
    """The blob that makes `new` from `old`; None where an alignment is too fine for a decoder's memory."""
    if len(alignment.old) > MAX_OPERATIONS:
        return None
    described = image.to_bytes() if image is not None else b""
    if len(described) > MAX_IMAGE:
        return None
    ends = alignment.old + alignment.add
    seeks = alignment.old - np.concatenate((np.zeros(min(1, len(ends)), np.int64), ends[:-1]))
    operations = [encode_numbers(c.tolist()) for c in (alignment.add, alignment.extra, numbers.zigzag(seeks))]
    differences, extra = _walk(alignment, old, new, image)
    total = int(alignment.add.sum())
    dense, sparse = differ.worth_trying(differences, total)
    found = []
    if sparse and (runs := differ.runs(differences)) is not None:
        columns = [encode_numbers(c.tolist()) for c in (runs.gaps, runs.sizes)]
        found.append((_SPARSE, len(runs.gaps), columns, runs.data))
    if dense or not found:
        found.append((_DENSE, 0, [b"", b""], b"".join(part.tobytes() for part in differences)))
    blobs = []
    packed_extra = compress(extra)
    for form, count, columns, data in found:
        control = b"".join((described, *operations, *columns))
        coded = [compress(control), compress(data), packed_extra]
        sizes = [
            len(described),
            *map(len, operations),
            *map(len, columns),
            len(coded[0][1]),
            len(coded[1][1]),
        ]
        head = _HEAD.pack(*(coder for coder, _ in coded), form, len(alignment.old), count, *sizes)
        blobs.append(head + b"".join(blob for _, blob in coded))
    return min(blobs, key=len)


def decode(blob: Extent, old: Extent, size: int) -> Iterator[bytes]:
    """The `size` bytes of the new file, in pieces.

    Raises:
        Corrupt: the blob is damaged, is for another size, or reads outside `old`.
    """
    head = _head(blob)
    at = _HEAD.size
    streams = []
    for coder, length, name in (
        (head.control_coder, head.control, "control"),
        (head.diff_coder, head.diff, "diff"),
        (head.extra_coder, blob.size - at - head.control - head.diff, "extra"),
    ):
        part = Extent(blob.fd, blob.start + at, length, f"{blob.name} ({name})")
        streams.append(Stream(CODERS[coder].decode(part), part.name))
        at += length
    control, diff, extra = streams
    image = Image.from_bytes(control.take(head.image), blob.name) if head.image else None
    alignment = _alignment(head, control, old.size, size, blob.name)
    differences: Differences = Dense(diff)
    if head.form == _SPARSE:
        gaps, sizes = (numbers.decode(control.take(n), head.runs, blob.name) for n in (head.gap, head.size))
        _bounded((gaps, sizes), blob.name)
        differences = Sparse(gaps, sizes, diff, blob.name)
    control.end()
    predictor = Predictor(alignment, image, old, blob.name) if image is not None else None
    for window in windows(alignment):
        copied = gather(old, window.old, window.size)
        inserted = np.frombuffer(extra.take(window.extra), np.uint8)
        if predictor is not None:
            copied = predictor.predict(window, copied)
        differences.add_to(copied)
        if predictor is not None:
            predictor.learn(copied)
        yield window.spread(copied, inserted).tobytes()
    differences.end()
    extra.end()


def _walk(alignment: Alignment, old: Extent, new: bytes, image: Image | None) -> tuple[list[Octets], bytes]:
    """The differences of every window and the bytes of `extra`, by walking as the decoder does."""
    predictor = Predictor(alignment, image, old, "encoder") if image is not None else None
    differences, extra = [], bytearray()
    at = 0
    for window in windows(alignment):
        total = window.copied + window.extra
        wanted = np.frombuffer(new, np.uint8, total, at)
        at += total
        copied = gather(old, window.old, window.size)
        if predictor is not None:
            copied = predictor.predict(window, copied)
        became = wanted[window.mask]
        differences.append(became - copied)
        extra += wanted[~window.mask].tobytes()
        if predictor is not None:
            predictor.learn(became)
    return differences, bytes(extra)


def _head(blob: Extent) -> _Head:
    if blob.size < _HEAD.size:
        raise Corrupt(f"a head of {_HEAD.size} bytes", f"{blob.size}", blob.name)
    head = _Head(*_HEAD.unpack(blob.read(0, _HEAD.size)))
    if max(head.control_coder, head.diff_coder, head.extra_coder) >= len(CODERS):
        raise Corrupt(f"coders below {len(CODERS)}", "others", blob.name)
    if head.form not in (_DENSE, _SPARSE) or (head.form == _DENSE and head.runs):
        raise Corrupt(f"differences of form {_DENSE} or {_SPARSE}", f"{head.form}", blob.name)
    if head.operations > MAX_OPERATIONS or head.runs > differ.MAX_RUNS or head.image > MAX_IMAGE:
        raise Corrupt(
            f"at most {MAX_OPERATIONS} operations, {differ.MAX_RUNS} runs and {MAX_IMAGE} bytes of image",
            f"{head.operations}, {head.runs} and {head.image}",
            blob.name,
        )
    if (
        max(head.add, head.extra_column, head.seek) > MAX_BYTES * head.operations
        or max(head.gap, head.size) > MAX_BYTES * head.runs
    ):
        raise Corrupt("columns as long as their numbers", "longer ones", blob.name)
    if _HEAD.size + head.control + head.diff > blob.size:
        raise Corrupt(f"streams inside {blob.size} bytes", f"{head.control} and {head.diff}", blob.name)
    return head


def _alignment(head: _Head, control: Stream, old_size: int, size: int, where: str) -> Alignment:
    add, extra, seek = (
        numbers.decode(control.take(length), head.operations, where)
        for length in (head.add, head.extra_column, head.seek)
    )
    _bounded((add, extra, seek), where)
    moves = numbers.unzigzag(seek)
    moves[1:] += add[:-1]
    alignment = Alignment(np.cumsum(moves), add, extra)
    if alignment.size != size:
        raise Corrupt(f"a result of {size} bytes", f"{alignment.size}", where)
    # Otherwise a few bytes could ask for endless work.
    if head.operations > size // 8 + 2:
        raise Corrupt(f"at most {size // 8 + 2} operations", f"{head.operations}", where)
    reads = alignment.old[add > 0]
    ends = reads + add[add > 0]
    if len(reads) and (int(reads.min()) < 0 or int(ends.max()) > old_size):
        raise Corrupt(f"reads inside {old_size} bytes", f"{int(reads.min())} to {int(ends.max())}", where)
    return alignment


def _bounded(columns: Iterable[Ints], where: str) -> None:
    """So that no sum of a column overflows."""
    if any(int(column.max(initial=0)) > _LARGEST for column in columns):
        raise Corrupt(f"numbers up to {_LARGEST}", "larger ones", where)
