"""Applies a BSDIFF40 patch (Colin Percival's format, as `bsdiff4.diff` writes it) in bounded memory.

Layout: "BSDIFF40", three 8-byte lengths (control block, diff block, result), then the control, diff and extra blocks,
each compressed. A control entry (add, copy, seek) adds `add` diff bytes to the base at the current position, appends
`copy` extra bytes and moves the position by `seek`.

The patching function of the `bsdiff4` package is not used on received bytes: it decompresses without a limit,
allocates what the header asks for, and reads outside the base as zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bsdiff4 import core

from .errors import Corrupt
from .extent import Extent, Stream
from .limits import PIECE

HEADER = 32
ENTRY = 24


def apply(
    blob: Extent, base: Extent, size: int, unpack: Callable[[Extent], Iterator[bytes]]
) -> Iterator[bytes]:
    """The `size` bytes of the result, in pieces. `unpack` decompresses a block in pieces.

    Raises:
        Corrupt: the patch is damaged, is for another size, or reads outside the base.
    """
    if blob.size < HEADER or blob.read(0, 8) != b"BSDIFF40":
        raise Corrupt("a BSDIFF40 patch", "other bytes", blob.name)
    # Sign and magnitude: a set sign bit makes the length larger than any blob, so it is refused below.
    head = blob.read(8, 24)
    control_size, diff_size, declared = (int.from_bytes(head[at : at + 8], "little") for at in (0, 8, 16))
    if declared != size:
        raise Corrupt(f"a result of {size} bytes", f"{declared}", blob.name)
    extra_at = HEADER + control_size + diff_size
    if extra_at > blob.size:
        raise Corrupt(f"blocks inside {blob.size} bytes", f"{control_size} and {diff_size}", blob.name)

    def block(start: int, end: int, name: str) -> Stream:
        part = Extent(blob.fd, blob.start + start, end - start, f"{blob.name} ({name} block)")
        return Stream(unpack(part), part.name)

    control = block(HEADER, HEADER + control_size, "control")
    diff = block(HEADER + control_size, extra_at, "diff")
    extra = block(extra_at, blob.size, "extra")
    batch = _Batch()
    # The encoder starts an entry only after a match of more than 8 bytes, and ends with one; entries that produce
    # nothing are legal, so without this bound a few bytes could ask for endless work.
    entries = size // 8 + 2
    left, position = size, 0
    while left:
        raw = control.take(ENTRY)
        add, copy, seek = (core.decode_int64(raw[at : at + 8]) for at in (0, 8, 16))
        entries -= 1
        if add < 0 or copy < 0 or add + copy > left or entries < 0:
            raise Corrupt(f"entries for {left} bytes", f"{add} to add and {copy} to copy", blob.name)
        if add and not 0 <= position <= base.size - add:
            raise Corrupt(f"reads inside the base of {base.size} bytes", f"{add} at {position}", blob.name)
        for at in range(position, position + add, PIECE):
            count = min(PIECE, position + add - at)
            yield from batch.append(base.read(at, count), diff.take(count), b"")
        for piece in extra.pieces(copy):
            yield from batch.append(b"", b"", piece)
        left -= add + copy
        position += add + seek
    yield from batch.flush()
    for stream in (control, diff, extra):
        stream.end()


class _Batch:
    """Gathers control entries, because one call into C per entry would cost more than the adding."""

    def __init__(self) -> None:
        self._old, self._diff, self._extra, self._control = bytearray(), bytearray(), bytearray(), bytearray()

    def append(self, old: bytes, diff: bytes, extra: bytes) -> Iterator[bytes]:
        if len(self._diff) + len(self._extra) + len(diff) + len(extra) > PIECE:
            yield from self.flush()
        self._old += old
        self._diff += diff
        self._extra += extra
        for number in (len(diff), len(extra), 0):
            self._control += number.to_bytes(8, "little")

    def flush(self) -> Iterator[bytes]:
        held = (self._old, self._control, self._diff, self._extra)
        size = len(self._diff) + len(self._extra)
        if size:
            old, control, diff, extra = map(bytes, held)
            yield core.patch(old, size, control, diff, extra)
        for part in held:
            part.clear()
