"""What holds for any bytes: each codec restores them, and the fast ways over columns do what plain ones do."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bumpless.common.artifacts import encode
from bumpless.common.artifacts.aligned import numbers, patch
from bumpless.common.artifacts.aligned.alignment import coarse
from bumpless.common.artifacts.aligned.differences import runs
from bumpless.common.artifacts.aligned.image import UNLOADED, Image, Span
from bumpless.common.artifacts.aligned.prediction import Mapping
from bumpless.common.artifacts.aligned.references import Addresses
from bumpless.common.artifacts.aligned.windows import WINDOW, Alignment, gather, windows
from bumpless.common.artifacts.errors import Corrupt
from bumpless.common.artifacts.extent import Bytes
from bumpless.common.artifacts.leb128 import Reader
from bumpless.common.artifacts.leb128 import encode as encode_numbers
from bumpless.common.artifacts.workers import Workers
from support.programs import Function, program
from unit.artifacts.packages import decoded

CHECKED = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)

contents = st.one_of(
    st.binary(max_size=400),
    st.builds(
        lambda part, times, tail: part * times + tail,
        st.binary(max_size=40),
        st.integers(0, 60),
        st.binary(max_size=40),
    ),
)


@CHECKED
@given(contents, contents)
def test_every_coding_restores_any_bytes(old, new):
    with Workers(1) as workers:
        best = encode.against(new, old, workers)
        assert (
            decoded(best.codec, best.blob, old if best.codec not in ("raw", "xz") else None, len(new)) == new
        )
        for coded in encode._against(new, old, workers, True):
            assert decoded(coded.codec, coded.blob, old, len(new)) == new
            assert len(best.blob) <= len(coded.blob)
        plain = encode.whole(new, workers)
        assert decoded(plain.codec, plain.blob, None, len(new)) == new


@st.composite
def programs(draw):
    """A program, and what became of it: functions that came, went, moved and changed."""
    count = draw(st.integers(2, 15))
    names = [f"f{i}" for i in range(count)]
    chosen = [
        Function(
            name,
            draw(st.binary(max_size=60)),
            tuple(draw(st.lists(st.sampled_from(names), max_size=4))),
            tuple(draw(st.lists(st.integers(0, 60), max_size=3))),
        )
        for name in names
    ]
    new = list(chosen)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(new)))
        match draw(st.sampled_from(["insert", "move", "grow"])):
            case "insert":
                new.insert(place, Function(f"g{len(new)}", draw(st.binary(max_size=90)), (names[0],)))
            case "move":
                new.append(new.pop(place % len(new)))
            case "grow":
                f = new[place % len(new)]
                new[place % len(new)] = Function(
                    f.name, f.body + draw(st.binary(max_size=40)), f.calls, f.reads
                )
    rodata = draw(st.binary(min_size=64, max_size=100))
    return program(chosen, rodata), program(new, rodata + draw(st.binary(max_size=40)))


@CHECKED
@given(programs(), st.data())
def test_prediction_restores_any_program(pair, data):
    old, new = pair
    damaged = bytearray(new)
    for at in data.draw(st.lists(st.integers(0, len(new) - 1), max_size=5)):
        damaged[at] ^= 0x5A
    with Workers(1) as workers:
        for target in (new, bytes(damaged)):
            for coded in encode._aligned(target, old, workers, True):
                assert decoded(coded.codec, coded.blob, old, len(target)) == target


@CHECKED
@given(st.lists(st.integers(0, (1 << 49) - 1), max_size=60), st.binary(max_size=6), st.integers(0, 60))
def test_columns_are_read_as_number_by_number(values, tail, count):
    data = encode_numbers(values) + tail
    reader = Reader(data, "column")
    try:
        expected = reader.numbers(count)
        complete = reader._at == len(data)
    except Corrupt:
        complete = False
    if complete:
        assert numbers.decode(data, count, "column").tolist() == expected
        return
    try:
        numbers.decode(data, count, "column")
    except Corrupt:
        return
    raise AssertionError("a column was accepted that is none")


@CHECKED
@given(st.lists(st.integers(-(1 << 62), (1 << 62) - 1)))
def test_signs_are_folded_and_unfolded(values):
    column = np.array(values, np.int64)
    folded = numbers.zigzag(column)
    assert (folded >= 0).all()
    assert numbers.unzigzag(folded).tolist() == values


@st.composite
def alignments(draw, scale=1):
    """An alignment of an old file of 2000 bytes."""
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        add = draw(st.sampled_from([0, 1, 7, 8, 30, 300])) * scale
        rows.append(
            (draw(st.integers(0, 2000 * scale - add)), add, draw(st.sampled_from([0, 0, 1, 9, 200])) * scale)
        )
    return Alignment(*(np.array(column, np.int64) for column in zip(*rows, strict=True)))


@CHECKED
@given(alignments(scale=900))
def test_windows_are_a_walk_byte_by_byte(alignment):
    walk = []
    for old, add, extra in zip(
        alignment.old.tolist(), alignment.add.tolist(), alignment.extra.tolist(), strict=True
    ):
        walk += [*range(old, old + add), *[-1] * extra]
    found, at = [], 0
    for window in windows(alignment):
        size = window.copied + window.extra
        assert size == min(WINDOW, len(walk) - at)
        assert window.at.tolist() == (np.cumsum(window.size) - window.size).tolist()
        places = np.full(size, -1)
        for new, old, count in zip(
            window.new.tolist(), window.old.tolist(), window.size.tolist(), strict=True
        ):
            places[new - at : new - at + count] = range(old, old + count)
        assert window.start == at
        data = (np.arange(size) % 251).astype(np.uint8)
        copied, inserted = window.parted(data)
        assert copied.tolist() == data[places >= 0].tolist()
        assert window.spread(copied, inserted.tobytes()) == data.tobytes()
        found += places.tolist()
        at += size
    assert found == walk
    for lane in (0, 1):
        alone = [vars(w) for w in windows(alignment, lane, 2)]
        assert repr(alone) == repr([vars(w) for w in [*windows(alignment)][lane::2]])


@CHECKED
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 900)), min_size=1, max_size=20))
def test_spans_are_gathered_one_after_the_other(spans):
    data = np.random.default_rng(1).integers(0, 256, 5000).astype(np.uint8).tobytes()
    starts, sizes = (np.array(column, np.int64) for column in zip(*spans, strict=True))
    expected = b"".join(data[at : at + size] for at, size in spans)
    assert gather(Bytes(data, "data"), starts, sizes).tobytes() == expected


def plain_moved(alignment, image, address):
    """Where an address goes, said slowly."""
    offset, moved = address, 0
    spans = sorted(zip(image.old_spans, image.new_spans, strict=True), key=lambda pair: pair[0].address)
    below = [pair for pair in spans if pair[0].address <= address]
    if below:
        old, new = below[-1]
        offset = address - old.address + old.offset
        moved = (new.address - new.offset) - (old.address - old.offset)
    copies, reach = [], -1
    new_at = alignment.new.tolist()
    rows = zip(alignment.old.tolist(), alignment.add.tolist(), new_at, strict=True)
    for old_at, add, at in sorted((row for row in rows if row[1] >= 8), key=lambda row: row[0]):
        if old_at + add > reach:
            copies.append((old_at, at - old_at))
            reach = old_at + add
    if not copies:
        return address + moved
    place = max(0, bisect_right([at for at, _ in copies], max(0, offset)) - 1)
    return address + copies[place][1] + moved


@CHECKED
@given(alignments(), st.lists(st.integers(-500, 0x5000), min_size=1, max_size=30), st.integers(0, 500))
def test_places_move_with_what_was_copied(alignment, addresses, gap):
    spans = [
        (Span(0, 0x1000, 700), Span(0, 0x1000, 800)),
        (Span(700, 0x2000 + gap, 1300), Span(800, 0x3000, 1400)),
    ]
    image = Image(tuple(o for o, _ in spans), tuple(n for _, n in spans), ())
    mapping = Mapping(alignment, image)
    expected = [plain_moved(alignment, image, address) for address in addresses]
    assert mapping.moved(np.array(addresses, np.int64)).tolist() == expected


@CHECKED
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_an_offset_has_the_address_it_is_loaded_at(offsets):
    spans = (Span(1000, 0x9000, 500), Span(0, 0x4000, 800), Span(0, UNLOADED, 5000))
    found = Addresses(spans)(np.array(offsets, np.int64)).tolist()
    for offset, address in zip(offsets, found, strict=True):
        loaded = [s.address + offset - s.offset for s in spans[:2] if s.offset <= offset < s.offset + s.size]
        assert address == (loaded[0] if loaded else UNLOADED + offset)


@CHECKED
@given(st.lists(st.lists(st.sampled_from([0, 0, 0, 1, 255]), max_size=30), max_size=5))
def test_runs_are_the_bytes_that_are_not_zero(parts):
    found = runs(np.array(part, np.uint8) for part in parts)
    out, at = bytearray(sum(map(len, parts))), 0
    data = iter(found.data)
    for gap, size in zip(found.gaps.tolist(), found.sizes.tolist(), strict=True):
        at += gap
        for _ in range(size):
            out[at] = next(data)
            at += 1
    assert list(out) == [byte for part in parts for byte in part]


@CHECKED
@given(alignments(), st.randoms(use_true_random=False))
def test_any_alignment_restores_any_bytes(alignment, random):
    old, new = random.randbytes(2000), random.randbytes(alignment.size)
    for chosen in (alignment, coarse(alignment)):
        blob = patch.encode(chosen, Bytes(old, "old"), new, None, lambda part: (0, part))
        if len(chosen.old) <= len(new) // 8 + 2:
            assert decoded("aligned", blob, old, len(new)) == new
