"""Aligned and predicted patches: what encoder and decoder agree on, and hostile blobs."""

from __future__ import annotations

import os
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from bumpless.common.artifacts import encode, lanes
from bumpless.common.artifacts.aligned import differences, elf, numbers, patch
from bumpless.common.artifacts.aligned.alignment import align_programs, coarse
from bumpless.common.artifacts.aligned.corrections import (
    MOST,
    NONE,
    Corrections,
    Corrector,
    choose,
    pack,
    unpack,
)
from bumpless.common.artifacts.aligned.image import (
    ADDRESSES,
    MAX_RULES,
    MAX_SPANS,
    UNLOADED,
    Image,
    Kind,
    Rule,
    Shape,
    Span,
)
from bumpless.common.artifacts.aligned.prediction import Mapping
from bumpless.common.artifacts.aligned.references import MAX_POSITIONS, Finder
from bumpless.common.artifacts.aligned.windows import WINDOW, Alignment, gather, windows
from bumpless.common.artifacts.codecs import CODECS
from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.extent import Bytes, Stream
from bumpless.common.artifacts.leb128 import encode as encode_numbers
from bumpless.common.artifacts.leb128 import zigzag
from bumpless.common.artifacts.limits import MIB
from bumpless.common.artifacts.names import NAMES
from bumpless.common.artifacts.streams import CODERS, smallest_coding
from bumpless.common.artifacts.workers import Workers
from support.programs import functions, grown, program

from .packages import decoded, in_memory, wrong_or_refused
from .trees import noise

OLD = noise(1, 3000)


def blob(
    operations=(),
    image=b"",
    diff=b"",
    extra=b"",
    *,
    coders=(0, 0, 0),
    columns=None,
    sizes=None,
    count=None,
    runs=None,
    form=None,
    run_count=None,
):
    """A blob with streams as they are. `operations` are (add, extra, seek), `runs` (gap, size)."""
    if columns is None:
        columns = [
            encode_numbers(c) for c in zip(*[(a, e, zigzag(s)) for a, e, s in operations], strict=True)
        ]
        columns = columns or [b"", b"", b""]
    run_columns = [encode_numbers(c) for c in zip(*(runs or ()), strict=True)] or [b"", b""]
    control = image + b"".join(columns) + b"".join(run_columns)
    sizes = sizes or (len(control), len(diff))
    counts = (
        len(operations) if count is None else count,
        len(runs or ()) if run_count is None else run_count,
    )
    form = int(runs is not None) if form is None else form
    lengths = (len(image), *map(len, columns), *map(len, run_columns), *sizes)
    return struct.pack("<4B10I", *coders, form, *counts, *lengths) + control + diff + extra


def ints(*values):
    return np.array(values, np.int64)


def aligned(*operations):
    """An alignment of (old, add, extra)."""
    return Alignment(*(ints(*column) for column in zip(*operations, strict=True)))


def test_a_blob_by_hand():
    made = blob([(4, 1, 2), (3, 0, -5)], diff=bytes([0, 1, 255, 0, 0, 0, 1]), extra=b"X")
    old = b"..abcdefgh"
    # Copies of "abcd" from 2 and of "bcd" from 1 behind the end of the first one, which is 6.
    assert decoded("aligned", made, old, 8) == b"acbdX.ac"


def test_a_blob_by_hand_with_runs():
    made = blob([(4, 1, 2), (3, 0, -5)], runs=[(1, 2), (3, 1)], diff=bytes([1, 255, 1]), extra=b"X")
    assert decoded("aligned", made, b"..abcdefgh", 8) == b"acbdX.ac"


@pytest.mark.parametrize("size", [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 7])
def test_what_is_inserted_may_be_all(size):
    new = noise(2, size)
    assert decoded("aligned", blob([(0, size, 0)], extra=new), b"", size) == new


def test_no_operations_make_an_empty_file():
    assert decoded("aligned", blob(), b"", 0) == b""


