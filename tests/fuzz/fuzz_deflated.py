"""Fuzzes the decoder of `deflated` blobs, with the codecs that stand inside."""

from harness import decoding, main
from samples import NEW_PACKED, OLD_PACKED

if __name__ == "__main__":
    main("deflated", decoding("deflated", OLD_PACKED, NEW_PACKED))
