"""Each codec: what a decoder makes of what an encoder made, and hostile blobs."""

from __future__ import annotations

import bz2
import lzma
import struct
import tracemalloc
import zlib

import bsdiff4
import pytest
from backports import zstd

from bumpless.common.artifacts import encode
from bumpless.common.artifacts.codecs import CODECS
from bumpless.common.artifacts.errors import ArtifactError, Corrupt
from bumpless.common.artifacts.limits import MIB, PIECE, PREFIX_MAX, WINDOW_LOG_MAX
from bumpless.common.artifacts.names import NAMES
from bumpless.common.artifacts.streams import CODERS, smallest_coding
from bumpless.common.artifacts.workers import Workers
from support.programs import functions, grown, program

from .packages import decoded, in_memory, wrong_or_refused
from .trees import noise

ZERO = bytes(PIECE)


@pytest.fixture(scope="module")
def workers():
    with Workers(1) as made:
        yield made


def gzipped(data):
    pack = zlib.compressobj(6, zlib.DEFLATED, -15)
    return b"\x1f\x8b\x08" + bytes(7) + pack.compress(data) + pack.flush() + struct.pack("<II", 0, len(data))


def encoded(codec, new, old, workers):
    match codec:
        case "raw":
            return new
        case "xz":
            return encode.xz_compress(new)
        case "zstd":
            return zstd.compress(new)
    found = [c for c in encode._against(new, old, workers, codec == "predicted") if c.codec == codec]
    return min((c.blob for c in found), key=len)


