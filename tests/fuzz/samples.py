"""The files that the targets' blobs are made for and from. They need nothing that is instrumented."""

from __future__ import annotations

import gzip
import random
import sys
import zlib
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from support.programs import functions, grown, program

_RANDOM = random.Random(0)
OLD = _RANDOM.randbytes(700) + b"some text that is in both " * 20 + _RANDOM.randbytes(300)
NEW = OLD[300:800] + b"inserted" + OLD[100:1300] + b"end"

_RODATA = _RANDOM.randbytes(300)
_FUNCTIONS = functions(1, 12, 20)
OLD_PROGRAM = program(_FUNCTIONS, _RODATA)
NEW_PROGRAM = program(grown(_FUNCTIONS, 2), _RODATA)

LANE_WINDOW = 512

_TEXT = b"".join(b"line %d of a log\n" % (n * n) for n in range(80))


def _gzip(data: bytes, level: int) -> bytes:
    pack = zlib.compressobj(level, zlib.DEFLATED, -15, 8)
    return gzip.compress(b"", mtime=0)[:10] + pack.compress(data) + pack.flush() + bytes(8)


OLD_PACKED = _gzip(_TEXT, 6) + _gzip(_TEXT[:700], 9)
NEW_PACKED = _gzip(_TEXT.replace(b"64", b"sixty-four"), 6) + _gzip(_TEXT[5:705], 9)