GOOD = [(4, 1, 2), (3, 0, -5)]
DIFF, EXTRA = bytes(7), b"X"


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(b"", id="empty"),
        pytest.param(blob()[:-1], id="head cut"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, coders=(3, 0, 0)), id="unknown coder"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, coders=(0, 0, 255)), id="coder 255"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, coders=(1, 0, 0)), id="control is no LZMA"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, coders=(0, 2, 0)), id="diff is no bzip2"),
        pytest.param(blob(GOOD, diff=DIFF[:-1], extra=EXTRA), id="diff short"),
        pytest.param(blob(GOOD, diff=DIFF + b"\0", extra=EXTRA), id="diff long"),
        pytest.param(blob(GOOD, diff=DIFF, extra=b""), id="extra short"),
        pytest.param(blob(GOOD, diff=DIFF, extra=b"XY"), id="extra long"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, sizes=(2**32 - 1, 7)), id="control beyond the blob"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, sizes=(6, 2**32 - 1)), id="diff beyond the blob"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, sizes=(7, 6)), id="control has more"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, count=1), id="fewer operations"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, count=3), id="more operations"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, count=2**32 - 1), id="2^32 operations"),
        pytest.param(blob([(4, 1, -1), (3, 0, 0)], diff=DIFF, extra=EXTRA), id="reads before the base"),
        pytest.param(blob([(4, 1, 7), (3, 0, -11)], diff=DIFF, extra=EXTRA), id="reads behind the base"),
        pytest.param(
            blob([(4, 1, 0), (3, 0, 4)], diff=DIFF, extra=EXTRA), id="the second reads behind the base"
        ),
        pytest.param(blob([(4, 1, 0), (3, 0, 1 << 39)], diff=DIFF, extra=EXTRA), id="seek of 2^39"),
        pytest.param(blob([(4, 1, 1 << 46), (3, 0, 0)], diff=DIFF, extra=EXTRA), id="seek of 2^46"),
        pytest.param(blob([(1 << 48, 1, 0), (3, 0, 0)], diff=DIFF, extra=EXTRA), id="add of 2^48"),
        pytest.param(blob([(1 << 40, 1, 0), (3, 0, 0)], diff=DIFF, extra=EXTRA), id="add of 2^40"),
        pytest.param(blob([(4, 1, 2)], diff=DIFF, extra=EXTRA), id="another size"),
        pytest.param(blob([(4, 1, 2), (3, 1, -5)], diff=DIFF, extra=b"XY"), id="one byte more"),
        pytest.param(blob([*GOOD, (0, 0, 0), (0, 0, 0)], diff=DIFF, extra=EXTRA), id="empty operations"),
        pytest.param(blob(GOOD, columns=[b"\x04\x03", b"\x01", b"\x04\x09"]), id="a short column"),
        pytest.param(blob(GOOD, columns=[b"\x04\x83", b"\x01\x00", b"\x04\x09"]), id="a number without end"),
        pytest.param(
            blob(GOOD, columns=[b"\x84" + b"\x80" * 7 + b"\0\x03", b"\x01\x00", b"\x04\x09"]),
            id="a number of 9 bytes",
        ),
        pytest.param(
            blob(GOOD, columns=[b"\xff" * 9 + b"\x01\x03", b"\x01\x00", b"\x04\x09"]),
            id="a number beyond 64 bits",
        ),
        pytest.param(blob(GOOD, columns=[b"", b"", b""], diff=DIFF, extra=EXTRA), id="no columns"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, form=2), id="unknown form"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, runs=[(0, 7)], form=0), id="runs in the dense form"),
        pytest.param(
            blob(GOOD, diff=DIFF, extra=EXTRA, form=0, run_count=1), id="counted runs in the dense form"
        ),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, runs=[]), id="no runs for bytes"),
        pytest.param(blob(GOOD, diff=DIFF[:6], extra=EXTRA, runs=[(0, 7)]), id="runs cut"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, runs=[(1, 7)]), id="a run beyond the copies"),
        pytest.param(
            blob(GOOD, diff=DIFF, extra=EXTRA, runs=[(0, 7), (1, 0)]), id="an empty run beyond the copies"
        ),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, runs=[(1 << 40, 1)]), id="a gap of 2^40"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, runs=[(1 << 48, 1)]), id="a gap of 2^48"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, runs=[(0, 1 << 48)]), id="a run of 2^48"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, runs=[(0, 7)], run_count=2), id="more runs"),
        pytest.param(blob(GOOD, diff=DIFF, extra=EXTRA, runs=[(0, 7)], run_count=2**32 - 1), id="2^32 runs"),
    ],
)
def test_hostile_patches_are_refused(made):
    with pytest.raises(Corrupt):
        decoded("aligned", made, b"..abcdefgh", 8)


