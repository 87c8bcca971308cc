"""Files that are, or hold, deflate streams (gzip, zip, wheel, jar): coded as what they hold, where packing that again
gives the same bytes.

A file is taken apart into literal bytes and deflate streams. Opened, it is the literals and what the streams hold, one
after the other. The blob says where the streams of the base begin, where those of the result do and how they were
packed, and codes the opened result against the opened base. Both are held in memory, so they are bounded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from .errors import Corrupt
from .extent import Bytes, Extent, Stream
from .leb128 import Reader
from .leb128 import encode as encode_numbers
from .limits import MIB, PIECE
from .names import NAMES

OPENED_MAX = 8 * MIB
MAX_STREAMS = 1 << 16
_SHORTEST = 64
"""Streams below this many packed bytes are left as they are."""

_STEP = 1 << 12

_HEAD = struct.Struct("<I")
_SETTINGS = tuple((level, memory) for memory in (8, 9) for level in (6, 9, 1, 8, 7, 5, 4, 3, 2))
_SIGNATURES = (b"\x1f\x8b\x08", b"PK\x03\x04")


class _Coded(Protocol):
    @property
    def codec(self) -> str: ...
    @property
    def blob(self) -> bytes: ...


@dataclass(frozen=True)
class Part:
    """`literal` bytes, then a stream that holds `size` bytes, packed with the setting of that number."""

    literal: int
    size: int
    setting: int


def encode(new: bytes, old: bytes, against: Callable[[bytes, bytes], _Coded]) -> bytes | None:
    """None where the two cannot be opened, or are too large when they are."""
    from .codecs import CODECS

    if not new.startswith(_SIGNATURES) or not old.startswith(_SIGNATURES):
        return None
    opened_new, opened_old = _open(new), _open(old)
    if opened_new is None or opened_old is None:
        return None
    (new_parts, new_bytes), (old_parts, old_bytes) = opened_new, opened_old
    inner = against(new_bytes, old_bytes)
    if not CODECS[inner.codec].needs_base:
        return None
    numbers = [NAMES.index(inner.codec), len(new_bytes), len(old_parts), len(new_parts)]
    for part in old_parts:
        numbers += (part.literal, part.size)
    for part in new_parts:
        numbers += (part.literal, part.size, part.setting)
    head = encode_numbers(numbers)
    return _HEAD.pack(len(head)) + head + inner.blob


def decode(blob: Extent, base: Extent, size: int) -> Iterator[bytes]:
    """The `size` bytes of the packed file, in pieces. Raises: Corrupt."""
    from .codecs import CODECS

    if blob.size < _HEAD.size:
        raise Corrupt("a head", f"{blob.size} bytes", blob.name)
    (length,) = _HEAD.unpack(blob.read(0, _HEAD.size))
    inner_at = _HEAD.size + length
    if length > MIB or inner_at > blob.size:
        raise Corrupt(f"a head of at most {MIB} bytes inside the blob", f"{length}", blob.name)
    head = Reader(blob.read(_HEAD.size, length), blob.name)
    number, opened_size, old_count, new_count = head.numbers(4)
    if max(old_count, new_count) > MAX_STREAMS or opened_size > OPENED_MAX:
        raise Corrupt(f"at most {MAX_STREAMS} streams and {OPENED_MAX} bytes", "more", blob.name)
    if number >= len(NAMES) or NAMES[number] == "deflated" or not CODECS[NAMES[number]].needs_base:
        raise Corrupt("a codec with a base", f"codec {number}", blob.name)
    old_parts = [Part(head.number(), head.number(), 0) for _ in range(old_count)]
    new_parts = [Part(head.number(), head.number(), head.number()) for _ in range(new_count)]
    opened = Bytes(_opened(base, old_parts), base.name)
    inner = Extent(blob.fd, blob.start + inner_at, blob.size - inner_at, blob.name)
    stream = Stream(CODECS[NAMES[number]].decode(inner, opened, opened_size), blob.name)
    yield from _pack(stream, new_parts, opened_size, blob.name)
    stream.end()


def _open(data: bytes) -> tuple[list[Part], bytes] | None:
    """The parts of a file and what it holds; None if no stream of it can be packed again."""
    parts: list[Part] = []
    opened = bytearray()
    done = at = 0
    while (at := _next_stream(data, at)) >= 0 and len(parts) < MAX_STREAMS:
        found = _packed_again(data, at, OPENED_MAX - len(opened))
        if found is not None:
            content, setting, length = found
            parts.append(Part(at - done, len(content), setting))
            opened += data[done:at] + content
            done = at = at + length
        if len(opened) + len(data) - done > OPENED_MAX:
            return None
    opened += data[done:]
    return (parts, bytes(opened)) if parts else None


def _next_stream(data: bytes, at: int) -> int:
    """Where the next deflate stream begins, -1 if there is none: after the head of a gzip or zip member."""
    while True:
        places = [place for place in (data.find(s, at) for s in _SIGNATURES) if place >= 0]
        if not places:
            return -1
        start = min(places)
        at = start + 4
        if data[start : start + 4] == _SIGNATURES[1]:
            if len(data) >= start + 30 and data[start + 8 : start + 10] == b"\x08\x00":
                name, extra = struct.unpack_from("<HH", data, start + 26)
                return start + 30 + int(name) + int(extra)
            continue
        end = _gzip_head(data, start)
        if end is not None:
            return end


def _gzip_head(data: bytes, start: int) -> int | None:
    """RFC 1952: ten bytes, then what the flags announce."""
    flags, at = data[start + 3] if start + 10 <= len(data) else 0xFF, start + 10
    if flags & 0xE0:
        return None
    if flags & 4:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            at = data.find(b"\0", at) + 1
            if not at:
                return None
    return at + 2 if flags & 2 else at


def _packed_again(data: bytes, at: int, limit: int) -> tuple[bytes, int, int] | None:
    """Content, setting and packed length of the stream at `at`, if packing it again gives the same bytes."""
    try:
        content, end = _stream(lambda at, count: data[at : at + count], at, limit)
    except zlib.error:
        return None
    packed = data[at:end]
    if len(packed) < _SHORTEST:
        return None
    for setting in range(len(_SETTINGS)):
        pack = _packer(setting)
        if pack.compress(content) + pack.flush() == packed:
            return content, setting, len(packed)
    return None


def _packer(setting: int) -> zlib._Compress:
    level, memory = _SETTINGS[setting]
    return zlib.compressobj(level, zlib.DEFLATED, -15, memory)


def _stream(read: Callable[[int, int], bytes], at: int, limit: int) -> tuple[bytes, int]:
    """What the stream at `at` holds, and where it ends. Read in small steps: there may be thousands of short streams.

    Raises: zlib.error, if there is no whole stream, or it holds more than `limit` bytes.
    """
    unpack = zlib.decompressobj(-15)
    content = bytearray()
    while not unpack.eof:
        piece = read(at, _STEP)
        content += unpack.decompress(piece)
        if not piece or len(content) > limit:
            raise zlib.error(f"ends early, or holds more than {limit} bytes")
        at += len(piece)
    return bytes(content), at - len(unpack.unused_data)


def _opened(base: Extent, parts: Sequence[Part]) -> bytes:
    def read(at: int, count: int) -> bytes:
        return base.read(at, min(count, base.size - at))

    out = bytearray()
    at = 0
    for part in parts:
        if at + part.literal > base.size or len(out) + part.literal + part.size > OPENED_MAX:
            raise Corrupt(f"streams inside {base.size} bytes", f"{at + part.literal}", base.name)
        out += base.read(at, part.literal)
        at += part.literal
        try:
            content, at = _stream(read, at, part.size)
        except zlib.error as error:
            raise Corrupt(f"a deflate stream of {part.size} bytes", str(error), base.name) from error
        if len(content) < part.size:
            raise Corrupt(f"a deflate stream of {part.size} bytes", f"{len(content)}", base.name)
        out += content
    if len(out) + base.size - at > OPENED_MAX:
        raise Corrupt(f"at most {OPENED_MAX} bytes", "more", base.name)
    return bytes(out) + base.read(at, base.size - at)


def _pack(stream: Stream, parts: Sequence[Part], size: int, where: str) -> Iterator[bytes]:
    left = size
    for part in parts:
        left -= part.literal + part.size
        if left < 0 or part.setting >= len(_SETTINGS):
            raise Corrupt(f"parts of {size} bytes", "longer ones, or an unknown setting", where)
        yield from stream.pieces(part.literal)
        pack = _packer(part.setting)
        # What is packed may be longer, and what was held back comes with it.
        for at in range(0, part.size, PIECE // 2):
            yield pack.compress(stream.take(min(PIECE // 2, part.size - at)))
        yield pack.flush()
    yield from stream.pieces(left)
