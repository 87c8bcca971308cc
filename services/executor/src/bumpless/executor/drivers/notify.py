"""The receiving end of what an instance says: a datagram socket as in sd_notify(3), and a pipe as in s6.

The names are abstract: they have no length limit of their own on our paths, leave nothing behind, and the next
executor can take them again. Anybody on the host can send to them, so the kernel's word on the sender is checked.
The pipe is for programs that cannot send to a Unix datagram socket. It ends with the executor that made it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterator

_CREDENTIALS = struct.Struct("3i")
_MAX_DATAGRAM = 4096
_STATE = re.compile(rb"[A-Z_]+=")
LOWEST_FD = 64
"""Away from the descriptors that a child is given."""


class Notifications:
    """What one instance says. `ready` is set by READY=1, `status` is its last STATUS."""

    def __init__(self, name: str) -> None:
        """Raises: OSError, if somebody else has that name."""
        self.address = "@" + name
        self.ready = asyncio.Event()
        self.status = ""
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            self._socket.bind("\0" + name)
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._received)
        self._pipe = -1
        self._line = b""

    @contextlib.contextmanager
    def pipe(self) -> Iterator[int]:
        """The writing end of a new pipe, open in here so that a child can be given it. Raises: OSError."""
        self._pipe, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._loop.add_reader(self._pipe, self._wrote)
        try:
            os.set_blocking(writing, True)
            high = fcntl.fcntl(writing, fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)
        finally:
            os.close(writing)
        try:
            yield high
        finally:
            os.close(high)

    def close(self) -> None:
        self._close_pipe()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    def _wrote(self) -> None:
        try:
            data = os.read(self._pipe, _MAX_DATAGRAM)
        except BlockingIOError:
            return
        if not data:
            self._close_pipe()
            return
        *lines, rest = (self._line + data).split(b"\n")
        self._line = rest[:_MAX_DATAGRAM]
        for line in lines:
            # s6: whatever ends in a newline means ready, unless it is a state that means something else.
            self._read(line)
            if not _STATE.match(line):
                self.ready.set()
        if self._line == b"READY=1":
            self.ready.set()

    def _received(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = self._socket.recvmsg(
                    _MAX_DATAGRAM, socket.CMSG_SPACE(_CREDENTIALS.size)
                )
                if _sender(ancillary) in (os.getuid(), 0):
                    self._read(data)

    def _read(self, data: bytes) -> None:
        for line in data.decode(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if (name, value) == ("READY", "1"):
                self.ready.set()
            elif name == "STATUS":
                self.status = value[:200]


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return int(_CREDENTIALS.unpack(data[: _CREDENTIALS.size])[1])
    return None
