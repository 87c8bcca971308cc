"""The service manager that started this process, if there is one: sd_notify(3), its watchdog and its store of descriptors.

Everything here is best effort: without a manager nothing is said, and a manager that is away is not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Self

from bumpless.common.shell.log import get_logger

log = get_logger(__name__)

LONGEST_NAME = 255
"""What systemd takes as FDNAME."""
BEATS = 3
"""Signs of life in the time after which the manager kills us."""


class ServiceManager:
    """`address` is that of NOTIFY_SOCKET; None: there is no manager. `watchdog_s`: it ends us after so long a silence."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = None if address is None else "\0" + address[1:] if address[:1] == "@" else address
        self._watchdog_s = watchdog_s

    @classmethod
    def of_this_process(cls, env: Mapping[str, str] | None = None) -> Self:
        found = os.environ if env is None else env
        ours = found.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = found.get("WATCHDOG_USEC", "")
        return cls(found.get("NOTIFY_SOCKET"), int(usec) / 1e6 if ours and usec.isdigit() else None)

    def ready(self, status: str = "") -> None:
        self._say(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """A line of `systemctl status`."""
        self._say(f"STATUS={text}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While the event loop turns, the manager hears that we live; it ends and restarts a process that hangs."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait({beating})

    def keep(self, name: str, fd: int) -> None:
        """Store a descriptor under `name`: printable, without a colon."""
        if len(name) > LONGEST_NAME:
            log.warning("the name of a socket is too long to be stored", name=name)
            return
        self._say(f"FDSTORE=1\nFDNAME={name}", fd)

    def forget(self, name: str) -> None:
        self._say(f"FDSTOREREMOVE=1\nFDNAME={name}")

    async def _beat(self) -> None:
        while self._watchdog_s:
            self._say("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / BEATS)

    def _say(self, text: str, *fds: int) -> None:
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.setblocking(False)
            to.connect(self._address)
            socket.send_fds(to, [text.encode()], list(fds))
