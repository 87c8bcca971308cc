"""The process that decodes what cannot be trusted yet. `sandbox` starts it, and is the only one to speak to it.

It imports what its codecs need, locks itself down, says how far that went, and only then takes requests. A request
comes with the open blob and base; the answer goes out in frames as it is decoded. Answers are in the order of the
requests, so the next ones may wait in the socket.

It becomes two before it locks itself down, so that both are there after one start: one for each lane, with a socket
each. They have nothing else in common.

Arguments: bytes of memory, seconds of processor time, names of codecs. Standard input is the socket of the first lane,
standard output that of the second. Each process ends when its socket does.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, Protocol

from ..codecs import CODECS
from ..errors import ArtifactError, Corrupt
from ..extent import Extent
from . import linux
from .confine import Budget, Measure, confine
from .frames import BASE, BLOB, DATA, ERROR, HEADER, HELLO, LAST, REQUEST, WHOLE, pack_error, pack_hello

Decode = Callable[[Extent, Extent | None, int], Iterator[bytes]]
DecodeLane = Callable[[Extent, Extent | None, int, int], Iterator[bytes]]

_DESCRIPTORS = struct.Struct("ii")


class Decodable(Protocol):
    """As much of a codec as is used here."""

    @property
    def decode(self) -> Decode: ...
    @property
    def prepare(self) -> Callable[[], object] | None: ...
    @property
    def lane(self) -> DecodeLane | None: ...


def main(table: Mapping[str, Decodable] = CODECS, measures: Iterable[Measure] = Measure) -> NoReturn:
    """Serve one parent. A table and measures of one's own are for tests of what holds a hostile codec."""
    memory, cpu_s, *names = sys.argv[1:]
    decoders = [table[name] for name in names]
    for codec in decoders:
        if codec.prepare:
            codec.prepare()
    os.environ.clear()
    sys.meta_path.clear()  # a later import fails as such, and is not taken for an attack
    gc.freeze()  # what both share stays shared: collecting would write to it
    if linux.fork_sibling() == 0:
        os.dup2(1, 0)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    pid, parent = os.getpid(), socket.socket(fileno=0)
    confinement = confine(Budget(int(memory), int(cpu_s)), measures)
    try:
        _send(parent, HELLO, pack_hello(pid, confinement))
        _serve(parent, decoders)
    finally:
        # Leaving in the ordinary way closes and flushes what is open, which the filter takes for an attack.
        os._exit(0)


def _serve(parent: socket.socket, decoders: Sequence[Decodable]) -> None:
    with suppress(ConnectionError):
        while True:
            message, ancillary, _, _ = parent.recvmsg(
                REQUEST.size, socket.CMSG_SPACE(_DESCRIPTORS.size), socket.MSG_CMSG_CLOEXEC
            )
            if not message:
                return
            codec, lane, blob_at, blob_size, base_at, base_size, size = REQUEST.unpack(message)
            ((_, _, raw),) = ancillary
            descriptors = struct.unpack(f"{len(raw) // 4}i", raw)
            extents = (
                Extent(fd, at, length, name)
                for fd, at, length, name in zip(
                    descriptors, (blob_at, base_at), (blob_size, base_size), (BLOB, BASE), strict=False
                )
            )
            _answer(parent, _decode(decoders[codec], lane), next(extents), next(extents, None), size)
            for fd in descriptors:
                os.close(fd)


def _decode(codec: Decodable, lane: int) -> Decode:
    in_lane = codec.lane
    if lane == WHOLE or in_lane is None:
        return codec.decode
    return lambda blob, base, size: in_lane(blob, base, size, lane)


def _answer(parent: socket.socket, decode: Decode, blob: Extent, base: Extent | None, size: int) -> None:
    # One piece is held back, to know the last: a frame less for each of many small files.
    held = b""
    try:
        for piece in decode(blob, base, size):
            if held:
                _send(parent, DATA, held)
            held = piece
    except ArtifactError as error:
        _send(parent, ERROR, pack_error(error))
    except Exception as error:  # noqa: BLE001 - hostile bytes may make a decoder raise anything; all of it means this
        damage = Corrupt("bytes that can be decoded", f"{type(error).__name__}: {error}", BLOB)
        _send(parent, ERROR, pack_error(damage))
    else:
        _send(parent, LAST, held)


def _send(parent: socket.socket, kind: int, data: bytes) -> None:
    header = HEADER.pack(kind, len(data))
    sent = parent.sendmsg((header, data), (), socket.MSG_NOSIGNAL)
    if sent < len(header) + len(data):  # the process was stopped and continued meanwhile
        rest = memoryview(header + data)
        while rest := rest[sent:]:
            sent = parent.sendmsg((rest,), (), socket.MSG_NOSIGNAL)


if __name__ == "__main__":
    main()
