"""Where an x86-64 ELF program names its own places: rules for an `Image`, from section and program headers.

For the encoder only. A file that is no such program, or a damaged one, has no image; nothing here is a check.
Sources: System V ABI with its x86-64 supplement, LSB 5 (.eh_frame_hdr), Go's runtime/symtab.go (pclntab since 1.20).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..errors import Corrupt
from ..leb128 import encode as encode_numbers
from .image import MAX_RULES, MAX_SPANS, UNLOADED, Image, Kind, Rule, Shape, Span

_HEADER = struct.Struct("<4sBBBB8xHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_X86_64, _LOAD = 62, 1
_PROGBITS, _SYMTAB, _RELA, _NOBITS, _DYNSYM = 1, 2, 4, 8, 11
_ALLOC, _EXEC = 2, 4
_ARRAYS = frozenset({14, 15, 16})
_DYNAMIC = 6
_FIRST_PAGE = 0x1000
_GO_MAGIC = 0xFFFFFFF1


@dataclass(frozen=True)
class Section:
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int

    @property
    def base(self) -> int:
        """The address of its first byte, one of its own if it is not loaded."""
        return self.address if self.flags & _ALLOC else UNLOADED + self.offset


@dataclass(frozen=True)
class Program:
    data: bytes = field(repr=False)
    loads: tuple[Span, ...]
    executable: tuple[Span, ...]
    sections: tuple[Section, ...]

    @property
    def low(self) -> int:
        return max(_FIRST_PAGE, min(s.address for s in self.loads))

    @property
    def high(self) -> int:
        return max(s.address + s.size for s in self.loads)

    def named(self, name: str) -> Section | None:
        return next((s for s in self.sections if s.name == name), None)

    def u32(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 4], "little")

    def u64(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 8], "little")


def read(data: bytes) -> Program | None:
    """The program in `data`; None if it is not a little-endian x86-64 ELF file with loaded parts."""
    try:
        return _read(data)
    except (struct.error, ValueError, OverflowError):
        return None


def image(old: Program, new: Program) -> Image | None:
    """How `old` becomes `new`; None where their parts do not correspond."""
    if len(old.loads) != len(new.loads) or len(old.loads) >= MAX_SPANS:
        return None
    rules = tuple(_rules(old, new))
    if len(rules) > MAX_RULES:
        return None
    found = Image(
        (*old.loads, Span(0, UNLOADED, len(old.data))), (*new.loads, Span(0, UNLOADED, len(new.data))), rules
    )
    try:
        encode_numbers(found.to_numbers())
        return Image.from_numbers(found.to_numbers(), "image")
    except (ValueError, Corrupt):
        return None  # a damaged program: its numbers are beyond any address


def _read(data: bytes) -> Program | None:
    if len(data) < _HEADER.size or data[:6] != b"\x7fELF\x02\x01":
        return None
    head = _HEADER.unpack_from(data)
    machine, programs, sections = head[6], head[9], head[10]
    program_count, section_count, names = head[14], head[16], head[17]
    if machine != _X86_64:
        return None
    loads, executable = [], []
    for i in range(program_count):
        kind, flags, offset, address, _, stored, _, _ = _PROGRAM.unpack_from(
            data, programs + i * _PROGRAM.size
        )
        if kind == _LOAD and stored:
            loads.append(Span(offset, address, stored))
            if flags & 1:
                executable.append(loads[-1])
    raw = [_SECTION.unpack_from(data, sections + i * _SECTION.size) for i in range(section_count)]
    text = raw[names][4] if names < len(raw) else 0
    found = []
    for name, kind, flags, address, offset, size, link, *_ in raw:
        end = data.index(b"\0", text + name)
        if kind != _NOBITS and offset + size <= len(data):
            found.append(
                Section(data[text + name : end].decode("latin-1"), kind, flags, address, offset, size, link)
            )
        else:
            found.append(Section("", _NOBITS, 0, 0, 0, 0, 0))
    if not loads or not executable or max(s.address + s.size for s in loads) >= UNLOADED:
        return None
    return Program(data, tuple(loads), tuple(executable), tuple(found))


def _rules(old: Program, new: Program) -> Iterator[Rule]:
    for s in old.sections:
        other = new.named(s.name)
        if other is None or s.size < 16 or s.type == _NOBITS:
            continue
        if s.flags & _EXEC:
            yield from _code(old, s)
        elif s.type == _RELA:
            for at in (0, 16):
                yield Rule(
                    Kind.ABSOLUTE, width=8, start=s.offset + at, stride=24, count=s.size // 24,
                    low=old.low, high=old.high,
                )  # fmt: skip
        elif s.type in (_SYMTAB, _DYNSYM):
            yield from _symbols(old, new, s, other)
        elif special := _SPECIAL.get(s.name):
            yield from special(old, new, s, other)
        elif s.flags & _ALLOC and (s.type == _PROGBITS or s.type in _ARRAYS or s.type == _DYNAMIC):
            yield _pointers(old, s)


def _code(old: Program, s: Section) -> Iterator[Rule]:
    if s.address < s.offset:
        return
    low = min(e.address for e in old.executable)
    high = max(e.address + e.size for e in old.executable)
    yield Rule(
        Kind.CODE, start=s.offset, count=s.size, delta=s.address - s.offset, old_base=low, new_base=high,
        low=old.low, high=old.high + (64 << 20),
    )  # fmt: skip


def _pointers(old: Program, s: Section) -> Rule:
    start = s.offset + -s.address % 8
    count = max(0, s.offset + s.size - start) // 8
    return Rule(
        Kind.ABSOLUTE, width=8, start=start, stride=8, count=count, low=old.low, high=old.high + (64 << 20)
    )


def _symbols(old: Program, new: Program, s: Section, other: Section) -> Iterator[Rule]:
    count = s.size // 24
    if s.link < len(old.sections) and other.link < len(new.sections):
        names, new_names = old.sections[s.link], new.sections[other.link]
        yield Rule(
            Kind.ABSOLUTE, start=s.offset, stride=24, count=count, old_base=names.base, new_base=new_names.base,
            low=names.base, high=names.base + names.size,
        )  # fmt: skip
    yield Rule(
        Kind.ABSOLUTE,
        width=8,
        start=s.offset + 8,
        stride=24,
        count=count,
        low=old.low,
        high=old.high + (64 << 20),
    )
    yield Rule(
        Kind.SIZE_AFTER_ABSOLUTE, width=8, start=s.offset + 16, stride=24, count=count, add=8,
        low=old.low, high=old.high,
    )  # fmt: skip


def _frames(old: Program, new: Program, s: Section, other: Section) -> Iterator[Rule]:
    """The sorted table of .eh_frame_hdr, and through it the entries of .eh_frame."""
    if old.data[s.offset : s.offset + 4] != b"\x01\x1b\x03\x3b":
        return
    count = min(old.u32(s.offset + 8), (s.size - 12) // 8)
    yield Rule(Kind.RELATIVE, start=s.offset + 4, count=1, low=old.low, high=old.high)
    yield Rule(
        Kind.ABSOLUTE, start=s.offset + 12, count=2 * count, old_base=s.address, new_base=other.address,
        low=old.low, high=old.high,
    )  # fmt: skip
    frames = old.named(".eh_frame")
    if frames is None:
        return
    base = frames.offset + s.address - frames.address
    if base < 0:
        return

    def entry(kind: Kind, delta: int, add: int = 0, low: int = old.low, high: int = old.high) -> Rule:
        return Rule(
            kind, Shape.LISTED, start=s.offset + 16, stride=8, count=count, base=base, delta=delta, add=add,
            low=low, high=high,
        )  # fmt: skip

    yield entry(Kind.BACKWARD, 4)
    yield entry(Kind.RELATIVE, 8)
    yield entry(Kind.SIZE_AFTER_RELATIVE, 12, add=4)
    exceptions = old.named(".gcc_except_table")
    if exceptions is not None:
        yield entry(Kind.RELATIVE, 17, low=exceptions.address, high=exceptions.address + exceptions.size)


def _go_functions(old: Program, new: Program, s: Section, other: Section) -> Iterator[Rule]:
    """Go's table of functions: every record names, by offset, parts of other tables."""
    if old.u32(s.offset) != _GO_MAGIC or new.u32(other.offset) != _GO_MAGIC:
        return
    count = min(old.u64(s.offset + 8), s.size // 8)
    table = s.offset + old.u64(s.offset + 64)

    def base(program: Program, section: Section, at: int) -> int:
        return section.address + program.u64(section.offset + at)

    def text(program: Program, section: Section) -> int:
        start = program.u64(section.offset + 24)
        found = program.named(".text")
        return start or (found.address if found else 0)

    names, points, functions = (
        (base(old, s, at), base(new, other, at)) for at in (32, 56, 64)
    )  # fmt: skip
    code = (text(old, s), text(new, other))

    def regular(start: int, stride: int, number: int, bases: tuple[int, int]) -> Rule:
        return Rule(Kind.ABSOLUTE, start=start, stride=stride, count=number, old_base=bases[0], new_base=bases[1],
                    low=bases[0] + 1)  # fmt: skip

    def record(at: int, bases: tuple[int, int]) -> Rule:
        return Rule(
            Kind.ABSOLUTE, Shape.LISTED, start=table + 4, stride=8, count=count, base=table, delta=at,
            old_base=bases[0], new_base=bases[1], low=bases[0] + 1, high=old.high,
        )  # fmt: skip

    yield regular(table, 8, count + 1, code)
    yield regular(table + 4, 8, count, functions)
    yield record(0, code)
    yield record(4, names)
    for at in (16, 20, 24):
        yield record(at, points)
    yield Rule(
        Kind.ABSOLUTE, Shape.ARRAY, start=table + 4, stride=8, count=count, base=table, delta=44, length_at=28,
        old_base=points[0], new_base=points[1], low=points[0] + 1, high=old.high,
    )  # fmt: skip
    data = (_symbol(old, b"go:func.*"), _symbol(new, b"go:func.*"))
    if data[0] and data[1]:
        yield Rule(
            Kind.ABSOLUTE, Shape.BYTE_ARRAY, start=table + 4, stride=8, count=count, base=table, delta=44,
            length_at=43, skip_at=28, old_base=data[0], new_base=data[1], low=data[0], high=old.high,
        )  # fmt: skip


def _go_types(old: Program, new: Program, s: Section, other: Section) -> Iterator[Rule]:
    yield _pointers(old, s)
    yield Rule(
        Kind.ABSOLUTE, start=s.offset + -s.offset % 4, count=s.size // 4 - 1, old_base=s.address, new_base=other.address,
        low=s.address + _FIRST_PAGE, high=s.address + s.size,
    )  # fmt: skip


def _symbol(program: Program, name: bytes) -> int:
    """The address of a symbol, 0 if there is none."""
    table = program.named(".symtab")
    if table is None or table.link >= len(program.sections):
        return 0
    names = program.sections[table.link]
    at = program.data.find(b"\0" + name + b"\0", names.offset, names.offset + names.size)
    if at < 0:
        return 0
    wanted = at + 1 - names.offset
    for record in range(table.offset, table.offset + table.size - 23, 24):
        if program.u32(record) == wanted:
            return program.u64(record + 8)
    return 0


def _none(old: Program, new: Program, s: Section, other: Section) -> Iterator[Rule]:
    return iter(())


_SPECIAL: dict[str, Callable[[Program, Program, Section, Section], Iterator[Rule]]] = {
    ".eh_frame_hdr": _frames,
    ".eh_frame": _none,
    ".gcc_except_table": _none,
    ".gopclntab": _go_functions,
    ".go.type": _go_types,
}
