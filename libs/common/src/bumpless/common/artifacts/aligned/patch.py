"""The blob of an aligned patch, and its decoder: bounded memory at any file size.

    head      coders of the three streams, form of the differences, numbers of operations and runs, lengths (see _HEAD)
    lane      of the second lane, where there is one: coders of its three streams, number of runs, lengths (see _LANE)
    control   number of corrections, the image (see `image`), the corrections; then columns of LEB128 numbers: add, extra, seek; gap and size of each run of the
              first lane
    diff      what is added to copied bytes, or to their prediction, modulo 256: to each, or to those in runs
    runs      of the second lane: gap and size
    diff      of the second lane
    extra     of the second lane
    extra     the bytes that are not copied

`seek` is how far, in the old file, a copy begins behind the end of the one before. See `lanes` for which window is in
which lane; all that is carried from one window to the next is carried within a lane.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ..errors import Corrupt
from ..extent import Extent, Stream
from ..lanes import WINDOW
from ..leb128 import MAX_BYTES
from ..leb128 import encode as encode_numbers
from ..limits import MIB
from ..streams import CODERS
from . import differences as differ
from . import numbers
from .corrections import NONE, Corrections, choose, pack, unpack
from .differences import Dense, Differences, Sparse
from .image import Image
from .numbers import Ints
from .prediction import Predictor
from .windows import Alignment, Octets, gather, windows

MAX_OPERATIONS = 1 << 19
"""More than any patch that paid had; 50 bytes of memory each."""

MAX_IMAGE = MIB

_HEAD = struct.Struct("<4B10I")
_LANE = struct.Struct("<4B6I")
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


@dataclass(frozen=True)
class _Lane:
    """Of the second lane; `zero` is room."""

    columns_coder: int
    diff_coder: int
    extra_coder: int
    zero: int
    runs: int
    gap: int
    size: int
    columns: int
    diff: int
    extra: int


@dataclass(frozen=True)
class _Part:
    """What a lane has of its own, before it is compressed."""

    runs: int
    columns: bytes
    lengths: tuple[int, int]
    diff: bytes
    extra: bytes


@dataclass(frozen=True)
class _Streams:
    """Of a lane, open."""

    columns: Stream
    diff: Stream
    extra: Stream


Compress = Callable[[bytes], tuple[int, bytes]]


def encode(
    alignment: Alignment,
    old: Extent,
    new: bytes,
    image: Image | None,
    compress: Compress,
    lanes: int = 1,
) -> bytes | None:
    """The blob that makes `new` from `old`; None where an alignment is too fine for a decoder's memory."""
    if len(alignment.old) > MAX_OPERATIONS:
        return None
    corrections = _corrections(alignment, old, new, image) if image is not None else NONE
    described = pack(image, corrections) if image is not None else b""
    if len(described) > MAX_IMAGE:
        return None
    ends = alignment.old + alignment.add
    seeks = alignment.old - np.concatenate((np.zeros(min(1, len(ends)), np.int64), ends[:-1]))
    operations = [encode_numbers(c.tolist()) for c in (alignment.add, alignment.extra, numbers.zigzag(seeks))]
    differences, extras = _walk(alignment, old, new, image, corrections, lanes)
    dense, sparse = differ.worth_trying(chain.from_iterable(differences), int(alignment.add.sum()))
    forms = []
    runs = [differ.runs(lane) for lane in differences] if sparse else []
    if sparse and sum(len(r.gaps) for r in runs) <= differ.MAX_RUNS:
        forms.append((_SPARSE, [_sparse(r, extra) for r, extra in zip(runs, extras, strict=True)]))
    if dense or not forms:
        data = [b"".join(part.tobytes() for part in lane) for lane in differences]
        forms.append((_DENSE, [_Part(0, b"", (0, 0), *each) for each in zip(data, extras, strict=True)]))
    packed = [compress(extra) for extra in extras]
    blobs = [
        _blob(described, len(alignment.old), operations, form, parts, packed, compress)
        for form, parts in forms
    ]
    return min(blobs, key=len)


def _sparse(runs: differ.Runs, extra: bytes) -> _Part:
    gaps, sizes = (encode_numbers(c.tolist()) for c in (runs.gaps, runs.sizes))
    return _Part(len(runs.gaps), gaps + sizes, (len(gaps), len(sizes)), runs.data, extra)


def _blob(
    image: bytes,
    count: int,
    operations: Sequence[bytes],
    form: int,
    parts: Sequence[_Part],
    extras: Sequence[tuple[int, bytes]],
    compress: Compress,
) -> bytes:
    """`count` is that of operations; `parts` and packed `extras` are the lanes'."""
    first, *others = parts
    control, diff = compress(b"".join((image, *operations, first.columns))), compress(first.diff)
    coders = (coder for coder, _ in (control, diff, extras[0]))
    sizes = (*map(len, (image, *operations)), *first.lengths, len(control[1]), len(diff[1]))
    heads = [_HEAD.pack(*coders, form, count, first.runs, *sizes)]
    streams = [control[1], diff[1]]
    for part, extra in zip(others, extras[1:], strict=True):
        own = (compress(part.columns), compress(part.diff), extra)
        sizes = (*part.lengths, *(len(blob) for _, blob in own))
        heads.append(_LANE.pack(*(coder for coder, _ in own), 0, part.runs, *sizes))
        streams += [blob for _, blob in own]
    return b"".join((*heads, *streams, extras[0][1]))


