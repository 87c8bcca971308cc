"""What is read of programs, and that a damaged one is a file like any other."""

from __future__ import annotations

import random
import struct

import pytest

from bumpless.common.artifacts import encode
from bumpless.common.artifacts.aligned import elf
from bumpless.common.artifacts.aligned.image import UNLOADED, Kind, Shape, Span
from bumpless.common.artifacts.workers import Workers
from support.programs import functions, grown, program

from .packages import decoded
from .trees import noise

RODATA = noise(3, 300)
FUNCTIONS = functions(1, 30)
OLD = program(FUNCTIONS, RODATA)
NEW = program(grown(FUNCTIONS, 2), RODATA)


def rules(old=OLD, new=NEW):
    return elf.image(elf.read(old), elf.read(new)).rules


def value(data, at, size=4):
    return int.from_bytes(data[at : at + size], "little", signed=True)


def test_sections_and_loads_are_read():
    found = elf.read(OLD)
    assert {".text", ".eh_frame_hdr", ".symtab", ".rela.dyn"} <= {s.name for s in found.sections}
    assert len(found.loads) == 3
    assert len(found.executable) == 1
    assert found.named(".symtab").base == UNLOADED + found.named(".symtab").offset
    assert found.named(".nothing") is None


def test_an_image_ends_with_the_whole_file_unloaded():
    image = elf.image(elf.read(OLD), elf.read(NEW))
    assert image.old_spans[-1] == Span(0, UNLOADED, len(OLD))
    assert image.new_spans[-1] == Span(0, UNLOADED, len(NEW))


def test_every_table_of_a_program_has_its_rules():
    shapes = {(r.kind, r.shape) for r in rules()}
    assert shapes >= {
        (Kind.CODE, Shape.REGULAR),
        (Kind.ABSOLUTE, Shape.REGULAR),
        (Kind.RELATIVE, Shape.LISTED),
        (Kind.BACKWARD, Shape.LISTED),
        (Kind.SIZE_AFTER_RELATIVE, Shape.LISTED),
        (Kind.SIZE_AFTER_ABSOLUTE, Shape.REGULAR),
    }


def test_frames_lead_to_functions():
    found = elf.read(OLD)
    (rule,) = [r for r in rules() if r.kind is Kind.RELATIVE and r.shape is Shape.LISTED and r.delta == 8]
    assert rule.count == len(FUNCTIONS)
    text, frames = found.named(".text"), found.named(".eh_frame")
    at = text.address
    for i, function in enumerate(FUNCTIONS):
        field = rule.base + value(OLD, rule.start + i * rule.stride) + rule.delta
        assert field - frames.offset + frames.address + value(OLD, field) == at
        at += -(-function.size // 16) * 16


GO_FUNCTIONS = 40


def pclntab(text, places, inserted=b""):
    """Go's table of functions as `elf` reads it: a header of 72 bytes, then names, then records."""
    names = b"\0" + inserted + b"main.name\0"
    records = 72 + len(names) + (-len(names) % 8)
    count = len(places)
    table, body = b"", b""
    first = 8 * count + 4
    for i, place in enumerate(places):
        table += struct.pack("<II", place, first + len(body))
        # A record: 11 fields, of which the eighth is the number of its tables and the last byte that of its data.
        body += struct.pack("<IIIIIIIIIII", place, 1 + len(inserted), 0, 0, 5, 7, 9, 2, 0, 0, 1 << 24)
        body += struct.pack("<III", 11, 13, 40 + i)
    table += struct.pack("<I", places[-1] + 16)
    head = struct.pack("<IBBBBQQQQQQQQ", 0xFFFFFFF1, 0, 0, 1, 8, count, 0, text, 72, 72, 72, 72, records)
    return (head + names).ljust(records, b"\0") + table + body


def go_program(inserted):
    chosen = grown(FUNCTIONS, 2) if inserted else FUNCTIONS
    text = 0x402000
    places = [64 * i + len(inserted) for i in range(GO_FUNCTIONS)]
    types = struct.pack("<100I", *range(0x1000, 0x1000 + 100))
    return program(chosen, RODATA, ((".gopclntab", pclntab(text, places, inserted)), (".go.type", types)))


def test_go_tables_have_their_rules():
    found = rules(go_program(b""), go_program(b"inserted\0"))
    listed = [r for r in found if r.shape in (Shape.LISTED, Shape.ARRAY) and r.count == GO_FUNCTIONS]
    assert len(listed) == 6
    old, new = go_program(b""), go_program(b"inserted\0")
    with Workers(1) as workers:
        (coded,) = encode._aligned(new, old, workers, True)
    assert decoded(coded.codec, coded.blob, old, len(new)) == new


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        b"\x7fELF\x02\x01".ljust(64, b"\0"),
        OLD[:63],
        OLD[:4] + b"\x01" + OLD[5:],
        OLD[:5] + b"\x02" + OLD[6:],
        OLD[:18] + b"\xb7\x00" + OLD[20:],
        OLD[: len(OLD) // 2],
        OLD[:-1],
        OLD[:32] + b"\xff" * 8 + OLD[40:],
        OLD[:40] + b"\xff" * 8 + OLD[48:],
        OLD[:56] + b"\0\0" + OLD[58:],
    ],
    ids=[
        "nothing",
        "magic",
        "zeros",
        "header",
        "32 bits",
        "big-endian",
        "arm",
        "half",
        "cut",
        "loads",
        "sections",
        "none",
    ],
)
def test_what_is_no_whole_program_has_no_rules(data):
    assert elf.read(data) is None