def pair(codec, size, base):
    """An old and a new file of about `size` bytes that `codec` can code."""
    if codec == "predicted":
        old = functions(1, max(2, size // 150))
        return program(old, noise(9, 300)), program(grown(old, 2), noise(9, 300))
    middle = size // 2
    new = (base[middle:size] + b"!" + base[: max(0, middle - 1)])[:size]
    return (gzipped(base[:size] * 2), gzipped(new * 2)) if codec == "deflated" else (base, new)


CODED = [
    (codec, size)
    for codec in NAMES
    for size in (0, 1, 7, 8, 5000, MIB + 17, 3 * MIB + 17)
    # Short streams are left as they are; test_deflated.py has a long one. An empty file is never coded against another.
    if (codec != "deflated" or size == 5000) and (size or not CODECS[codec].needs_base)
]


@pytest.mark.parametrize(("codec", "size"), CODED)
def test_each_codec_decodes_what_it_encoded(codec, size, workers):
    if codec == "predicted" and size > 5000:
        size = 300_000
    old, new = pair(codec, size, noise(7, max(size, 8)))
    blob = encoded(codec, new, old, workers)
    base = old if CODECS[codec].needs_base else None
    assert decoded(codec, blob, base, len(new)) == new
    extents = [in_memory(part) for part in (blob, old)]
    pieces = list(CODECS[codec].decode(extents[0], extents[1] if base is not None else None, len(new)))
    assert max(map(len, pieces), default=0) <= PIECE


def test_the_smallest_coding_wins(workers):
    data = noise(9, 4000)
    assert encode.whole(data, workers).codec == "raw"
    assert encode.whole(b"a" * 4000, workers).codec == "xz"
    assert encode.against(data, noise(8, 4000), workers).codec == "raw"
    coded = encode.against(data + b"tail", data, workers)
    assert CODECS[coded.codec].needs_base
    assert len(coded.blob) < 100
    assert encode.against(b"", data, workers).codec == "raw"
    assert encode.against(data, b"", workers).codec == "raw"


def test_a_codec_that_needs_a_base_is_refused_without():
    for name, codec in CODECS.items():
        if codec.needs_base:
            with pytest.raises(Corrupt, match="base"):
                decoded(name, b"", None, 0)


BASE = noise(3, 900)
CONTENT = BASE[:300] + b"changed" + BASE[310:]
BLOBS = {
    "xz": encode.xz_compress(CONTENT),
    "zstd": zstd.compress(CONTENT),
    "zstd-prefix": encode._with_prefix(CONTENT, BASE),
    "bsdiff4": bsdiff4.diff(BASE, CONTENT),
}


@pytest.mark.parametrize("codec", BLOBS)
def test_a_changed_byte_is_refused_or_makes_wrong_bytes(codec):
    blob = BLOBS[codec]
    for at in range(len(blob)):
        for bit in (1, 128):
            damaged = bytearray(blob)
            damaged[at] ^= bit
            try:
                wrong_or_refused(codec, bytes(damaged), BASE, len(CONTENT), CONTENT)
            except AssertionError:
                # A bit that means nothing: of bzip2's padding, or of the level it names.
                assert codec == "bsdiff4"


@pytest.mark.parametrize("codec", BLOBS)
def test_a_blob_that_is_cut_or_goes_on_is_refused(codec):
    for blob in (*(BLOBS[codec][:size] for size in range(len(BLOBS[codec]))), BLOBS[codec] + b"\0"):
        with pytest.raises(Corrupt):
            decoded(codec, blob, BASE, len(CONTENT))


@pytest.mark.parametrize("codec", BLOBS)
def test_another_base_makes_wrong_bytes(codec):
    if CODECS[codec].needs_base:
        assert not wrong_or_refused(codec, BLOBS[codec], noise(4, 900), len(CONTENT), CONTENT)


@pytest.mark.parametrize("codec", [*BLOBS, "raw"])
@pytest.mark.parametrize("size", [0, 1, len(CONTENT) - 1, len(CONTENT) + 1, 1 << 40])
def test_another_size_is_refused(codec, size):
    with pytest.raises(Corrupt):
        decoded(codec, BLOBS.get(codec, CONTENT), BASE, size)


BOMBS = {
    "xz": encode.xz_compress(ZERO * 64),
    "zstd": zstd.compress(ZERO * 64),
    "zstd-prefix": encode._with_prefix(ZERO * 64, bytes(1000)),
}


@pytest.mark.parametrize("codec", BOMBS)
def test_a_bomb_is_refused_in_bounded_memory(codec):
    tracemalloc.start()
    with pytest.raises(Corrupt):
        decoded(codec, BOMBS[codec], bytes(1000), 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 * MIB


@pytest.mark.parametrize("number", range(1, len(CODERS)))
def test_coders_do_not_inflate_more_than_asked(number):
    pieces = CODERS[number].decode(in_memory(CODERS[number].encode(ZERO * 64)))
    assert len(next(pieces)) <= PIECE


def test_each_coder_is_chosen_where_it_is_smallest():
    zeros = bytearray(MIB)
    for at in range(0, MIB, 9973):
        zeros[at] = at % 251
    texts = {0: noise(1, 500), 1: b"".join(b"%d, " % (n * n) for n in range(5000)), 2: bytes(zeros)}
    for number, data in texts.items():
        found, blob = smallest_coding(data)
        assert found == number
        assert b"".join(CODERS[found].decode(in_memory(blob))) == data


def zstd_frame(data, **options):
    chosen = {zstd.CompressionParameter[name]: value for name, value in options.items()}
    compressor = zstd.ZstdCompressor(options=chosen)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize("codec", ["zstd", "zstd-prefix"])
def test_a_zstd_window_beyond_the_cap_is_refused(codec):
    for log, right in ((WINDOW_LOG_MAX, True), (WINDOW_LOG_MAX + 1, False), (27, False)):
        blob = zstd_frame(b"x" * 10, window_log=log, content_size_flag=0)
        if right:
            assert decoded(codec, blob, bytes(9), 10) == b"x" * 10
        else:
            with pytest.raises(Corrupt):
                decoded(codec, blob, bytes(9), 10)


def test_a_zstd_frame_that_promises_much_is_refused():
    blob = zstd_frame(b"", window_log=10)[:4] + b"\xc0" + b"\x60" + (1 << 40).to_bytes(8, "little")
    with pytest.raises(Corrupt):
        decoded("zstd", blob, None, 10)


def test_a_base_that_is_no_prefix_is_refused():
    for base in (b"", bytes(7), bytes(PREFIX_MAX + 1)):
        with pytest.raises(Corrupt, match="a base of"):
            decoded("zstd-prefix", BLOBS["zstd-prefix"], base, len(CONTENT))


@pytest.mark.parametrize(
    "blob",
    [
        lzma.compress(CONTENT, format=lzma.FORMAT_ALONE),
        lzma.compress(CONTENT, format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}]),
        lzma.compress(CONTENT, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 64 * MIB}]),
        encode.xz_compress(CONTENT[:99]) + encode.xz_compress(CONTENT[99:]),
        bz2.compress(CONTENT),
        zstd.compress(CONTENT),
    ],
    ids=["lzma", "raw lzma2", "64 MiB dictionary", "two streams", "bz2", "zstd"],
)
def test_other_streams_than_one_xz_stream_are_refused(blob):
    with pytest.raises(Corrupt):
        decoded("xz", blob, None, len(CONTENT))