def test_a_run_ends_with_its_window():
    size = WINDOW + 10
    data = noise(6, size)
    for runs, right in (([(0, WINDOW), (0, 10)], True), ([(0, size)], False), ([(WINDOW - 1, 2)], False)):
        made = blob([(size, 0, 0)], diff=bytes(sum(n for _, n in runs)), runs=runs)
        if right:
            assert decoded("aligned", made, data, size) == data
        else:
            with pytest.raises(Corrupt, match="window"):
                decoded("aligned", made, data, size)


def test_more_operations_than_a_decoder_holds_are_refused():
    with pytest.raises(Corrupt, match="at most"):
        decoded("aligned", blob([(0, 1, 0)] * (patch.MAX_OPERATIONS + 1)), b"", patch.MAX_OPERATIONS + 1)


def test_an_encoder_makes_no_blob_that_its_decoder_refuses():
    fine = patch.MAX_OPERATIONS + 1
    alignment = Alignment(np.zeros(fine, np.int64), np.zeros(fine, np.int64), np.ones(fine, np.int64))
    assert patch.encode(alignment, Bytes(b"", "old"), bytes(fine), None, lambda data: (0, data)) is None


OLD_PROGRAM = program(functions(1, 60), noise(3, 300))
NEW_PROGRAM = program(grown(functions(1, 60), 2), noise(3, 300))


def predicted_blob(old=OLD_PROGRAM, new=NEW_PROGRAM):
    with Workers(1) as workers:
        (coded,) = [c for c in encode._aligned(new, old, workers, True) if c.codec == "predicted"]
    return coded.blob


def test_references_are_predicted():
    with Workers(1) as workers:
        (plain,) = encode._aligned(NEW_PROGRAM, OLD_PROGRAM, workers, False)
    assert plain.codec == "aligned"
    found = predicted_blob()
    assert decoded("predicted", found, OLD_PROGRAM, len(NEW_PROGRAM)) == NEW_PROGRAM
    assert len(found) < 0.85 * len(plain.blob)


IMAGE = elf.image(elf.read(OLD_PROGRAM), elf.read(NEW_PROGRAM))


def with_image(image, old=OLD, *, new=None):
    """A patch of `old` onto itself in one copy whose prediction `image` spoils or not."""
    described = image if isinstance(image, bytes) else pack(image, NONE)
    size = len(old)
    return blob([(size, 0, 0)], described, bytes(size))


SHIFTED = ((Span(0, 0x1000, 3000), Span(0, 0x2000, 3000)),)


def an_image(*rules, spans=SHIFTED):
    return Image(tuple(old for old, _ in spans), tuple(new for _, new in spans), rules)


def test_an_image_is_read_as_it_was_written():
    known = Corrections(ints(0x1000, 0x1007, 0x3000), ints(0x2000, 5, 0x3000))
    image, corrections = unpack(pack(IMAGE, known), "image")
    assert image == IMAGE
    assert [column.tolist() for column in vars(corrections).values()] == [
        column.tolist() for column in vars(known).values()
    ]


FULL = Rule(Kind.ABSOLUTE, count=700)

