"""The parent's side of the patcher: the same results as in process, and nothing believed."""

from __future__ import annotations

import ast
import lzma
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bsdiff4
import pytest
from backports import zstd

from bumpless.common.artifacts import encode
from bumpless.common.artifacts.codecs import CODECS
from bumpless.common.artifacts.decoder import InProcessDecoder
from bumpless.common.artifacts.errors import ArtifactError, Corrupt
from bumpless.common.artifacts.extent import Extent
from bumpless.common.artifacts.lanes import WINDOW
from bumpless.common.artifacts.limits import MIB, PIECE
from bumpless.common.artifacts.sandbox.confine import Measure
from bumpless.common.artifacts.sandbox.decoder import (
    PatcherFailed,
    SandboxedDecoder,
    SandboxLimits,
    SandboxUnavailable,
)
from bumpless.common.artifacts.workers import Workers
from support import hostile_patcher
from support.programs import functions, grown, program

OLD = b"".join(i.to_bytes(4, "little") for i in range(100_000))
NEW = OLD[4000:200_000] + b"something new" + OLD[200_000:] + os.urandom(5000)
ENCODED = {
    "raw": NEW,
    "xz": lzma.compress(NEW),
    "zstd": zstd.compress(NEW),
    "zstd-prefix": zstd.compress(NEW, zstd_dict=zstd.ZstdDict(OLD, is_raw=True).as_prefix),
    "bsdiff4": bsdiff4.diff(OLD, NEW),
}


