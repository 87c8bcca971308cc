"""Writes the seeds in `corpus` again: small blobs that are valid, for every target."""

from __future__ import annotations

import bz2
import hashlib
import struct
from pathlib import Path
from unittest import mock

import bsdiff4
import numpy as np
from backports import zstd
from packages import BASE
from samples import LANE_WINDOW, NEW, NEW_PACKED, NEW_PROGRAM, OLD, OLD_PACKED, OLD_PROGRAM

from bumpless.common.artifacts import deflated, encode, lanes, package
from bumpless.common.artifacts.aligned import elf, patch, windows
from bumpless.common.artifacts.aligned.alignment import align, align_programs
from bumpless.common.artifacts.aligned.corrections import Corrections
from bumpless.common.artifacts.aligned.corrections import pack as pack_image
from bumpless.common.artifacts.encode import Coded
from bumpless.common.artifacts.extent import Bytes
from bumpless.common.artifacts.leb128 import encode as encode_numbers
from bumpless.common.artifacts.names import NAMES
from bumpless.common.artifacts.package import Block, Copy, Manifest, Member
from bumpless.common.artifacts.streams import CODERS, smallest_coding
from bumpless.common.artifacts.tree import NO_ROOT, Tree
from bumpless.common.artifacts.workers import Workers

CORRECTIONS = Corrections(*(np.array(c, np.int64) for c in ([0x401100, 0x401300], [0x401180, 0x401200])))
CORPUS = Path(__file__).parent / "corpus"


def stored(data: bytes) -> tuple[int, bytes]:
    return 0, data


def seeds(workers: Workers) -> dict[str, list[bytes]]:
    alignment = align(OLD, NEW, workers)
    old_program, new_program = elf.read(OLD_PROGRAM), elf.read(NEW_PROGRAM)
    assert old_program is not None
    assert new_program is not None
    image = elf.image(old_program, new_program)
    assert image is not None
    programs = align_programs(old_program, new_program, image, workers)
    aligned = [
        patch.encode(alignment, Bytes(OLD, "old"), NEW, None, how) for how in (stored, smallest_coding)
    ]
    predicted = [
        patch.encode(programs, Bytes(OLD_PROGRAM, "old"), NEW_PROGRAM, image, how)
        for how in (stored, smallest_coding)
    ]

    with mock.patch.multiple(windows, WINDOW=LANE_WINDOW):
        laned = [
            patch.encode(programs, Bytes(OLD_PROGRAM, "old"), NEW_PROGRAM, image, how, lanes.LANES)
            for how in (stored, smallest_coding)
        ]

    def inner(new: bytes, old: bytes) -> Coded:
        blob = patch.encode(align(old, new, workers), Bytes(old, "old"), new, None, stored)
        assert blob is not None
        return Coded("aligned", blob)

    def prefixed(new: bytes, old: bytes) -> Coded:
        return Coded("zstd-prefix", encode._with_prefix(new, old))

    opened = [deflated.encode(NEW_PACKED, OLD_PACKED, how) for how in (inner, prefixed)]
    bsdiff = bsdiff4.diff(OLD, NEW)
    control, diff, size = struct.unpack("<QQQ", bsdiff[8:32])
    blocks = [
        bz2.decompress(part)
        for part in (bsdiff[32:][:control], bsdiff[32 + control :][:diff], bsdiff[32 + control + diff :])
    ]
    plain = b"BSDIFF40" + struct.pack("<QQQ", len(blocks[0]), len(blocks[1]), size) + b"".join(blocks)
    streams = [NEW, encode.xz_compress(NEW), zstd.compress(NEW), encode._with_prefix(NEW, OLD)]
    streams += [coder.encode(NEW) for coder in CODERS]
    manifests = [
        (
            None,
            Manifest(
                directories=("e", "e/f"), links=(("e/k", "../x"),), blocks=(block("raw", (), "e/n", "x"),)
            ),
        ),
        (BASE, Manifest(kept=(1, 1, 3), copies=(Copy("c", True, 2), Copy("a2", False, 0)))),
        (BASE, Manifest(kept=(5,), blocks=(block("zstd-prefix", (0,), "n", "o"), block("raw", (), "p")))),
        (BASE, Manifest(kept=(0, 5))),
    ]
    return {
        "aligned": [b"\0" + blob for blob in aligned if blob],
        "predicted": [b"\0" + blob for blob in predicted if blob],
        "lanes": [b"\0" + blob for blob in laned if blob],
        "deflated": [b"\0" + blob for blob in opened if blob],
        "bsdiff4": [b"\1\0" + bsdiff, b"\0\0" + plain],
        "streams": [bytes([number, 0]) + blob for number, blob in enumerate(streams)],
        "numbers": [
            b"\0\4" + encode_numbers([0, 127, 128, (1 << 49) - 1]),
            b"\1" + pack_image(image, CORRECTIONS),
        ],
        "package": [
            *(b"\1" + packed(old, manifest) for old, manifest in manifests),
            *(bytes([2 * (old is not None)]) + open_columns(old, manifest) for old, manifest in manifests),
        ],
        "rebuild": [
            bytes([(old is not None) + 2 * (i % 2)]) + open_columns(old, manifest)
            for i, (old, manifest) in enumerate(manifests)
        ],
    }


def block(codec: str, bases: tuple[int, ...], *paths: str) -> Block:
    return Block(codec, bases, tuple(Member(path, False, 5) for path in paths), 5 * len(paths))


def packed(old: Tree | None, manifest: Manifest) -> bytes:
    digests = [hashlib.sha256(b"x" * m.size).hexdigest() for m in manifest.members]
    blobs = [b"x" * b.blob for b in manifest.blocks]
    return package.pack(old, NO_ROOT.replace("0", "7"), manifest, digests, blobs)


def open_columns(old: Tree | None, manifest: Manifest) -> bytes:
    columns = package._columns(manifest, old or Tree(()))
    rest = bytes(package.CHECK * len([*manifest.members])) + b"".join(b"x" * b.blob for b in manifest.blocks)
    mask = sum(1 << NAMES.index(name) for name in {block.codec for block in manifest.blocks})
    return struct.pack("<HH", len(columns), mask) + columns + rest


def main() -> None:
    with Workers(1) as workers:
        for name, blobs in seeds(workers).items():
            (CORPUS / name).mkdir(parents=True, exist_ok=True)
            for blob in blobs:
                (CORPUS / name / hashlib.sha256(blob).hexdigest()[:16]).write_bytes(blob)


if __name__ == "__main__":
    main()
