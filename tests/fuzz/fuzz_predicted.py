"""Fuzzes the decoder of `predicted` blobs."""

from harness import decoding, main
from samples import NEW_PROGRAM, OLD_PROGRAM

if __name__ == "__main__":
    main("predicted", decoding("predicted", OLD_PROGRAM, NEW_PROGRAM))