HOSTILE_IMAGES = {
    "one number": b"\x00",
    "no end": b"\x80",
    "no image": encode_numbers([0, 0]),
    "spans without numbers": encode_numbers([0, MAX_SPANS, 0]),
    "too many spans": encode_numbers([0, MAX_SPANS + 1, 0] + [0] * 6 * (MAX_SPANS + 1)),
    "too many rules": encode_numbers([0, 0, MAX_RULES + 1] + [0] * 15 * (MAX_RULES + 1)),
    "2^48 rules": encode_numbers([0, 0, 1 << 48]),
    "a number too many": pack(an_image(), NONE) + b"\0",
    "corrections without numbers": encode_numbers([5, 0, 0]),
    "2^48 corrections": encode_numbers([1 << 48, 0, 0]),
    "too many corrections": encode_numbers([MOST + 1, 0, 0] + [0] * 2 * (MOST + 1)),
    "unknown kind": encode_numbers([0, 0, 1, 6, 0, 4, 0, 4] + [0] * 10),
    "unknown shape": encode_numbers([0, 0, 1, 0, 4, 4, 0, 4] + [0] * 10),
    "width 3": an_image(replace(FULL, width=3)),
    "width 0": an_image(replace(FULL, width=0)),
    "width 2^20": an_image(replace(FULL, width=1 << 20)),
    "address of 2^48": an_image(replace(FULL, low=1 << 48)),
    "stride 0": an_image(replace(FULL, stride=0, start=1000)),
    "a size that is its own start": an_image(
        replace(FULL, kind=Kind.SIZE_AFTER_ABSOLUTE, start=0, stride=1, add=0)
    ),
    "a size inside its start": an_image(
        replace(FULL, kind=Kind.SIZE_AFTER_RELATIVE, start=0, stride=1, add=3)
    ),
    "too many listed": an_image(replace(FULL, shape=Shape.LISTED, count=MAX_POSITIONS + 1, stride=1)),
    "2^46 listed": an_image(replace(FULL, shape=Shape.LISTED, count=1 << 46)),
    "a list behind the file": an_image(replace(FULL, shape=Shape.LISTED, start=1 << 47)),
    "a list with its last number outside": an_image(
        replace(FULL, shape=Shape.LISTED, start=2997, count=1, stride=3)
    ),
    "an array behind the file": an_image(replace(FULL, shape=Shape.ARRAY, start=2000)),
    "more fields than bytes": an_image(*[replace(FULL, stride=1, count=2900)] * 10),
}


@pytest.mark.parametrize("name", HOSTILE_IMAGES)
def test_hostile_images_are_refused(name):
    with pytest.raises(Corrupt):
        decoded("predicted", with_image(HOSTILE_IMAGES[name]), OLD, len(OLD))