class Files:
    """Extents of new files."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._fds = directory, list[int]()

    def extent(self, content: bytes, name: str) -> Extent:
        path = self._directory / str(len(self._fds))
        path.write_bytes(b"before" + content + b"after")
        self._fds.append(os.open(path, os.O_RDONLY))
        return Extent(self._fds[-1], 6, len(content), name)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    files = Files(tmp_path)
    yield files
    files.close()


@pytest.fixture
def decoder() -> Iterator[SandboxedDecoder]:
    with SandboxedDecoder(ENCODED) as decoder:
        yield decoder


def hostile(codec: str, limits: SandboxLimits | None = None) -> SandboxedDecoder:
    """Children with all measures, whose codec attacks."""
    command = (sys.executable, "-I", hostile_patcher.__file__, ",".join(Measure))
    return SandboxedDecoder([codec, "nothing"], limits, command=command)


def in_place(decoder: SandboxedDecoder, place: int, files: Files) -> SandboxedDecoder:
    """The decoder, whose next request goes to this process: they take turns."""
    for _ in range(place):
        assert list(decoder.decode("nothing", files.extent(b"", "nothing"), None, 0)) == []
    return decoder


@pytest.mark.parametrize("codec", ENCODED)
def test_decodes_what_is_decoded_in_process(codec: str, decoder: SandboxedDecoder, files: Files) -> None:
    blob, base = files.extent(ENCODED[codec], "new"), files.extent(OLD, "old")
    for _ in range(2):
        assert b"".join(decoder.decode(codec, blob, base, len(NEW))) == NEW
    assert b"".join(InProcessDecoder().decode(codec, blob, base, len(NEW))) == NEW


@pytest.mark.parametrize("codec", sorted(set(ENCODED) - {"raw"}))
@pytest.mark.parametrize("damage", ["cut", "followed", "flipped", "no base", "short base"])
def test_errors_are_those_raised_in_process(
    codec: str, damage: str, decoder: SandboxedDecoder, files: Files
) -> None:
    content = ENCODED[codec]
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "followed":
        content += b"more"
    elif damage == "flipped":
        content = content[:12] + bytes(b ^ 0xFF for b in content[12:40]) + content[40:]
    old = None if damage == "no base" else files.extent(OLD[:4] if damage == "short base" else OLD, "old")
    blob = files.extent(content, "new")

    def outcome(who: InProcessDecoder | SandboxedDecoder) -> str:
        try:
            return f"{len(b''.join(who.decode(codec, blob, old, len(NEW))))} bytes"
        except ArtifactError as error:
            return f"{type(error).__name__}: {error}"

    assert outcome(decoder) == outcome(InProcessDecoder())
    after = files.extent(NEW, "next")
    assert b"".join(decoder.decode("raw", after, None, len(NEW))) == NEW


def test_an_empty_result(decoder: SandboxedDecoder, files: Files) -> None:
    assert list(decoder.decode("raw", files.extent(b"", "nothing"), None, 0)) == []


def test_a_result_that_is_shorter_than_said(decoder: SandboxedDecoder, files: Files) -> None:
    with pytest.raises(Corrupt, match=r"new: expected 5 bytes, found 4"):
        list(decoder.decode("raw", files.extent(b"four", "new"), None, 5))


def test_descriptors_may_be_closed_while_requests_wait(decoder: SandboxedDecoder, tmp_path: Path) -> None:
    results = []
    for number in range(8):
        (tmp_path / "file").write_bytes(b"%d" % number)
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        (tmp_path / "file").unlink()
        results.append(decoder.decode("raw", Extent(fd, 0, 1, "file"), None, 1))
        os.close(fd)
    assert [b"".join(r) for r in results] == [b"%d" % n for n in range(8)]


def test_results_are_read_in_order(decoder: SandboxedDecoder, files: Files) -> None:
    first, second = (decoder.decode("raw", files.extent(b"x", "x"), None, 1) for _ in range(2))
    with pytest.raises(RuntimeError, match="in the order"):
        next(second)
    assert list(first) == [b"x"]


def test_only_codecs_named_at_the_start(decoder: SandboxedDecoder, files: Files) -> None:
    with pytest.raises(KeyError):
        decoder.decode("hang", files.extent(b"", "x"), None, 0)


@pytest.mark.parametrize(
    ("codec", "found"),
    [
        ("endless", "more"),
        ("crash", "ended"),
        ("unknown_frame", "kind 200"),
        ("empty_frame", "kind 1 with 0"),
        ("huge_frame", "4294967295"),
        ("second_greeting", "kind 0"),
        ("huge_error", "kind 3"),
        ("garbage", "kind 85"),
        ("foreign_error", "another"),
        ("odd_error", "another"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_child_that_breaks_the_protocol_is_ended(codec: str, found: str, place: int, files: Files) -> None:
    with hostile(codec) as decoder:
        in_place(decoder, place, files)
        with pytest.raises(PatcherFailed, match=found):
            list(decoder.decode(codec, files.extent(b"", "new"), None, 3 * PIECE))
        for pid in decoder.pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


@pytest.mark.parametrize("place", [0, 1])
def test_a_child_that_hangs_is_ended(place: int, files: Files) -> None:
    with hostile("hang", SandboxLimits(stall_s=2)) as decoder:
        in_place(decoder, place, files)
        pieces = decoder.decode("hang", files.extent(b"", "new"), None, MIB)
        assert next(pieces) == b"1"
        with pytest.raises(PatcherFailed, match=r"expected an answer within 2 s, found none"):
            next(pieces)


@pytest.mark.parametrize("lane", [0, 1])
@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("crash", "ended with status 3"),
        ("escape", "killed by SIGSYS"),
        ("hang", "an answer within 2 s, found none"),
        ("short", f"a window of {WINDOW} bytes, found {WINDOW - 1}"),
        ("long", "bytes, found more"),
        ("shifted", f"a window of {WINDOW} bytes, found {WINDOW + 1}"),
    ],
)
def test_a_lane_that_dies_hangs_or_lies_ends_both(how: str, found: str, lane: int, files: Files) -> None:
    size = 12 * WINDOW
    with hostile("predicted", SandboxLimits(stall_s=2) if how == "hang" else None) as decoder:
        with pytest.raises(PatcherFailed, match=found):
            list(
                decoder.decode("predicted", files.extent(b"%d %s" % (lane, how.encode()), "new"), None, size)
            )
        for pid in decoder.pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


@pytest.mark.parametrize("lane", [0, 1])
@pytest.mark.parametrize(("how", "found"), [("raise", "a sound lane"), ("end", f"{6 * WINDOW} bytes")])
def test_a_damaged_lane_is_an_error_and_no_more(how: str, found: str, lane: int, files: Files) -> None:
    with hostile("predicted") as decoder:
        for _ in range(2):
            blob = files.extent(b"%d %s" % (lane, how.encode()), "new")
            with pytest.raises(Corrupt, match=rf"new: expected {found}") as caught:
                list(decoder.decode("predicted", blob, None, 12 * WINDOW))
            assert not isinstance(caught.value, PatcherFailed)
        whole = decoder.decode("predicted", files.extent(b"2 -", "new"), None, 12 * WINDOW)
        assert b"".join(whole) == bytes(12 * WINDOW)


def test_a_program_comes_out_of_both_lanes_in_order(files: Files) -> None:
    table = os.urandom(6 * WINDOW)
    old = program(functions(1, 300), table)
    new = program(grown(functions(1, 300), 2), table[:700_000] + b"more" + table[700_000:])
    with Workers(1) as workers:
        (coded,) = encode._aligned(new, old, workers, True)
    assert coded.codec == "predicted"
    blob, base = files.extent(coded.blob, "new"), files.extent(old, "old")
    with SandboxedDecoder(["predicted", "raw"]) as decoder:
        waiting = [
            decoder.decode("predicted", blob, base, len(new)),
            decoder.decode("raw", base, None, len(old)),
            decoder.decode("predicted", blob, base, len(new)),
        ]
        assert [b"".join(result) for result in waiting] == [new, old, new]
        damaged = files.extent(coded.blob[:-1], "damaged")
        with pytest.raises(Corrupt):
            list(decoder.decode("predicted", damaged, base, len(new)))
        assert b"".join(decoder.decode("predicted", blob, base, len(new))) == new


@pytest.mark.parametrize(
    ("size", "limits", "found"),
    [
        (100, SandboxLimits(stall_s=1.5), "expected at least 1048576 bytes a second, found less"),
        (100 * MIB, SandboxLimits(stall_s=0.9, output=0), "SIGXCPU"),
    ],
    ids=["waiting", "processor time"],
)
def test_a_child_that_dribbles_is_ended(size: int, limits: SandboxLimits, found: str, files: Files) -> None:
    with hostile("dribble", limits) as decoder, pytest.raises(PatcherFailed, match=found):
        list(decoder.decode("dribble", files.extent(b"", "new"), None, size))


def test_a_codec_that_imports_too_late_is_told_so(files: Files) -> None:
    with hostile("import_late") as decoder, pytest.raises(Corrupt, match="No module named 'wave'"):
        list(decoder.decode("import_late", files.extent(b"", "new"), None, 4))


def test_what_the_child_says_is_printable(files: Files) -> None:
    with hostile("control_characters") as decoder, pytest.raises(Corrupt) as caught:
        list(decoder.decode("control_characters", files.extent(b"", "new"), None, 1))
    assert caught.value.expected == "?[31mred"
    assert caught.value.found == "line?break \N{REPLACEMENT CHARACTER}"
    assert caught.value.where == "new"


def test_memory_is_limited(files: Files) -> None:
    """A dictionary of 24 MiB, which the codec itself would accept."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 24 * MIB}]
    blob = files.extent(lzma.compress(bytes(25 * MIB), filters=filters), "new")
    for memory, fits in ((48 * MIB, True), (32 * MIB, False)):
        with SandboxedDecoder(["xz"], SandboxLimits(memory=memory)) as decoder:
            pieces = decoder.decode("xz", blob, None, 25 * MIB)
            if fits:
                assert sum(map(len, pieces)) == 25 * MIB
            else:
                with pytest.raises(Corrupt, match="MemoryError"):
                    list(pieces)
            for pid in decoder.pids:
                status = Path(f"/proc/{pid}/status").read_text()
                (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
                assert int(peak) * 1024 <= memory


def test_less_memory_than_the_start_takes() -> None:
    with (
        SandboxedDecoder(["xz"], SandboxLimits(memory=MIB)) as decoder,
        pytest.raises(SandboxUnavailable, match=f"expected to start in {MIB} bytes of memory"),
    ):
        _ = decoder.confinement


def test_the_child_has_nothing_of_the_parent(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    left, right = os.pipe()
    try:
        for fd in (left, right):
            os.set_inheritable(fd, True)
        with hostile("start") as decoder:
            told = b"".join(decoder.decode("start", files.extent(b"", "x"), None, 1000)).decode()
    finally:
        os.close(left)
        os.close(right)
    descriptors, environment = ast.literal_eval(told.strip())
    assert descriptors == ["0", "1", "2", "3"]  # 3 is the directory that lists them
    assert environment == ["OPENBLAS_NUM_THREADS"]


def test_a_required_measure_that_does_not_hold() -> None:
    command = (sys.executable, "-I", hostile_patcher.__file__, Measure.LANDLOCK)
    with (
        SandboxedDecoder((), require=[Measure.SECCOMP], command=command) as decoder,
        pytest.raises(SandboxUnavailable, match="expected a patcher confined by seccomp, found one"),
    ):
        decoder.decode("raw", Extent(0, 0, 0, ""), None, 0)


def test_a_patcher_that_does_not_start() -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such module')")
    with SandboxedDecoder((), command=command) as decoder, pytest.raises(SandboxUnavailable) as caught:
        _ = decoder.confinement
    assert caught.value.found == "that it ended with status 1 (no such module)"
    with pytest.raises(SandboxUnavailable, match="No such file"):
        SandboxedDecoder((), command=["/nonexistent"])


def test_the_child_dies_with_its_parent() -> None:
    """While it is busy, so that it cannot notice that the socket has closed."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(hostile_patcher.__file__).parents[1])!r})
from bumpless.common.artifacts.extent import Extent
from bumpless.common.artifacts.sandbox.decoder import SandboxedDecoder
decoder = SandboxedDecoder(["hang"], command={(sys.executable, "-I", hostile_patcher.__file__, ",".join(Measure))!r})
pieces = decoder.decode("hang", Extent(0, 0, 0, "x"), None, 10)
next(pieces)
print(*decoder.pids, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        children = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        try:
            assert select.select(children, [], [], 0)[0] == []
            parent.send_signal(signal.SIGKILL)
            for child in children:
                assert select.select([child], [], [], 10)[0] == [child]
        finally:
            for child in children:
                os.close(child)


def test_every_codec_of_the_table_can_be_asked_for() -> None:
    with SandboxedDecoder(CODECS) as decoder:
        assert decoder.confinement.active
