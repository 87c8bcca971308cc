"""Small x86-64 ELF programs, made without a compiler: sections that name each other, as linkers lay them out."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

BASE = 0x400000
_ALLOC, _WRITE, _EXEC = 2, 1, 4
_PROGBITS, _SYMTAB, _STRTAB, _RELA = 1, 2, 3, 4


@dataclass(frozen=True)
class Function:
    """Machine code: `body`, then a call of each of `calls`, then an operand in `.rodata` for each of `reads`."""

    name: str
    body: bytes
    calls: tuple[str, ...] = ()
    reads: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return len(self.body) + 5 * len(self.calls) + 7 * len(self.reads) + 1


def program(
    functions: Sequence[Function], rodata: bytes = b"", extra: Sequence[tuple[str, bytes]] = ()
) -> bytes:
    """`extra` are more loaded sections, by name."""
    names = {f.name: i for i, f in enumerate(functions)}
    count = len(functions)
    sections: list[tuple[str, int, int, int]] = [
        (".rela.dyn", _RELA, _ALLOC, 24 * count),
        (".eh_frame_hdr", _PROGBITS, _ALLOC, 12 + 8 * count),
        (".eh_frame", _PROGBITS, _ALLOC, 24 + 24 * count),
        (".rodata", _PROGBITS, _ALLOC, len(rodata)),
        *((name, _PROGBITS, _ALLOC, len(data)) for name, data in extra),
        (".text", _PROGBITS, _ALLOC | _EXEC, sum(-(-f.size // 16) * 16 for f in functions)),
        (".data", _PROGBITS, _ALLOC | _WRITE, 8 * count),
        (".symtab", _SYMTAB, 0, 24 * (count + 1)),
        (".strtab", _STRTAB, 0, 1 + sum(len(f.name) + 1 for f in functions)),
    ]
    text_names = b"\0" + b"".join(name.encode() + b"\0" for name, *_ in sections) + b".shstrtab\0"
    sections.append((".shstrtab", _STRTAB, 0, len(text_names)))
    at = 64 + 3 * 56
    offset: dict[str, int] = {}
    for name, _, _, size in sections:
        at = -(-at // 16) * 16
        offset[name] = at
        at += size
    headers_at = -(-at // 16) * 16
    # Read-only, executable and writable parts a page further each, so that offsets and addresses differ.
    first = {".text": 1, ".data": 2}
    address: dict[str, int] = {}
    part = 0
    for name, _, flags, _ in sections:
        part = first.get(name, part)
        address[name] = BASE + part * 0x1000 + offset[name] if flags & _ALLOC else 0
    places = []
    here = address[".text"]
    for f in functions:
        places.append(here)
        here += -(-f.size // 16) * 16
    content: dict[str, bytes] = dict(extra)
    content[".rela.dyn"] = b"".join(
        struct.pack("<QQQ", address[".data"] + 8 * i, 8, place) for i, place in enumerate(places)
    )
    frames, table = address[".eh_frame"], address[".eh_frame_hdr"]
    rows = [(place - table, frames + 24 + 24 * i - table) for i, place in enumerate(places)]
    content[".eh_frame_hdr"] = struct.pack(
        "<4sii", b"\x01\x1b\x03\x3b", frames - table - 4, count
    ) + b"".join(struct.pack("<ii", *row) for row in rows)
    content[".eh_frame"] = struct.pack("<II", 20, 0) + b"\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01\0\0"
    for i, (f, place) in enumerate(zip(functions, places, strict=True)):
        own = frames + 24 + 24 * i
        content[".eh_frame"] += struct.pack("<IIiI8x", 20, own + 4 - frames, place - own - 8, f.size)
    content[".rodata"] = rodata
    content[".data"] = b"".join(struct.pack("<Q", place) for place in places)
    code = bytearray()
    for f in functions:
        body = bytearray(f.body)
        begin = address[".text"] + len(code)
        for callee in f.calls:
            body += b"\xe8" + struct.pack("<i", places[names[callee]] - begin - len(body) - 5)
        for place in f.reads:
            body += b"\x48\x8d\x05" + struct.pack("<i", address[".rodata"] + place - begin - len(body) - 7)
        body += b"\xc3"
        code += body.ljust(-(-len(body) // 16) * 16, b"\xcc")
    content[".text"] = bytes(code)
    symbols, strings = [bytes(24)], b"\0"
    for f, place in zip(functions, places, strict=True):
        symbols.append(struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, place, f.size))
        strings += f.name.encode() + b"\0"
    content[".symtab"], content[".strtab"], content[".shstrtab"] = b"".join(symbols), strings, text_names
    order = [name for name, *_ in sections]
    rows_of_headers = [bytes(64)]
    for name, kind, flags, size in sections:
        link = order.index(".strtab") + 1 if name == ".symtab" else 0
        own_name = text_names.index(b"\0" + name.encode() + b"\0") + 1
        rows_of_headers.append(
            struct.pack(
                "<IIQQQQIIQQ", own_name, kind, flags, address[name], offset[name], size, link, 0, 16, 0
            )
        )
    ends = [
        (0, offset[".text"], 4, 0),
        (offset[".text"], offset[".data"], 5, 1),
        (offset[".data"], offset[".symtab"], 6, 2),
    ]
    loads = b"".join(
        struct.pack("<IIQQQQQQ", 1, flags, low, *[BASE + page * 0x1000 + low] * 2, *[high - low] * 2, 0x1000)
        for low, high, flags, page in ends
    )
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, places[0] if places else 0, 64, headers_at, 0, 64, 56, 3,
        64, len(sections) + 1, len(sections),
    )  # fmt: skip
    out = bytearray(head + loads)
    for name in order:
        out = out.ljust(offset[name], b"\0") + content[name]
    return bytes(out.ljust(headers_at, b"\0")) + b"".join(rows_of_headers)


def functions(seed: int, count: int, size: int = 40) -> list[Function]:
    """Functions that call each other and read `.rodata` of 256 bytes at least."""
    rng = random.Random(seed)
    return [
        Function(
            f"function_{i}",
            rng.randbytes(rng.randrange(size)),
            tuple(f"function_{rng.randrange(count)}" for _ in range(rng.randrange(5))),
            tuple(rng.randrange(256) for _ in range(rng.randrange(3))),
        )
        for i in range(count)
    ]


def grown(old: Sequence[Function], seed: int) -> list[Function]:
    """The same program after one function was inserted in front and one in the middle."""
    rng = random.Random(seed)
    new = list(old)
    new.insert(len(new) // 2, Function("inserted", rng.randbytes(77), (old[0].name,)))
    new.insert(0, Function("first", rng.randbytes(33), (old[-1].name,)))
    return new
