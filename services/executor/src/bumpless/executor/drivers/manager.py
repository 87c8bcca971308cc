"""The service manager that started this executor, if there is one: sd_notify(3) and its store of descriptors.

A stored listening socket outlives the executor and the services together, with the connections that wait in it.
Everything here is best effort: without a manager nothing is said, and a manager that is away is not waited for.
"""

from __future__ import annotations

import contextlib
import os
import socket

from bumpless.common.shell.log import get_logger

log = get_logger(__name__)

FIRST_FD = 3
LONGEST_NAME = 255
"""What systemd takes as FDNAME."""


class ServiceManager:
    """`address` is that of NOTIFY_SOCKET; None: there is no manager."""

    def __init__(self, address: str | None) -> None:
        self._address = None if address is None else "\0" + address[1:] if address[:1] == "@" else address

    def ready(self) -> None:
        self._say("READY=1")

    def keep(self, name: str, fd: int) -> None:
        """Store a descriptor under `name`: printable, without a colon."""
        if len(name) > LONGEST_NAME:
            log.warning("the name of a socket is too long to be stored", name=name)
            return
        self._say(f"FDSTORE=1\nFDNAME={name}", fd)

    def forget(self, name: str) -> None:
        self._say(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def _say(self, text: str, *fds: int) -> None:
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.setblocking(False)
            to.connect(self._address)
            socket.send_fds(to, [text.encode()], list(fds))


def stored_descriptors() -> list[tuple[str, int]]:
    """(name, descriptor) of everything the manager gave this process, taken out of the environment."""
    meant_for, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "")
    if meant_for != str(os.getpid()) or not count.isdigit():
        return []
    named = names.split(":") if names else []
    return [(named[at] if at < len(named) else "", FIRST_FD + at) for at in range(int(count))]
