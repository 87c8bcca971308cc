"""Packages whose manifest and blobs a fuzzer can change without being stopped by a checksum."""

import hashlib
import struct
import zlib

from bumpless.common.artifacts.tree import Tree, directory_entry, file_entry, link_entry

FILES = {"a": b"1" * 50, "d/b": b"22" * 40, "d/c": b""}
BASE = Tree(
    (
        file_entry("a", False, hashlib.sha256(FILES["a"]).hexdigest(), 50),
        directory_entry("d"),
        file_entry("d/b", True, hashlib.sha256(FILES["d/b"]).hexdigest(), 80),
        file_entry("d/c", False, hashlib.sha256(b"").hexdigest(), 0),
        link_entry("l", "d/b"),
    )
)
_HEADER = struct.Struct("<4sHHIQ32s32s")


def read_from(package):
    return lambda at, count: package[at : at + count]


def stored(data, *, delta):
    """A package of `data`: the length of the manifest's columns, the codecs, the columns, and what follows them."""
    length = int.from_bytes(data[:2], "little") % 2000
    codecs = int.from_bytes(data[2:4], "little") & 0xFF
    columns, rest = data[4 : 4 + length], data[4 + length :]
    packed = xz(columns)
    root = bytes.fromhex(BASE.root.removeprefix("sha256:")) if delta else bytes(32)
    return _HEADER.pack(b"BPK1", 2, codecs, len(packed), len(rest), root, bytes(32)) + packed + rest


def xz(data):
    """`data`, of at most 64 KiB, as an .xz file that does not compress it."""
    flags = b"\0\1"  # CRC32
    head = b"\xfd7zXZ\0" + flags + _crc(flags)
    block_head = b"\2\0\x21\1\0\0\0\0"  # one filter, LZMA2, with the smallest dictionary
    block_head += _crc(block_head)
    chunk = b"\1" + struct.pack(">H", len(data) - 1) + data if data else b""
    block = chunk + b"\0"
    unpadded = len(block_head) + len(block) + 4
    block += bytes(-len(block) % 4)
    index = b"\0\1" + _number(unpadded) + _number(len(data))
    index += bytes(-len(index) % 4)
    index += _crc(index)
    tail = struct.pack("<I", len(index) // 4 - 1) + flags
    return head + block_head + block + _crc(data) + index + _crc(tail) + tail + b"YZ"


def _crc(data):
    return struct.pack("<I", zlib.crc32(data))


def _number(value):
    return bytes([value & 0x7F | 0x80, value >> 7]) if value >= 0x80 and value < 1 << 14 else _long(value)


def _long(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])