def decode(blob: Extent, old: Extent, size: int, lanes: int = 1, lane: int | None = None) -> Iterator[bytes]:
    """The `size` bytes of the new file in windows, or those of one of several lanes.

    Raises:
        Corrupt: the blob is damaged, is for another size, or reads outside `old`.
    """
    head = _head(blob)
    second = _second(blob, head) if lanes > 1 else None
    own = _streams(blob, head, second)
    described = own[0].columns.take(head.image)
    alignment = _alignment(head, own[0].columns, old.size, size, blob.name)
    wanted = range(lanes) if lane is None else range(lane, lane + 1)
    differences: dict[int, Differences] = {}
    for number in wanted:
        counts = second if number and second else head
        differences[number] = _differences(head.form, counts, own[number], blob.name)
    extras = {number: own[number].extra for number in wanted}
    del own  # with a decompressor of what is not wanted of control
    predictor = None
    if described:
        predictor = Predictor(alignment, *unpack(described, blob.name), old, blob.name)
    for window in windows(alignment, wanted.start, lanes if len(wanted) == 1 else 1):
        number = window.start // WINDOW % lanes
        copied = gather(old, window.old, window.size)
        extra = extras[number].take(window.extra)
        if predictor is not None:
            copied = predictor.predict(window, copied)
        differences[number].add_to(copied)
        yield window.spread(copied, extra)
    for number in wanted:
        differences[number].end()
        extras[number].end()


def _streams(blob: Extent, head: _Head, second: _Lane | None) -> list[_Streams]:
    """Those of each lane; the columns of the first one are behind those of the operations."""
    parts = [(head.control_coder, head.control, "control"), (head.diff_coder, head.diff, "diff")]
    if second is not None:
        parts += [
            (second.columns_coder, second.columns, "runs, lane 2"),
            (second.diff_coder, second.diff, "diff, lane 2"),
            (second.extra_coder, second.extra, "extra, lane 2"),
        ]
    at = _HEAD.size + (_LANE.size if second is not None else 0)
    parts.append((head.extra_coder, blob.size - at - sum(length for _, length, _ in parts), "extra"))
    streams = []
    for coder, length, name in parts:
        part = Extent(blob.fd, blob.start + at, length, f"{blob.name} ({name})")
        streams.append(Stream(CODERS[coder].decode(part), part.name))
        at += length
    first = _Streams(streams[0], streams[1], streams[-1])
    return [first] if second is None else [first, _Streams(*streams[2:5])]


def _differences(form: int, counts: _Head | _Lane, own: _Streams, where: str) -> Differences:
    gaps, sizes = (numbers.decode(own.columns.take(n), counts.runs, where) for n in (counts.gap, counts.size))
    own.columns.end()
    _bounded((gaps, sizes), where)
    return Dense(own.diff) if form == _DENSE else Sparse(gaps, sizes, own.diff, where)


def _corrections(alignment: Alignment, old: Extent, new: bytes, image: Image) -> Corrections:
    predictor = Predictor(alignment, image, NONE, old, "encoder")
    found: list[tuple[Ints, Ints, Ints]] = []
    for window in windows(alignment):
        became, _ = window.parted(np.frombuffer(new, np.uint8, window.copied + window.extra, window.start))
        found += predictor.witness(window, gather(old, window.old, window.size), became)
    return choose(*(np.concatenate(column) for column in zip(*found, strict=True))) if found else NONE


def _walk(
    alignment: Alignment,
    old: Extent,
    new: bytes,
    image: Image | None,
    corrections: Corrections,
    lanes: int,
) -> tuple[list[list[Octets]], list[bytes]]:
    """The differences of every window, and what is inserted, both by lane, by walking as the decoder does."""
    predictor = Predictor(alignment, image, corrections, old, "encoder") if image is not None else None
    differences: list[list[Octets]] = [[] for _ in range(lanes)]
    extras = [bytearray() for _ in range(lanes)]
    for number, window in enumerate(windows(alignment)):
        wanted = np.frombuffer(new, np.uint8, window.copied + window.extra, window.start)
        copied = gather(old, window.old, window.size)
        if predictor is not None:
            copied = predictor.predict(window, copied)
        became, inserted = window.parted(wanted)
        differences[number % lanes].append(became - copied)
        extras[number % lanes] += inserted.tobytes()
    return differences, [bytes(extra) for extra in extras]


def _second(blob: Extent, head: _Head) -> _Lane:
    """What is said of the second lane. Raises: Corrupt."""
    if blob.size < _HEAD.size + _LANE.size:
        raise Corrupt(f"heads of {_HEAD.size + _LANE.size} bytes", f"{blob.size}", blob.name)
    lane = _Lane(*_LANE.unpack(blob.read(_HEAD.size, _LANE.size)))
    if max(lane.columns_coder, lane.diff_coder, lane.extra_coder) >= len(CODERS) or lane.zero:
        raise Corrupt(f"coders below {len(CODERS)}, then zeros", "others", blob.name)
    if head.runs + lane.runs > differ.MAX_RUNS or (head.form == _DENSE and lane.runs):
        raise Corrupt(f"at most {differ.MAX_RUNS} runs, none in dense form", f"{lane.runs}", blob.name)
    if max(lane.gap, lane.size) > MAX_BYTES * lane.runs:
        raise Corrupt("columns as long as their numbers", "longer ones", blob.name)
    streams = head.control + head.diff + lane.columns + lane.diff + lane.extra
    if _HEAD.size + _LANE.size + streams > blob.size:
        raise Corrupt(f"streams inside {blob.size} bytes", f"{streams}", blob.name)
    return lane


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