def bsdiff_blob(size, control, diff=b"", extra=b""):
    parts = [bz2.compress(part) for part in (control, diff, extra)]
    return b"BSDIFF40" + struct.pack("<QQQ", len(parts[0]), len(parts[1]), size) + b"".join(parts)


def entry(add, copy, seek):
    return b"".join(bsdiff4.core.encode_int64(n) for n in (add, copy, seek))


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"BSDIFF41" + bytes(24), id="magic"),
        pytest.param(bsdiff_blob(2**40, entry(4, 0, 0), b"\0" * 4), id="result of 2^40"),
        pytest.param(b"BSDIFF40" + struct.pack("<QQQ", 2**63 + 8, 0, 4), id="negative control length"),
        pytest.param(b"BSDIFF40" + struct.pack("<QQQ", 2**40, 2**40, 4), id="blocks beyond the blob"),
        pytest.param(
            bsdiff_blob(4, entry(0, 0, -100) + entry(4, 0, 0), b"\0" * 4), id="seek before the base"
        ),
        pytest.param(bsdiff_blob(4, entry(0, 0, 10**9) + entry(4, 0, 0), b"\0" * 4), id="seek past the base"),
        pytest.param(
            bsdiff_blob(4, entry(0, 0, 2**62) * 2 + entry(4, 0, 0), b"\0" * 4), id="seeks beyond 64 bits"
        ),
        pytest.param(bsdiff_blob(4, entry(-1, 5, 0), b"", b"\0" * 5), id="negative add"),
        pytest.param(bsdiff_blob(4, entry(5, -1, 0), b"\0" * 5), id="negative copy"),
        pytest.param(bsdiff_blob(4, entry(5, 0, 0), b"\0" * 5), id="more than the result"),
        pytest.param(bsdiff_blob(4, entry(2**62, 2**62, 0), b"\0" * 5), id="2^62"),
        pytest.param(bsdiff_blob(4, entry(0, 0, 0) * 10**6), id="endless empty entries"),
        pytest.param(bsdiff_blob(4, b"", b""), id="no control"),
        pytest.param(bsdiff_blob(4, entry(4, 0, 0), b"\0" * 3), id="short diff"),
        pytest.param(bsdiff_blob(4, entry(4, 0, 0), ZERO * 8), id="diff bomb"),
        pytest.param(bsdiff_blob(4, entry(0, 4, 0), b"", ZERO * 8), id="extra bomb"),
        pytest.param(bsdiff_blob(4, entry(4, 0, 0) + ZERO, b"\0" * 4), id="control bomb"),
    ],
)
def test_hostile_bsdiff_patches_are_refused(blob):
    with pytest.raises(Corrupt):
        decoded("bsdiff4", blob, b"abcd", 4)


def test_arbitrary_bytes_are_no_blob():
    for name in NAMES:
        for seed in range(20):
            data = noise(seed, 10 * seed)
            with pytest.raises(ArtifactError):
                decoded(name, data, BASE, len(data) + 1)