def test_programs_with_other_parts_have_no_image():
    one = elf.read(OLD)
    assert elf.image(one, elf.Program(NEW, one.loads[:2], one.executable, one.sections)) is None


def with_copies_of_rodata(count):
    """The program with as many sections of that name more."""
    data = bytearray(program(FUNCTIONS, RODATA, [(f".e{i}", bytes(16)) for i in range(count)]))
    (sections,), (number,) = struct.unpack_from("<Q", data, 40), struct.unpack_from("<H", data, 60)
    headers = range(sections, sections + 64 * number, 64)
    names = {s.name: at for s, at in zip(elf.read(bytes(data)).sections, headers, strict=True)}
    for i in range(count):
        at = names[f".e{i}"]
        data[at : at + 4] = data[names[".rodata"] : names[".rodata"] + 4]
    return bytes(data)


def test_programs_that_lead_one_way_only_are_files_like_others():
    """As many sections of one name are as many rules the one way, and one rule the other way."""
    many = with_copies_of_rodata(300)
    assert elf.image(elf.read(OLD), elf.read(many)) is not None
    assert elf.image(elf.read(many), elf.read(OLD)) is None
    with Workers(1) as workers:
        for old, new in ((OLD, many), (many, OLD)):
            coded = encode.against(new, old, workers)
            assert decoded(coded.codec, coded.blob, old, len(new)) == new


def test_programs_with_more_tables_than_a_decoder_reads_are_files_like_others():
    many = with_copies_of_rodata(200)
    (sections,) = struct.unpack_from("<Q", many, 40)
    data = bytearray(many)
    text = elf.read(many).named(".text")
    for at in range(sections + 64, len(data), 64):  # all of them in the same place
        data[at + 16 : at + 24] = struct.pack("<Q", text.address)
        data[at + 24 : at + 40] = (
            struct.pack("<QQ", text.offset, text.size) if data[at + 4] == 1 else data[at + 24 : at + 40]
        )
    new = bytes(data)
    with Workers(1) as workers:
        coded = encode.against(new, many, workers)
        assert decoded(coded.codec, coded.blob, many, len(new)) == new
        coded = encode.against(many, new, workers)
        assert decoded(coded.codec, coded.blob, new, len(many)) == many


@pytest.mark.parametrize("seed", range(40))
def test_damaged_programs_are_packed_like_other_files(seed):
    """Header and tables of one or both programs, with numbers that mean trouble."""
    rng = random.Random(seed)
    pair = [bytearray(go_program(b"")), bytearray(go_program(b"inserted\0"))]
    for data in pair:
        tables = [*range(16, 64), *range(64, 64 + 3 * 56), *range(len(data) - 12 * 64, len(data))]
        for _ in range(rng.randrange(4)):
            at = rng.choice(tables)
            word = rng.choice(
                [b"\xff" * 8, b"\xff" * 4, b"\0" * 8, bytes([rng.randrange(256)]), b"\0\0\0\0\0\0\0\x7f"]
            )
            data[at : at + len(word)] = word
    old, new = map(bytes, pair)
    with Workers(1) as workers:
        for coded in encode._aligned(new, old, workers, True):
            assert decoded(coded.codec, coded.blob, old, len(new)) == new