def test_lists_that_are_read_again_and_again_are_refused():
    """Each rule of these costs a million reads and yields one position."""
    rules = [
        Rule(Kind.ABSOLUTE, Shape.LISTED, stride=1, count=2_000, start=i % 900, base=1)
        for i in range(MAX_RULES)
    ]
    old = bytes(3000)
    Finder(an_image(*rules[:8]), Bytes(old, "old"), "image")
    many = [replace(rule, count=MAX_POSITIONS // 100, start=0) for rule in rules]
    with pytest.raises(Corrupt, match="listed"):
        Finder(an_image(*many), Bytes(bytes(MAX_POSITIONS), "old"), "image")


ODD_RULES = {
    "everywhere": Rule(Kind.ABSOLUTE, count=ADDRESSES, stride=1),
    "overlapping": Rule(Kind.RELATIVE, width=8, count=3000, stride=1),
    "far strides": Rule(Kind.ABSOLUTE, count=ADDRESSES, stride=ADDRESSES),
    "far start": Rule(Kind.ABSOLUTE, count=9, start=2 * ADDRESSES),
    "far bases": Rule(
        Kind.ABSOLUTE, width=8, count=300, old_base=2 * ADDRESSES, new_base=0, high=2 * ADDRESSES
    ),
    "far add": Rule(Kind.RELATIVE, count=700, add=2 * ADDRESSES, high=2 * ADDRESSES),
    "backward": Rule(Kind.BACKWARD, count=700, add=1 << 45),
    "sizes after far": Rule(
        Kind.SIZE_AFTER_ABSOLUTE, width=8, start=8, stride=1, count=2900, add=2 * ADDRESSES
    ),
    "sizes": Rule(Kind.SIZE_AFTER_ABSOLUTE, width=4, start=8, stride=1, count=2900, add=8),
    "endless sizes": Rule(
        Kind.SIZE_AFTER_ABSOLUTE,
        width=8,
        start=8,
        stride=1,
        count=2900,
        add=8,
        old_base=2 * ADDRESSES,
        high=2 * ADDRESSES,
    ),
    "nothing allowed": Rule(Kind.ABSOLUTE, count=700, low=5, high=5),
    "listed": Rule(Kind.ABSOLUTE, Shape.LISTED, count=700, base=0, delta=0),
    "listed far": Rule(Kind.ABSOLUTE, Shape.LISTED, count=700, base=2 * ADDRESSES, delta=2 * ADDRESSES),
    "arrays": Rule(Kind.ABSOLUTE, Shape.ARRAY, count=700, length_at=2 * ADDRESSES),
    "byte arrays": Rule(Kind.ABSOLUTE, Shape.BYTE_ARRAY, count=700, skip_at=2 * ADDRESSES),
    "code": Rule(Kind.CODE, count=ADDRESSES, old_base=0, new_base=ADDRESSES, delta=2 * ADDRESSES),
    "listed code": Rule(Kind.CODE, Shape.LISTED, count=10, new_base=ADDRESSES),
}


@pytest.mark.parametrize("name", ODD_RULES)
@pytest.mark.parametrize("data", [OLD, bytes(3000), b"\xff" * 3000, b"\xe8\x05\x0f\x80" * 750], ids=range(4))
def test_odd_rules_cost_bytes_and_never_correctness(name, data):
    image = an_image(ODD_RULES[name])
    alignment = aligned((0, 1100, 7), (500, 1500, 0), (1, 2, 391))
    new = bytearray(noise(8, 3000))
    new[:1100] = data[:1100]
    try:
        found = patch.encode(alignment, Bytes(data, "old"), bytes(new), image, lambda part: (0, part))
    except Corrupt:
        return  # the same check, on the other end
    assert decoded("predicted", found, data, 3000) == new


@pytest.mark.parametrize(
    "spans",
    [
        pytest.param(
            ((Span(0, 0x1000, 3000), Span(0, 0x1000, 3000)), (Span(5, 0x1000, 9), Span(7, 0x1001, 1))),
            id="overlap",
        ),
        pytest.param(
            ((Span(0, 2 * ADDRESSES, 2 * ADDRESSES), Span(2 * ADDRESSES, 0, 0)),), id="ends of the range"
        ),
        pytest.param(((Span(0, UNLOADED, 3000), Span(0, UNLOADED, 3000)),), id="unloaded"),
        pytest.param((), id="none"),
        pytest.param(((Span(9, 9, 0), Span(9, 9, 0)),) * MAX_SPANS, id="empty"),
    ],
)
def test_odd_spans_cost_bytes_and_never_correctness(spans):
    image = an_image(
        FULL, replace(FULL, kind=Kind.RELATIVE), Rule(Kind.CODE, count=3000, new_base=ADDRESSES), spans=spans
    )
    found = patch.encode(aligned((0, 3000, 0)), Bytes(OLD, "old"), OLD, image, lambda part: (0, part))
    assert decoded("predicted", found, OLD, 3000) == OLD


def test_a_spoiled_prediction_makes_wrong_bytes_that_the_hash_tells():
    old = struct.pack("<375q", *range(0x1000, 0x1000 + 375))
    rule = Rule(Kind.ABSOLUTE, width=8, stride=8, count=375)
    spoiled = with_image(an_image(rule), old)
    assert not wrong_or_refused("predicted", spoiled, old, len(old), old)


@pytest.mark.parametrize("step", range(7))
def test_any_changed_byte_of_a_predicted_blob_is_refused_or_makes_wrong_bytes(step):
    found = predicted_blob()
    same = 0
    for at in range(step, len(found), 7):
        damaged = bytearray(found)
        damaged[at] ^= 1 << (at % 8)
        try:
            wrong_or_refused("predicted", bytes(damaged), OLD_PROGRAM, len(NEW_PROGRAM), NEW_PROGRAM)
        except AssertionError:
            same += 1  # an image may say the same in other words
    assert same < len(found) / 7 / 4


def positions(rule, old):
    """Where the fields of a rule lie, one after the other."""

    def u32(at):
        assert 0 <= at <= len(old) - 4
        return int.from_bytes(old[at : at + 4], "little")

    found = set()
    for i in range(rule.count):
        head = rule.start + i * rule.stride
        if rule.shape is Shape.REGULAR:
            found.add(head)
            continue
        record = rule.base + u32(head)
        if rule.shape is Shape.LISTED:
            found.add(record + rule.delta)
            continue
        if max(record + rule.length_at, record + rule.skip_at) + 4 > len(old):
            continue
        count, skip = u32(record + rule.length_at), 0
        if rule.shape is Shape.BYTE_ARRAY:
            count, skip = count & 0xFF, 4 * u32(record + rule.skip_at)
        found |= {record + rule.delta + skip + 4 * j for j in range(count if count <= 64 else 0)}
    return sorted(at for at in found if 0 <= at <= len(old) - rule.width)


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("seed", range(5))
def test_fields_lie_where_the_shape_says(shape, seed):
    old = np.random.default_rng(seed).integers(0, 250, 500).astype("<u4").tobytes()
    rule = Rule(
        Kind.ABSOLUTE, shape, width=4 + 4 * (seed % 2), start=seed, stride=4 + seed, count=40, base=7 * seed, delta=4,
        length_at=4, skip_at=8,
    )  # fmt: skip
    alignment = aligned((0, 2000, 0))
    (window,) = windows(alignment)
    found = Finder(an_image(rule), Bytes(old, "old"), "image").fields(window, np.frombuffer(old, np.uint8))
    assert [at for fields in found for at in fields.old.tolist()] == positions(rule, old)


def test_fields_that_a_copy_cuts_are_left_alone():
    rule = Rule(Kind.ABSOLUTE, start=0, stride=4, count=100)
    (window,) = windows(aligned((2, 10, 0), (12, 8, 3), (0, 4, 0)))
    copied = np.zeros(window.copied, np.uint8)
    (fields,) = Finder(an_image(rule), Bytes(bytes(400), "old"), "image").fields(window, copied)
    assert fields.old.tolist() == [4, 8, 12, 16, 0]
    assert fields.at.tolist() == [2, 6, 10, 14, 18]
    assert fields.new.tolist() == [2, 6, 10, 14, 21]


def test_operands_of_instructions_are_found_and_do_not_overlap():
    code = (
        b"\xe8" + struct.pack("<i", 20)  # call, at 1
        + b"\x0f\x84" + struct.pack("<i", -7)  # jz, at 7
        + b"\x48\x8b\x05" + struct.pack("<i", 40)  # mov rax, [rip + 40], at 14
        + b"\xe9" + struct.pack("<i", 1 << 30)  # a jump to nowhere
        + b"\xe8\xe8\x01\x00\x00\x00\x00"  # two that overlap: the first stays
    )  # fmt: skip
    code = code.ljust(200, b"\x90")
    rule = Rule(
        Kind.CODE, count=len(code), delta=0x1000, old_base=0x1000, new_base=0x1300, low=0x1000, high=0x1400
    )
    image = an_image(rule, spans=((Span(0, 0x1000, 200), Span(0, 0x1000, 200)),))
    (window,) = windows(aligned((0, 200, 0)))
    found = Finder(image, Bytes(code, "old"), "image").fields(window, np.frombuffer(code, np.uint8))
    assert [at for fields in found for at in fields.at.tolist()] == [1, 7, 14, 24]


def test_a_prediction_is_corrected():
    mapping = Mapping(aligned((0, 100, 0)), an_image(spans=((Span(0, 0x1000, 100), Span(0, 0x3000, 100)),)))
    places, became = ints(0x1005, 0x1006), mapping.moved(ints(0x1005, 0x1006))
    Corrector(NONE).apply(places, became)
    assert became.tolist() == [0x3005, 0x3006]
    Corrector(Corrections(ints(0x1005), ints(0x9999))).apply(places, became)
    assert became.tolist() == [0x9999, 0x3006]


def test_the_corrections_that_pay_are_chosen():
    went = [
        (10, 20, 20), (10, 21, 20), (10, 21, 20),  # wrong only once more than right
        (11, 77, 21), (11, 77, 21), (11, 78, 21),  # two to one, none of them right
        (12, 50, 22),  # once
        (13, 23, 23), (13, 60, 23), (13, 60, 23), (13, 60, 23),  # three against one
        (14, 24, 24), (14, 24, 24),  # right
    ]  # fmt: skip
    found = choose(*(ints(*column) for column in zip(*went, strict=True)))
    assert dict(zip(found.places.tolist(), found.became.tolist(), strict=True)) == {11: 77, 13: 60}


def test_places_beyond_everything_move_with_the_last_copy():
    image = an_image(spans=((Span(0, 0, 100), Span(0, 0, 100)),))
    for copies in (((0, 100, 0),), ((0, 8, 0), (8, 8, 0), (50, 50, 0))):
        mapping = Mapping(aligned(*copies), image)
        far = ints(-1, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, -(1 << 63))
        shift = copies[-1][0] - sum(add for _, add, _ in copies[:-1])
        assert (mapping.moved(far) - far).tolist() == [0, -shift, -shift, -shift, 0]
    assert Mapping(aligned((0, 7, 9)), image).moved(far).tolist() == far.tolist()


def test_short_copies_and_short_gaps_are_left_out():
    assert [c.tolist() for c in vars(coarse(aligned((0, 100, 5), (300, 10, 5), (500, 100, 0)))).values()] == [
        [0, 500], [100, 100], [20, 0],
    ]  # fmt: skip
    assert [c.tolist() for c in vars(coarse(aligned((0, 100, 5), (105, 100, 1)))).values()] == [
        [0],
        [205],
        [1],
    ]


def test_columns_hold_what_they_say():
    assert numbers.decode(encode_numbers([0, 127, 128, (1 << 49) - 1]), 4, "column").tolist() == [
        0,
        127,
        128,
        (1 << 49) - 1,
    ]
    assert numbers.decode(b"", 0, "column").tolist() == []
    for data, count in (
        (b"", 1),
        (b"\0", 0),
        (b"\x80", 0),
        (b"\x80", 1),
        (b"\0\x80", 1),
        (b"\x80" * 7 + b"\0", 1),
    ):
        with pytest.raises(Corrupt):
            numbers.decode(data, count, "column")


class Zeros(Bytes):
    """A large file, of which is counted how much is read."""

    __slots__ = ()
    read_bytes = 0

    def read(self, at, count):
        Zeros.read_bytes += count
        return bytes(count)


def test_many_small_spans_far_apart_are_read_in_bounded_memory():
    starts = np.arange(WINDOW, dtype=np.int64) * 2000
    file = Zeros(b"", "zeros")
    Zeros.read_bytes = 0
    assert len(gather(file, starts, np.ones(WINDOW, np.int64))) == WINDOW
    assert Zeros.read_bytes <= WINDOW + (1 << 24)


def test_spans_are_read_in_the_order_they_were_asked_for():
    data = noise(4, 5000)
    starts, sizes = ints(4000, 10, 0, 12, 4999, 600), ints(100, 20, 5, 3, 1, 0)
    expected = b"".join(data[a : a + n] for a, n in zip(starts.tolist(), sizes.tolist(), strict=True))
    assert gather(Bytes(data, "data"), starts, sizes).tobytes() == expected


_TABLE = noise(12, 2 * WINDOW)
_CHANGED = b"".join(
    bytes([_TABLE[at] ^ 1]) + _TABLE[at + 1 : at + 50_000] for at in range(0, 2 * WINDOW, 50_000)
)
LANED_OLD = program(functions(11, 400), _TABLE)
LANED_NEW = program(grown(functions(11, 400), 13), _CHANGED + b"more" + noise(14, WINDOW))
"""Something changes in, and is inserted into, windows of both lanes."""


def laned_blob(compress=lambda data: (0, data)):
    old, new = elf.read(LANED_OLD), elf.read(LANED_NEW)
    image = elf.image(old, new)
    with Workers(1) as workers:
        alignment = align_programs(old, new, image, workers)
    return patch.encode(alignment, Bytes(LANED_OLD, "old"), LANED_NEW, image, compress, lanes=2)


LANED = laned_blob()
HEADS = 44 + 28


def in_lanes(made, lane=None):
    extent = in_memory(made)
    try:
        return [*patch.decode(extent, Bytes(LANED_OLD, "old"), len(LANED_NEW), 2, lane)]
    finally:
        os.close(extent.fd)


def test_two_lanes_make_what_one_makes():
    for made in (LANED, laned_blob(smallest_coding)):
        both = in_lanes(made)
        assert b"".join(both) == LANED_NEW
        assert in_lanes(made, 0) == both[::2]
        assert in_lanes(made, 1) == both[1::2]
    assert len(both) == 4


def test_large_programs_are_made_in_two_lanes():
    """What the parent of two processes expects follows from the codec and the size."""
    sizes = (0, WINDOW, 4 * WINDOW, 4 * WINDOW + 1, 1 << 40)
    assert [lanes.count("predicted", size) for size in sizes] == [1, 1, 1, 2, 2]
    assert {lanes.count(name, 1 << 40) for name in NAMES if name != "predicted"} == {1}
    assert {name for name, codec in CODECS.items() if codec.lane} == {"predicted"}
    assert [*lanes.windows(2 * WINDOW + 3)] == [WINDOW, WINDOW, 3]


def second(**changes):
    names = (
        "columns_coder",
        "diff_coder",
        "extra_coder",
        "zero",
        "runs",
        "gap",
        "size",
        "columns",
        "diff",
        "extra",
    )
    values = dict(zip(names, struct.unpack_from("<4B6I", LANED, 44), strict=True))
    values |= {name: change(values[name]) for name, change in changes.items()}
    return LANED[:44] + struct.pack("<4B6I", *values.values()) + LANED[HEADS:]


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(LANED[: HEADS - 1], id="head cut"),
        pytest.param(second(zero=lambda n: 1), id="not zero"),
        pytest.param(second(columns_coder=lambda n: 3), id="unknown coder of runs"),
        pytest.param(second(diff_coder=lambda n: 200), id="unknown coder of differences"),
        pytest.param(second(extra_coder=lambda n: 1), id="extra is no LZMA"),
        pytest.param(second(runs=lambda n: n + 1), id="more runs"),
        pytest.param(second(runs=lambda n: n - 1), id="fewer runs"),
        pytest.param(second(runs=lambda n: 1 << 31), id="2^31 runs"),
        pytest.param(second(gap=lambda n: n + 1, size=lambda n: n - 1), id="another column"),
        pytest.param(second(gap=lambda n: 2**32 - 1), id="a column beyond all"),
        pytest.param(second(columns=lambda n: n + 1, diff=lambda n: n - 1), id="runs go on"),
        pytest.param(second(diff=lambda n: n + 1, extra=lambda n: n - 1), id="differences go on"),
        pytest.param(second(extra=lambda n: n - 1), id="extra is cut"),
        pytest.param(second(extra=lambda n: 2**32 - 1), id="extra beyond the blob"),
    ],
)
def test_hostile_second_lanes_are_refused(made):
    for lane in (None, 1):
        with pytest.raises(Corrupt):
            in_lanes(made, lane)


def test_runs_of_both_lanes_are_counted_together(monkeypatch):
    counts = struct.unpack_from("<I", LANED, 8) + struct.unpack_from("<I", LANED, 48)
    assert min(counts) > 0
    monkeypatch.setattr(differences, "MAX_RUNS", sum(counts) - 1)
    with pytest.raises(Corrupt, match="runs"):
        in_lanes(LANED)
    assert laned_blob()[3] == 0, "the dense form has none"


def test_a_stream_takes_memory_only_while_it_is_read():
    """A patch has up to six, with 4 MiB of dictionary each."""
    coded = CODERS[1].encode(noise(15, 3000))
    made = in_memory(coded)
    tracemalloc.start()
    try:
        pieces = CODERS[1].decode(made)
        assert tracemalloc.get_traced_memory()[0] < MIB
        stream = Stream(pieces, "stream")
        assert stream.take(3000) == noise(15, 3000)
        assert tracemalloc.get_traced_memory()[0] > 4 * MIB
        stream.end()
        assert tracemalloc.get_traced_memory()[0] < MIB
    finally:
        tracemalloc.stop()
        os.close(made.fd)
