"""The shared listening sockets of a node, and their ways past the end of this process.

They go to the next executor by exec, which keeps descriptors, and to the service manager, which gives them back after
a crash. Either way they are known by name: `COMPONENT ADDRESS`, quoted as in URLs.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Self
from urllib.parse import quote, unquote

from bumpless.common.shell.service_manager import ServiceManager
from bumpless.executor.drivers import sockets
from bumpless.executor.drivers.manager import stored_descriptors

SOCKETS = "BUMPLESS_SOCKETS"
"""`FD=NAME`, separated by spaces."""

Key = tuple[str, str]
"""Component and address."""


class KeptSockets(MutableMapping[Key, socket.socket]):
    """What is put in here is stored with the manager, what is taken out is removed there."""

    def __init__(self, manager: ServiceManager | None = None) -> None:
        self._manager = manager or ServiceManager(None)
        self._held: dict[Key, socket.socket] = {}

    @classmethod
    def of_this_process(cls, manager: ServiceManager) -> Self:
        """With what the executor before this one, or the manager, left open for it."""
        kept = cls(manager)
        kept._take(_handed_over())
        kept._take(stored_descriptors())
        return kept

    def hand_over(self) -> dict[str, str]:
        """Environment for the program that takes this one's place by exec; from now on any child gets the sockets."""
        for sock in self._held.values():
            sock.set_inheritable(True)
        words = [f"{sock.detach()}={_name(key)}" for key, sock in self._held.items()]
        self._held.clear()
        return {SOCKETS: " ".join(words)} if words else {}

    def close(self) -> None:
        """Let go of all; what is stored with the manager stays there."""
        for sock in self._held.values():
            sock.close()
        self._held.clear()

    def _take(self, found: Iterable[tuple[str, int]]) -> None:
        for name, fd in found:
            component, _, address = unquote(name).partition(" ")
            if not _is_socket(fd):
                continue
            sock = sockets.high(socket.socket(fileno=fd))
            if not address or (component, address) in self._held:
                sock.close()
                continue
            self[component, address] = sock

    def __getitem__(self, key: Key) -> socket.socket:
        return self._held[key]

    def __setitem__(self, key: Key, sock: socket.socket) -> None:
        self._held[key] = sock
        self._manager.keep(_name(key), sock.fileno())

    def __delitem__(self, key: Key) -> None:
        del self._held[key]
        self._manager.forget(_name(key))

    def __iter__(self) -> Iterator[Key]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def _name(key: Key) -> str:
    return quote(" ".join(key), safe="/")


def _handed_over() -> list[tuple[str, int]]:
    pairs = (word.partition("=") for word in os.environ.pop(SOCKETS, "").split())
    return [(name, int(fd)) for fd, _, name in pairs if fd.isdigit()]


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
