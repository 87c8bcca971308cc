"""Fuzzes the decoder of `aligned` blobs."""

from harness import decoding, main
from samples import NEW, OLD

if __name__ == "__main__":
    main("aligned", decoding("aligned", OLD, NEW))
