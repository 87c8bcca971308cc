"""The shared listening sockets of one driver: bound once, handed to every instance, found again after a restart.

Where they are kept, so that they outlive this process, is not decided here (`kept`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable

from bumpless.common.model.release import Run
from bumpless.executor.drivers import sockets
from bumpless.executor.drivers.kept import KeptSockets
from bumpless.executor.record import Instance, Listener


class SharedListeners:
    """By component and address."""

    def __init__(self, kept: KeptSockets | None = None) -> None:
        self._held = kept if kept is not None else KeptSockets()
        self._binding = asyncio.Lock()
        """Two instances of a component may start at the same moment, as after a reboot, and share what is bound."""

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        """Those of `run.listen`, bound now unless they are held already. Raises: Refused."""
        found = []
        for name, address in run.listen.items():
            async with self._binding:
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
        for listener in instance.listeners:
            self.take(instance.target.component, listener.address, listener.inode, pid, pidfd)

    def take(self, component: str, address: str, inode: int, pid: int, pidfd: int) -> None:
        """One socket out of a process that holds it, unless it is held here already."""
        if (component, address) not in self._held:
            found = sockets.adopt(pid, pidfd, inode)
            if found is not None:
                self._held[component, address] = found

    def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        """Let go of the component's that none of `runs` listens on."""
        wanted = {address for run in runs for address in run.listen.values()}
        for key in [k for k in self._held if k[0] == component and k[1] not in wanted]:
            self._held.pop(key).close()
            if key[1].startswith("unix://"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(key[1].removeprefix("unix://"))

    def close(self) -> None:
        """Let go of all; what is stored with a service manager stays there."""
        self._held.close()
