"""The receiving end of sd_notify(3): one datagram socket per instance.

The names are abstract: they have no length limit of their own on our paths, leave nothing behind, and the next
executor can take them again. Anybody on the host can send to them, so the kernel's word on the sender is checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct

_CREDENTIALS = struct.Struct("3i")
_MAX_DATAGRAM = 4096


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

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

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
