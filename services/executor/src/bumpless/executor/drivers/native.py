"""The overlap driver: old and new instance accept side by side on one socket that this process bound once.

Because the instances hold the socket too, the death of the executor costs no connection: the next one takes it back
out of a living instance. Nothing is ever bound twice while somebody still holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.common.model.release import Run
from bumpless.executor.drivers import logs, processes
from bumpless.executor.drivers.admin import AdminSockets
from bumpless.executor.drivers.environment import environment
from bumpless.executor.drivers.hook_commands import MARK
from bumpless.executor.drivers.kept import KeptSockets
from bumpless.executor.drivers.kin import Orphans
from bumpless.executor.drivers.listeners import SharedListeners
from bumpless.executor.drivers.log_bounds import LogBounds
from bumpless.executor.drivers.notify import Notifications
from bumpless.executor.drivers.processes import GONE_S, Process
from bumpless.executor.drivers.traffic import Traffic
from bumpless.executor.ports import Exit, Launch, NotReady, Unanswered
from bumpless.executor.record import Instance, Listener

LISTENERS = "BUMPLESS_LISTENERS"
"""In the environment of an instance, for the next executor: inode=address of each shared socket it was given."""
KILL_GRACE_S = 3.0
"""An instance that cuts its own work at its deadline gets this long to give it back and exit."""


@dataclass
class _Running:
    process: Process
    notifications: Notifications | None
    log: Path
    adopted: bool = False
    killed_because: str = ""


class NativeSwitch:
    """Implements `ports.ProcessSwitch` on Linux for one node. `run_dir` and `components_dir` are this node's alone."""

    def __init__(
        self, node: str, run_dir: Path, components_dir: Path, kept: KeptSockets | None = None
    ) -> None:
        self._node = node
        self._components = components_dir.resolve()
        self._admin = AdminSockets(run_dir)
        self._traffic = Traffic(self._admin)
        self._scope = hashlib.sha256(os.fsencode(run_dir.resolve())).hexdigest()[:16]
        self._listeners = SharedListeners(kept)
        self._running: dict[str, _Running] = {}
        self._dead: set[str] = set()
        self._orphans = Orphans()
        self._bounds = LogBounds()

    # sockets

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        return await self._listeners.listen(component, run)

    async def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        self._listeners.keep_only(component, runs)

    # lives

    async def start(self, launch: Launch) -> Instance:
        instance = launch.instance
        run = instance.target.run
        shared = self._listeners.descriptors(launch.component, instance.listeners)
        notifications = self._notifications(instance.id)
        log = launch.log_dir / f"{instance.id}.log"
        try:
            with self._admin.bind(instance.id) as admin, notifications.pipe() as pipe:
                names = [listener.name for listener in instance.listeners] + ["admin"]
                env = {
                    **environment(self._node, launch),
                    "LISTEN_FDS": str(len(names)),
                    "LISTEN_FDNAMES": ":".join(names),
                    "NOTIFY_SOCKET": notifications.address,
                    "NOTIFY_FD": str(processes.FIRST_FD + len(names)),
                    LISTENERS: " ".join(f"{one.inode}={one.address}" for one in instance.listeners),
                }
                given = [*shared, admin.fileno(), pipe]
                pid = processes.spawn(run.command, env, launch.version_dir.resolve(), given, log)
                process = Process(pid, self._marks(instance))
        except (Refused, OSError) as error:
            notifications.close()
            self._admin.remove(instance.id)
            raise Refused(f"{run.command[0]} to start", str(error)) from error
        self._watch(instance.id, _Running(process, notifications, log))
        return instance.model_copy(
            update={
                "pid": pid,
                "started_ticks": processes.start_ticks(pid) or 0,
                "admin": self._admin.address(instance.id),
            }
        )

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        running = self._running.get(instance.id)
        if running is None:
            raise NotReady(f"expected {instance.target.version} to run, found no process")
        try:
            async with asyncio.timeout(timeout_s):
                if running.adopted:
                    # READY=1 may have been said to the executor before this one. A standby is paused, which only
                    # one that is ready can be.
                    asked = ("POST", "/pause") if instance.standby else ("GET", "/readyz")
                    await self._answers(instance, running, *asked)
                else:
                    await self._said_ready(running)
                await self._answers(instance, running, "GET", "/healthz")
        except TimeoutError as error:
            said = running.notifications.status if running.notifications else ""
            raise NotReady(
                f"expected READY=1 and a healthy {instance.target.version} within {timeout_s:g} s, found "
                + (f"status {said!r}" if said else "neither")
                + _last_words(running.log)
            ) from error

    async def check(self, instance: Instance) -> None:
        await self._traffic.check(instance.id)

    async def take_over(self, run: Run, root: Digest | None) -> None:
        return

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        running = self._running.get(instance.id)
        if running is None:
            return
        running.process.signal(signal.SIGTERM)
        if not await running.process.wait(timeout_s + KILL_GRACE_S):
            await self.kill(instance)

    async def kill(self, instance: Instance, because: str = "") -> None:
        running = self._running.get(instance.id)
        if running is not None:
            running.killed_because = because
            running.process.kill()
            await running.process.wait(GONE_S)

    async def exited(self, instance: Instance) -> Exit:
        running = self._running.get(instance.id)
        if running is None:
            return Exit("is not running", 0.0)
        how = await asyncio.shield(running.process.ended)
        lived = asyncio.get_running_loop().time() - running.process.since
        if running.killed_because:
            return Exit(f"was ended: {running.killed_because}", lived)
        return Exit(f"{how} after {lived:.1f} s{_last_words(running.log)}", lived)

    # traffic

    async def pause(self, instance: Instance) -> None:
        await self._traffic.pause(instance.id)

    async def resume(self, instance: Instance) -> None:
        await self._traffic.resume(instance.id)

    async def activate(self, instance: Instance, timeout_s: float) -> str:
        return await self._traffic.activate(instance.id, timeout_s)

    async def drained(self, instance: Instance, lame_duck_s: float, timeout_s: float) -> tuple[str, ...]:
        running = self._running.get(instance.id)
        if running is None:
            return ()
        return await self._traffic.drained(instance.id, running.process, lame_duck_s, timeout_s)

    async def scrape(self, instance: Instance) -> str:
        return await self._traffic.scrape(instance.id)

    # after a restart of the executor

    async def adopt(self, instance: Instance) -> Instance | None:
        if instance.id in self._running:
            return instance
        found = self._found(instance)
        if found is None:
            # What it has left behind is not to be taken for it; see `reap`.
            self._dead.add(instance.id)
            return None
        process, ticks = found
        component = instance.target.component
        self._listeners.adopt(instance, process.pid, process.fd)
        log = self._components / component / "log" / f"{instance.id}.log"
        self._watch(instance.id, _Running(process, self._notifications_again(instance.id), log, adopted=True))
        return instance.model_copy(update={"pid": process.pid, "started_ticks": ticks})

    def _found(self, instance: Instance) -> tuple[Process, int] | None:
        """Its process, and when that was started."""
        pid = instance.pid or self._pid_of(instance.id)
        if pid is None:
            return None
        try:
            process = Process(pid, self._marks(instance))
        except OSError:
            return None
        # Only now, with the pidfd open, can the pid not pass to another process between the look and the use.
        ticks = processes.start_ticks(pid)
        if ticks is None or instance.started_ticks not in (0, ticks):
            process.close()
            return None
        return process, ticks

    async def reap(self, known: Iterable[str]) -> tuple[str, ...]:
        kept = set(known)
        lost = []
        for pid, env in self._ours(everyone=True):
            name = env.get("BUMPLESS_INSTANCE", "")
            # What a dead instance has left behind, and hooks of an executor that is gone, end too.
            if name not in kept or name in self._dead or MARK in env:
                with contextlib.suppress(OSError):
                    process = Process(pid)
                    # It may be the last one that holds a socket in which connections wait.
                    for one in env.get(LISTENERS, "").split():
                        inode, _, address = one.partition("=")
                        component = env.get("BUMPLESS_COMPONENT", "")
                        self._listeners.take(component, address, int(inode), pid, process.fd)
                    process.kill()
                    await process.wait(GONE_S)
                    lost.append(name)
        for name in self._admin.names() - kept:
            self._admin.remove(name)
        return tuple(lost)

    async def tidy(self) -> None:
        for running in list(self._running.values()):
            await asyncio.to_thread(logs.trim, running.log)
        await asyncio.to_thread(self._orphans.reap)
        alive = set(self._running)
        for directory in self._components.glob("*/log"):
            await asyncio.to_thread(logs.forget_old, directory, alive)

    def close(self) -> None:
        for running in self._running.values():
            running.process.close()
            if running.notifications is not None:
                running.notifications.close()
        self._running.clear()
        self._bounds.close()
        self._listeners.close()
        self._admin.close()

    # inside

    def _watch(self, name: str, running: _Running) -> None:
        self._running[name] = running
        self._bounds.add(running.log)

        def gone(_: asyncio.Future[str]) -> None:
            if running.notifications is not None:
                running.notifications.close()
            self._traffic.forget(name)
            self._bounds.discard(running.log)
            if self._running.get(name) is running:
                # Its entry stays until the last who waits for its exit has read it.
                asyncio.get_running_loop().call_later(60, self._forget, name, running)
                self._admin.remove(name)

        running.process.ended.add_done_callback(gone)

    def _forget(self, name: str, running: _Running) -> None:
        if self._running.get(name) is running:
            del self._running[name]

    def _notifications(self, instance: str) -> Notifications:
        name = f"bumpless/{self._scope}/{instance}"
        try:
            return Notifications(name)
        except OSError as error:
            raise Refused(f"the notify socket @{name} to be free", str(error)) from error

    def _notifications_again(self, instance: str) -> Notifications | None:
        with contextlib.suppress(Refused):
            return self._notifications(instance)
        return None

    async def _said_ready(self, running: _Running) -> None:
        if running.notifications is None:
            return
        ready = asyncio.ensure_future(running.notifications.ready.wait())
        try:
            await asyncio.wait((ready, running.process.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not running.notifications.ready.is_set():
            raise NotReady(
                f"it {running.process.ended.result()} before it was ready{_last_words(running.log)}"
            )

    async def _answers(self, instance: Instance, running: _Running, method: str, path: str) -> None:
        try:
            await self._traffic.until_answers(instance.id, path, running.process, method)
        except Unanswered as error:
            how = running.process.ended.result()
            raise NotReady(f"it {how} before it was healthy{_last_words(running.log)}") from error

    def _pid_of(self, instance: str) -> int | None:
        ours = ((pid, env) for pid, env in self._ours() if MARK not in env)
        return next((pid for pid, env in ours if env.get("BUMPLESS_INSTANCE") == instance), None)

    def _ours(self, *, everyone: bool = False) -> list[tuple[int, Mapping[str, str]]]:
        """Session leaders that this node's executor started: their state lies under this node's components.

        `everyone`: also what those started.
        """
        return list(processes.started_by("BUMPLESS_STATE_DIR", f"{self._components}/", everyone=everyone))

    def _marks(self, instance: Instance) -> dict[str, str]:
        """What only this instance and its children carry: ids follow from commands, so other nodes may have the same."""
        state = self._components / instance.target.component / "state"
        return {"BUMPLESS_INSTANCE": instance.id, "BUMPLESS_STATE_DIR": str(state)}


def _last_words(log: Path) -> str:
    said = logs.tail(log)
    return f"; its last words: {said}" if said else ""
