"""Fuzzes columns of numbers, with both readers held against each other, and images with the fields they lead to."""

import numpy as np
from harness import ArtifactError, File, main
from samples import OLD_PROGRAM

from bumpless.common.artifacts.aligned import numbers
from bumpless.common.artifacts.aligned.corrections import pack, unpack
from bumpless.common.artifacts.aligned.prediction import Predictor
from bumpless.common.artifacts.aligned.windows import Alignment, gather, windows
from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.leb128 import Reader

OLD = File(OLD_PROGRAM).extent
_SIZE = OLD.size
ALIGNMENT = Alignment(*(np.array(c) for c in ([0, 2000, 900, 1], [900, 9, 700, 1], [3, 0, 77, 0])))


def columns(data: bytes) -> None:
    count, data = data[0], data[1:]
    try:
        slow = Reader(data, "column")
        expected = slow.numbers(count)
        complete = not list(slow.strings()) if expected or not data else False
    except ArtifactError:
        expected, complete = [], False
    try:
        found = numbers.decode(data, count, "column").tolist()
    except Corrupt:
        assert not complete
    else:
        assert complete
        assert found == expected


def image(data: bytes) -> None:
    found, known = unpack(data, "image")
    again = unpack(pack(found, known), "image")
    assert again[0] == found
    assert all((a == b).all() for a, b in zip(vars(again[1]).values(), vars(known).values(), strict=True))
    predictor = Predictor(ALIGNMENT, found, known, OLD, "image")
    for window in windows(ALIGNMENT):
        copied = gather(OLD, window.old, window.size)
        predicted = predictor.predict(window, copied)
        assert len(predicted) == len(copied)


if __name__ == "__main__":
    main("numbers", lambda data: (image if data[0] & 1 else columns)(data[1:]) if len(data) > 1 else None)
