"""Fuzzes the codecs that are one compressed stream, and the coders of the streams in patches."""

from harness import Decoding, decoding, main
from samples import NEW, OLD

from bumpless.common.artifacts.streams import CODERS


def _coder(number):
    return Decoding(lambda blob, base, size: CODERS[number].decode(blob), None, NEW)


if __name__ == "__main__":
    targets = [
        *(decoding(codec, None, NEW) for codec in ("raw", "xz", "zstd")),
        decoding("zstd-prefix", OLD, NEW),
        *map(_coder, range(len(CODERS))),
    ]
    main("streams", lambda data: targets[data[0] % len(targets)](data[1:]) if data else None)
