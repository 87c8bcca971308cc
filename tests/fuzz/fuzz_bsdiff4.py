"""Fuzzes the decoder of BSDIFF40 patches: as they are for odd inputs, with blocks that are not compressed for even
ones, which reach further."""

from harness import Decoding, decoding, main
from samples import NEW, OLD

from bumpless.common.artifacts import bsdiff


def _stored(blob, base, size):
    return bsdiff.apply(blob, base, size, lambda part: part.pieces())


if __name__ == "__main__":
    packed, stored = decoding("bsdiff4", OLD, NEW), Decoding(_stored, OLD, NEW)
    main("bsdiff4", lambda data: (packed if data and data[0] & 1 else stored)(data[1:]))
