"""The shared listening sockets of one driver: bound once, handed to every instance, found again after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterable

from bumpless.common.model.release import Run
from bumpless.executor.drivers import sockets
from bumpless.executor.record import Instance, Listener


class SharedListeners:
    """By component and address."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], socket.socket] = {}

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        """Those of `run.listen`, bound now unless they are held already. Raises: Refused."""
        found = []
        for name, address in run.listen.items():
            held = self._held.get((component, address))
            if held is None:
                held = await asyncio.to_thread(sockets.bind, address)
                self._held[component, address] = held
            found.append(Listener(name=name, address=address, inode=sockets.inode_of(held)))
        return tuple(found)

    def descriptors(self, component: str, listeners: Iterable[Listener]) -> list[int]:
        return [self._held[component, listener.address].fileno() for listener in listeners]

    def adopt(self, instance: Instance, pid: int, pidfd: int) -> None:
        """Take those that are not held here out of the process that an earlier executor gave them to."""
        component = instance.target.component
        for listener in instance.listeners:
            if (component, listener.address) not in self._held:
                found = sockets.adopt(pid, pidfd, listener.inode)
                if found is not None:
                    self._held[component, listener.address] = found

    def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        """Let go of the component's that none of `runs` listens on."""
        wanted = {address for run in runs for address in run.listen.values()}
        for key in [k for k in self._held if k[0] == component and k[1] not in wanted]:
            self._held.pop(key).close()
            if key[1].startswith("unix://"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(key[1].removeprefix("unix://"))

    def close(self) -> None:
        for sock in self._held.values():
            sock.close()
        self._held.clear()
