"""Files that hold deflate streams: what is taken apart, and hostile blobs."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from dataclasses import dataclass

import pytest

from bumpless.common.artifacts import deflated, encode
from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.extent import Extent
from bumpless.common.artifacts.leb128 import encode as encode_numbers
from bumpless.common.artifacts.limits import MIB, PIECE
from bumpless.common.artifacts.names import NAMES
from bumpless.common.artifacts.workers import Workers

from .packages import decoded, in_memory
from .trees import noise

TEXT = b"".join(b"line %d of a long log\n" % (n * n) for n in range(3000))


def deflate(data, level=6, memory=8):
    pack = zlib.compressobj(level, zlib.DEFLATED, -15, memory)
    return pack.compress(data) + pack.flush()


def zipped(files, level=6):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, level)
    return out.getvalue()


def coded(new, old):
    with Workers(1) as workers:
        return deflated.encode(new, old, lambda n, o: encode.against(n, o, workers))


def gzipped(data, name="", comment=False, extra=b"", checksum=False, level=6):
    flags = (8 if name else 0) | (16 if comment else 0) | (4 if extra else 0) | (2 if checksum else 0)
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6)
    if extra:
        head += struct.pack("<H", len(extra)) + extra
    head += name.encode() + b"\0" if name else b""
    head += b"comment\0" if comment else b""
    head += b"\x12\x34" if checksum else b""
    return head + deflate(data, level) + struct.pack("<II", zlib.crc32(data), len(data))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(gzipped(TEXT), gzipped(TEXT + b"more"), id="gzip"),
        pytest.param(
            gzipped(TEXT, "log"), gzipped(TEXT[9:], "log.1", True, b"extra", True, 9), id="every gzip field"
        ),
        pytest.param(
            gzipped(TEXT) * 3, gzipped(TEXT) + gzipped(b"x" * 5000) + gzipped(TEXT), id="gzip members"
        ),
        pytest.param(
            zipped({"a": TEXT, "b": noise(1, 500)}), zipped({"a": TEXT + b"!", "b": noise(1, 500)}), id="zip"
        ),
        pytest.param(zipped({"a": TEXT}, 9), zipped({"a": TEXT[:-30]}, 1), id="another level"),
        pytest.param(zipped({"a": TEXT}), gzipped(TEXT), id="zip to gzip"),
    ],
)
def test_packed_files_are_coded_as_what_they_hold(old, new):
    blob = coded(new, old)
    assert decoded("deflated", blob, old, len(new)) == new
    assert len(blob) < len(new) / 5


@pytest.mark.parametrize("level", range(1, 10))
@pytest.mark.parametrize("memory", [8, 9])
def test_each_setting_of_zlib_is_found(level, memory):
    old = gzipped(TEXT)
    new = old[:10] + deflate(TEXT + b"!", level, memory) + old[-8:]
    blob = coded(new, old)
    assert decoded("deflated", blob, old, len(new)) == new
    assert len(blob) < 400


@pytest.mark.parametrize(
    ("new", "old"),
    [
        pytest.param(TEXT, gzipped(TEXT), id="new is plain"),
        pytest.param(gzipped(TEXT), TEXT, id="old is plain"),
        pytest.param(gzip.compress(b"short"), gzipped(TEXT), id="too short"),
        pytest.param(b"\x1f\x8b\x08\xff" + noise(2, 500), gzipped(TEXT), id="no stream"),
        pytest.param(gzipped(TEXT)[:500], gzipped(TEXT), id="cut"),
        pytest.param(gzipped(bytes(9 * MIB)), gzipped(TEXT), id="opens to too much"),
        pytest.param(gzipped(TEXT)[:10] + deflate(TEXT, 6, 3) + bytes(8), gzipped(TEXT), id="another packer"),
        pytest.param(gzipped(noise(1, 5000)), gzipped(noise(2, 5000)), id="nothing in common"),
    ],
)
def test_what_cannot_be_packed_again_is_left_to_other_codecs(new, old):
    assert coded(new, old) is None


OLD, NEW = gzipped(TEXT), gzipped(TEXT + b"more")
HEAD, TAIL = len(OLD) - len(deflate(TEXT)) - 8, 8


@dataclass(frozen=True)
class Inner:
    codec: str
    blob: bytes


def blob(numbers, inner=b"", length=None):
    head = encode_numbers(numbers)
    return struct.pack("<I", len(head) if length is None else length) + head + inner


def plain(new, old):
    """An inner blob that inserts all of it."""
    return struct.pack("<4B10I", 0, 0, 0, 0, 1, 0, 0, len(new_number := encode_numbers([0])), len(encode_numbers([len(new)])), 1, 0, 0,
                       len(new_number + encode_numbers([len(new)])) + 1, 0) + new_number + encode_numbers([len(new)]) + b"\0" + new  # fmt: skip


ALIGNED = NAMES.index("aligned")
SIZE = HEAD + len(TEXT) + TAIL


def test_a_blob_by_hand():
    made = blob([ALIGNED, SIZE, 0, 1, HEAD, len(TEXT), 0], plain(OLD[:HEAD] + TEXT + OLD[-8:], OLD))
    assert decoded("deflated", made, OLD, len(OLD)) == OLD


def test_pieces_are_bounded_although_packing_makes_some_longer():
    content = noise(5, 3 * MIB + 17)
    old, new = b"", deflate(content)
    made = blob([ALIGNED, len(content), 0, 1, 0, len(content), 0], plain(content, old))
    pieces = list(deflated.decode(in_memory(made), in_memory(old), len(new)))
    assert b"".join(pieces) == new
    assert max(map(len, pieces)) <= PIECE


HOSTILE = {
    "nothing": b"",
    "head cut": b"\0\0\0",
    "head beyond the blob": blob([ALIGNED, 0, 0, 0], length=100),
    "head of 2^32": blob([ALIGNED, 0, 0, 0], length=2**32 - 1),
    "head of 2 MiB": blob([ALIGNED, 0, 0, 0] + [0] * (2 * MIB)),
    "head too short": blob([ALIGNED, 0, 0]),
    "a number without end": struct.pack("<I", 1) + b"\x80",
    "unknown codec": blob([len(NAMES), SIZE, 0, 0]),
    "codec inside itself": blob([NAMES.index("deflated"), SIZE, 0, 0], blob([ALIGNED, SIZE, 0, 0])),
    "a codec without base": blob([NAMES.index("xz"), SIZE, 0, 0]),
    "2^48 bytes": blob([ALIGNED, 1 << 48, 0, 0]),
    "9 MiB": blob([ALIGNED, 9 * MIB, 0, 0]),
    "2^48 old streams": blob([ALIGNED, SIZE, 1 << 48, 0]),
    "2^48 new streams": blob([ALIGNED, SIZE, 0, 1 << 48]),
    "an old stream beyond the base": blob([ALIGNED, SIZE, 1, 0, len(OLD) + 1, 5]),
    "an old stream at the end": blob([ALIGNED, SIZE, 1, 0, len(OLD), 5]),
    "an old stream at 2^48": blob([ALIGNED, SIZE, 1, 0, 1 << 48, 5]),
    "an old stream of 2^48": blob([ALIGNED, SIZE, 1, 0, HEAD, 1 << 48]),
    "an old stream that is none": blob([ALIGNED, SIZE, 1, 0, HEAD + 7, 5]),
    "an old stream that holds less": blob([ALIGNED, SIZE, 1, 0, HEAD, len(TEXT) + 1]),
    "an old stream that holds more": blob([ALIGNED, SIZE, 1, 0, HEAD, len(TEXT) - 1]),
    "a new stream longer than all": blob([ALIGNED, SIZE, 0, 1, HEAD, SIZE, 0], plain(bytes(SIZE), OLD)),
    "a new stream of 2^48": blob([ALIGNED, SIZE, 0, 1, 0, 1 << 48, 0], plain(bytes(SIZE), OLD)),
    "an unknown setting": blob([ALIGNED, SIZE, 0, 1, HEAD, len(TEXT), 18], plain(bytes(SIZE), OLD)),
    "streams without end": blob([ALIGNED, 0, 0, 1 << 16] + [0, 0, 0] * (1 << 16), plain(b"", OLD)),
    "less inside": blob([ALIGNED, SIZE + 1, 0, 0], plain(bytes(SIZE), OLD)),
    "no inner blob": blob([ALIGNED, SIZE, 0, 0]),
    "more than the size": blob([ALIGNED, 5 * MIB, 0, 0], plain(bytes(5 * MIB), OLD)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_blobs_are_refused(name):
    with pytest.raises(Corrupt):
        decoded("deflated", HOSTILE[name], OLD, len(OLD))


def test_a_base_that_opens_to_too_much_is_refused():
    bomb = gzipped(bytes(64 * MIB))
    for opened in (64 * MIB, 8 * MIB):
        with pytest.raises(Corrupt):
            decoded("deflated", blob([ALIGNED, 4, 1, 0, 10, opened], plain(b"abcd", b"")), bomb, 4)
    with pytest.raises(Corrupt, match="at most"):
        decoded("deflated", blob([ALIGNED, 4, 0, 0], plain(b"abcd", b"")), bytes(8 * MIB + 1), 4)


class Counted(Extent):
    __slots__ = ()
    read_bytes = 0

    def read(self, at, count):
        Counted.read_bytes += count
        return super().read(at, count)


def test_a_base_of_many_streams_is_not_read_again_for_each():
    members = {f"{n}": TEXT[n : n + 300] for n in range(2000)}
    old, new = zipped(members), zipped(members | {"7": TEXT[500:900]})
    made = coded(new, old)
    assert decoded("deflated", made, old, len(new)) == new
    blob_extent, base = in_memory(made), in_memory(old)
    counted = Counted(base.fd, base.start, base.size, "base")
    Counted.read_bytes = 0
    assert b"".join(deflated.decode(blob_extent, counted, len(new))) == new
    assert Counted.read_bytes < 100 * len(old)
