"""The process that decodes what cannot be trusted yet. `sandbox` starts it, and is the only one to speak to it.

It imports what its codecs need, locks itself down, says how far that went, and only then takes requests. A request
comes with the open blob and base; the answer goes out in frames as it is decoded. Answers are in the order of the
requests, so the next ones may wait in the socket.

Arguments: bytes of memory, seconds of processor time, names of codecs. Standard input is the socket. The process ends
when the socket does.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NoReturn, Protocol

from ..codecs import CODECS
from ..errors import ArtifactError, Corrupt
from ..extent import Extent
from .confine import Budget, Measure, confine
from .frames import BASE, BLOB, DATA, ERROR, HEADER, HELLO, LAST, REQUEST, pack_confinement, pack_error

Decode = Callable[[Extent, Extent | None, int], Iterator[bytes]]

_DESCRIPTORS = struct.Struct("ii")


class Decodable(Protocol):
    """As much of a codec as is used here."""

    @property
    def decode(self) -> Decode: ...
    @property
    def prepare(self) -> Callable[[], object] | None: ...


def main(table: Mapping[str, Decodable] = CODECS, measures: Iterable[Measure] = Measure) -> NoReturn:
    """Serve one parent. A table and measures of one's own are for tests of what holds a hostile codec."""
    memory, cpu_s, *names = sys.argv[1:]
    decoders: list[Decode] = []
    for name in names:
        codec = table[name]
        if codec.prepare:
            codec.prepare()
        decoders.append(codec.decode)
    parent = socket.socket(fileno=0)
    os.environ.clear()
    sys.meta_path.clear()  # a later import fails as such, and is not taken for an attack
    confinement = confine(Budget(int(memory), int(cpu_s)), measures)
    try:
        _send(parent, HELLO, pack_confinement(confinement))
        _serve(parent, decoders)
    finally:
        # Leaving in the ordinary way closes and flushes what is open, which the filter takes for an attack.
        os._exit(0)


def _serve(parent: socket.socket, decoders: list[Decode]) -> None:
    with suppress(ConnectionError):
        while True:
            message, ancillary, _, _ = parent.recvmsg(
                REQUEST.size, socket.CMSG_SPACE(_DESCRIPTORS.size), socket.MSG_CMSG_CLOEXEC
            )
            if not message:
                return
            codec, blob_at, blob_size, base_at, base_size, size = REQUEST.unpack(message)
            ((_, _, raw),) = ancillary
            descriptors = struct.unpack(f"{len(raw) // 4}i", raw)
            extents = (
                Extent(fd, at, length, name)
                for fd, at, length, name in zip(
                    descriptors, (blob_at, base_at), (blob_size, base_size), (BLOB, BASE), strict=False
                )
            )
            _answer(parent, decoders[codec], next(extents), next(extents, None), size)
            for fd in descriptors:
                os.close(fd)


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
