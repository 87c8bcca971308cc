"""Instances behind an HAProxy: a wrapper around any driver that moves traffic in the proxy instead of on a socket.

The new instance's server is made ready, the old one's drains until it has no session left, then it is taken out and
its instance is told to pause. Client connections belong to the proxy and stay. Two forms (`model.hooks.HaproxyServers`):
with `servers` every instance listens on the address of a server that no other instance has; with `server` all
instances of a node stand for one server, one after the other.

What runs without `run.proxy` passes through untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.common.model.hooks import HaproxyServers
from bumpless.common.model.release import Run
from bumpless.executor.drivers.haproxy import Server
from bumpless.executor.ports import Exit, Launch, NotReady, ProcessSwitch, Unanswered
from bumpless.executor.record import Instance, Listener

POLL_S = 0.1
SETTLED_LOOKS = 2
"""A server counts as empty when it was so this many looks in a row: a session may be between choice and count."""


@dataclass
class _Placed:
    """An instance and its server. `open`: the proxy was told to send it traffic."""

    component: str
    server: Server
    address: str | None
    started: int
    open: bool = False
    paused_at: float | None = None


class ProxiedSwitch:
    """Implements `ports.ProcessSwitch` over another one, for one node."""

    def __init__(self, switch: ProcessSwitch, node: str) -> None:
        self._switch, self._node = switch, node
        self._placed: dict[str, _Placed] = {}
        self._proxies: dict[str, HaproxyServers] = {}
        """The last seen of each component, for servers that nobody stands for after a restart."""
        self._promised: set[tuple[str, str]] = set()
        """(component, address) that `listen` gave away and no instance was started on yet."""

    # sockets

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        proxy = _proxy(run)
        if proxy is None or not proxy.servers:
            return await self._switch.listen(component, run)
        address = self._free(component, proxy)
        self._promised.add((component, address))
        try:
            return await self._switch.listen(component, _at(run, proxy, address))
        except BaseException:
            self._promised.discard((component, address))
            raise

    async def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        """An address that no instance has refuses connections, so that a proxy that was restarted passes on at once."""
        wanted: list[Run] = []
        taken = self._taken(component) | {a for c, a in self._promised if c == component}
        for run in runs:
            proxy = _proxy(run)
            if proxy is None or not proxy.servers:
                wanted.append(run)
            else:
                wanted += [_at(run, proxy, address) for address in proxy.servers.values() if address in taken]
        await self._switch.keep_only(component, wanted)

    # lives

    async def start(self, launch: Launch) -> Instance:
        placed = self._place(launch.component, launch.instance)
        if placed is None:
            return await self._switch.start(launch)
        try:
            if placed.address is not None:
                await placed.server.set("maint")
            else:
                await placed.server.look()
            started = await self._switch.start(launch)
        except Unanswered as error:
            raise Refused("the proxy to take the new instance", str(error)) from error
        finally:
            self._promised.discard((launch.component, placed.address or ""))
        self._placed[started.id] = replace(placed, started=started.started_ticks)
        return started

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        await self._switch.wait_ready(instance, timeout_s)
        placed = self._placed.get(instance.id)
        if placed is not None and not instance.standby:
            try:
                await self._open(placed)
            except Unanswered as error:
                raise NotReady(f"it is ready, and the proxy does not take it: {error}") from error

    async def check(self, instance: Instance) -> None:
        await self._switch.check(instance)
        if (placed := self._placed.get(instance.id)) is not None and placed.open:
            found = await placed.server.look()
            if found.status.startswith(("DOWN", "MAINT")):
                raise Unanswered(f"expected HAProxy to have {placed.server} up, found {found.status}")

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        placed = self._placed.get(instance.id)
        if placed is not None and placed.open:
            with contextlib.suppress(Unanswered):
                await placed.server.set("drain")
            await self._empty(instance, placed, asyncio.get_running_loop().time() + timeout_s)
            await self._shut(placed)
        await self._switch.stop(instance, timeout_s)
        await self._leave(instance)

    async def kill(self, instance: Instance, because: str = "") -> None:
        if (placed := self._placed.get(instance.id)) is not None:
            await self._shut(placed)
        await self._switch.kill(instance, because)
        await self._leave(instance)

    async def exited(self, instance: Instance) -> Exit:
        end = await self._switch.exited(instance)
        await self._leave(instance)
        return end

    # traffic

    async def take_over(self, run: Run, root: Digest | None) -> None:
        await self._switch.take_over(run, root)

    async def pause(self, instance: Instance) -> None:
        placed = self._placed.get(instance.id)
        if placed is None:
            await self._switch.pause(instance)
            return
        await self._switch.check(instance)
        if placed.open:
            await placed.server.set("drain")
        placed.paused_at = asyncio.get_running_loop().time()

    async def resume(self, instance: Instance) -> None:
        await self._switch.resume(instance)
        if (placed := self._placed.get(instance.id)) is not None:
            await self._open(placed)

    async def activate(self, instance: Instance, timeout_s: float) -> str:
        became = await self._switch.activate(instance, timeout_s)
        if (placed := self._placed.get(instance.id)) is not None:
            await self._open(placed)
        return became

    async def drained(self, instance: Instance, lame_duck_s: float, timeout_s: float) -> tuple[str, ...]:
        placed = self._placed.get(instance.id)
        if placed is None:
            return await self._switch.drained(instance, lame_duck_s, timeout_s)
        clock = asyncio.get_running_loop().time
        deadline = (placed.paused_at or clock()) + lame_duck_s + timeout_s
        left: tuple[str, ...] = ()
        if placed.open:
            left = await self._empty(instance, placed, deadline)
            try:
                await placed.server.set("maint")
            except Unanswered as error:
                # The proxy goes on sending traffic to it, so it goes on serving.
                return (*left, f"{placed.server} is not out of the proxy: {error}")
            placed.open = False
        # Only now: what the proxy had chosen it for before the drain has reached it.
        try:
            await self._switch.pause(instance)
        except Unanswered:
            return left
        return left + await self._switch.drained(instance, 0, max(0.0, deadline - clock()))

    async def scrape(self, instance: Instance) -> str:
        return await self._switch.scrape(instance)

    # after a restart of the executor

    async def adopt(self, instance: Instance) -> Instance | None:
        adopted = await self._switch.adopt(instance)
        if adopted is None or instance.id in self._placed:
            return adopted
        placed = self._place(instance.target.component, adopted)
        if placed is not None:
            with contextlib.suppress(Unanswered):
                placed.open = not (await placed.server.look()).status.startswith("MAINT")
            if placed.address is None:
                self._leave_it_to_the_youngest(placed)
            self._placed[adopted.id] = placed
        return adopted

    async def reap(self, known: Iterable[str]) -> tuple[str, ...]:
        lost = await self._switch.reap(known)
        for component, proxy in self._proxies.items():
            taken = self._taken(component)
            for name in (name for name, address in proxy.servers.items() if address not in taken):
                # Nobody accepts there, and the socket may still be held.
                with contextlib.suppress(Unanswered):
                    await Server(proxy.socket, proxy.backend, name).set("maint")
        return lost

    async def tidy(self) -> None:
        await self._switch.tidy()

    def close(self) -> None:
        self._switch.close()

    # inside

    def _free(self, component: str, proxy: HaproxyServers) -> str:
        taken = self._taken(component) | {a for c, a in self._promised if c == component}
        for address in proxy.servers.values():
            if address not in taken:
                return address
        raise Refused(
            f"a server of {proxy.backend} without an instance among {', '.join(proxy.servers)}",
            "an instance on each, one of them still on its way out or kept warm",
            "release again later, lower warm_s, or name one server more",
        )

    def _taken(self, component: str) -> set[str]:
        return {p.address for p in self._placed.values() if p.component == component and p.address}

    def _place(self, component: str, instance: Instance) -> _Placed | None:
        """Which server an instance stands for. None: there is no proxy."""
        proxy = _proxy(instance.target.run)
        if proxy is None:
            return None
        self._proxies[component] = proxy
        if proxy.server is not None:
            name = proxy.server.replace("{node.name}", self._node)
            server = Server(proxy.socket, proxy.backend, name)
            return _Placed(component, server, None, instance.started_ticks)
        addresses = {listener.address for listener in instance.listeners}
        for name, address in proxy.servers.items():
            if address in addresses:
                server = Server(proxy.socket, proxy.backend, name)
                return _Placed(component, server, address, instance.started_ticks)
        return None

    def _leave_it_to_the_youngest(self, placed: _Placed) -> None:
        for other in self._placed.values():
            if other.server == placed.server and other.open and placed.open:
                older = other if other.started < placed.started else placed
                older.open = False

    async def _open(self, placed: _Placed) -> None:
        """Raises: Unanswered."""
        await placed.server.set("ready")
        for other in self._placed.values():
            if other is not placed and other.server == placed.server:
                other.open = False
        placed.open, placed.paused_at = True, None

    async def _shut(self, placed: _Placed) -> None:
        """No new traffic for it. A proxy that does not hear finds out by its own health checks."""
        if placed.open:
            placed.open = False
            with contextlib.suppress(Unanswered):
                await placed.server.set("maint")

    async def _leave(self, instance: Instance) -> None:
        """It is gone: its server is free for another."""
        placed = self._placed.pop(instance.id, None)
        if placed is not None and placed.open:
            # It died: what waits in its socket would wait for ever, because the executor holds that socket.
            await self._shut(placed)
            with contextlib.suppress(Unanswered):
                await placed.server.cut()

    async def _empty(self, instance: Instance, placed: _Placed, deadline: float) -> tuple[str, ...]:
        """Until its server has no session, its instance is gone, or the deadline; what is left then, in a sentence."""
        clock = asyncio.get_running_loop().time
        gone = asyncio.ensure_future(self._switch.exited(instance))
        looks = 0
        try:
            while True:
                try:
                    found = (await placed.server.look()).sessions
                    left = f"{found} sessions of {placed.server} in HAProxy"
                    looks = looks + 1 if found == 0 else 0
                except Unanswered as error:
                    left = f"unknown sessions of {placed.server}: {error}"
                if looks >= SETTLED_LOOKS or gone.done():
                    return ()
                if clock() >= deadline:
                    return (left,)
                await asyncio.wait((gone,), timeout=POLL_S)
        finally:
            gone.cancel()


def _proxy(run: Run) -> HaproxyServers | None:
    return run.proxy.haproxy if run.proxy is not None else None


def _at(run: Run, proxy: HaproxyServers, address: str) -> Run:
    """The run spec with an instance's own address in place of the proxy's."""
    name = proxy.listener or next(iter(run.listen))
    return run.model_copy(update={"listen": {**run.listen, name: address}})
