"""Fuzzes the decoder of `predicted` blobs in two lanes, each alone against both together. Windows are small, so that
there are some of each lane."""

from harness import ArtifactError, File, main
from samples import LANE_WINDOW, NEW_PROGRAM, OLD_PROGRAM

from bumpless.common.artifacts import lanes
from bumpless.common.artifacts.aligned import patch, windows

OLD = File(OLD_PROGRAM).extent
BLOB = File()
SIZES = (len(NEW_PROGRAM), LANE_WINDOW + 1, 3 * LANE_WINDOW, 1, 0, 100_000)


def result(blob, size, lane=None):
    """The windows, or None for a blob that is refused."""
    try:
        return [*patch.decode(blob, OLD, size, lanes.LANES, lane)]
    except ArtifactError:
        return None


def one(data: bytes) -> None:
    if not data:
        return
    size = SIZES[data[0] % len(SIZES)]
    blob = BLOB.set(data[1:])
    both = result(blob, size)
    alone = [result(blob, size, lane) for lane in range(lanes.LANES)]
    if both is None:
        assert None in alone
    else:
        assert sum(map(len, both)) == size
        assert alone == [both[lane :: lanes.LANES] for lane in range(lanes.LANES)]


if __name__ == "__main__":
    windows.WINDOW = patch.WINDOW = LANE_WINDOW
    main("lanes", one)
