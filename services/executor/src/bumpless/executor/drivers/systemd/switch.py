"""The systemd driver: instances are units of their own, and systemd holds the listening sockets.

What lives is in the hands of systemd, so the executor may die at any moment: units are found again by the id of their
instance. Unit files are written before anything is started and removed after it has ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.common.model.release import Run
from bumpless.executor.drivers import processes, sockets
from bumpless.executor.drivers.admin import AdminSockets
from bumpless.executor.drivers.environment import environment
from bumpless.executor.drivers.systemd import units
from bumpless.executor.drivers.systemd.manager import SETTLE_S, Manager
from bumpless.executor.drivers.systemd.watched import Watched
from bumpless.executor.drivers.traffic import Traffic
from bumpless.executor.ports import Exit, Launch, NotReady, Unanswered
from bumpless.executor.record import Instance, Listener

UNIT_DIR = Path("/run/systemd/system")
"""Units of this boot only: after the next one the executor starts what it has to."""
ADMIN_DIR = Path("/run/bumpless")
"""Short, because systemd binds the admin sockets by their whole path."""
KILL_GRACE_S = 3.0
"""An instance that cuts its own work at its deadline gets this long to give it back and exit."""
SETTLED_S = 30.0
"""systemd needs milliseconds to start a queued job, or to clear away what a killed unit leaves."""
LOOK_S = 0.3
"""Between two looks at a unit that an earlier executor started; each costs a process."""
_OVER = ("inactive", "failed")


@dataclass
class _Running:
    """`starting` is done when systemd has heard READY=1, or will not; None: an earlier executor asked for the start."""

    unit: str
    process: Watched
    starting: asyncio.Task[None] | None
    killed_because: str = ""
    last_words: str = ""


class SystemdSwitch:
    """Implements `ports.ProcessSwitch` for one node. `components_dir` is this node's alone."""

    def __init__(
        self, node: str, components_dir: Path, unit_dir: Path = UNIT_DIR, admin_dir: Path = ADMIN_DIR
    ) -> None:
        components = components_dir.resolve()
        self._node = node
        self._names = units.Names(node, components)
        self._admin_dir = admin_dir / hashlib.sha256(os.fsencode(components)).hexdigest()[:16]
        self._admin = AdminSockets(self._admin_dir)
        self._traffic = Traffic(self._admin)
        self._systemd = Manager(unit_dir)
        self._running: dict[str, _Running] = {}

    # sockets

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        if len(set(run.listen.values())) < len(run.listen):
            raise Refused("an address of its own for every name in run.listen", str(run.listen))
        for name, address in run.listen.items():
            unit = self._names.listener(component, address)
            text = units.listener_socket(unit, component, name, address)
            self._systemd.write(units.ANCHOR, units.ANCHOR_TEXT)
            known = self._systemd.read(unit) is not None
            if self._systemd.write(unit, text) and known:
                await self._systemd.reload()
            if (await self._systemd.show(unit))["ActiveState"] != "active":
                await self._bind(unit, address)
        # systemd holds them, and finds them by their units: no inode is needed to get them back.
        return tuple(Listener(name=name, address=address, inode=0) for name, address in run.listen.items())

    async def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        wanted = {self._names.listener(component, address) for run in runs for address in run.listen.values()}
        for unit, text in list(self._systemd.files(f"{self._names.prefix}{component}-listen-", ".socket")):
            if unit not in wanted and units.value_of(text, "X-Bumpless-Component") == component:
                await self._unbind(unit)

    # lives

    async def start(self, launch: Launch) -> Instance:
        instance = launch.instance
        unit = self._names.instance(launch.component, instance.id)
        try:
            self._write(unit, launch)
            await self._systemd.require_understood(f"{unit}.service")
        except Refused:
            await self._remove(unit)
            raise
        starting = asyncio.create_task(self._systemd.start_new(f"{unit}.socket", f"{unit}.service"))
        try:
            pid, alive = await self._main_process(unit, starting)
        except Refused:
            starting.cancel()
            await self._remove(unit)
            raise
        self._watch(instance.id, unit, pid if alive else 0, starting)
        return instance.model_copy(update={"pid": pid, "started_ticks": processes.start_ticks(pid) or 0})

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        running = self._running.get(instance.id)
        if running is None:
            raise NotReady(f"expected {instance.target.version} to run, found no unit of it")
        try:
            async with asyncio.timeout(timeout_s):
                await self._heard_ready(running)
                await self._healthy(instance, running)
        except TimeoutError as error:
            said = (await self._systemd.show(f"{running.unit}.service")).get("StatusText")
            raise NotReady(
                f"expected READY=1 and a healthy {instance.target.version} within {timeout_s:g} s, found "
                + (f"status {said!r}" if said else "neither")
                + _quote(await self._systemd.last_lines(f"{running.unit}.service"))
            ) from error

    async def check(self, instance: Instance) -> None:
        await self._traffic.check(instance.id)

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        running = self._running.get(instance.id)
        if running is None or not running.process.alive:
            return
        await self._systemd.attempt("stop", "--no-block", f"{running.unit}.service")
        if not await running.process.wait(timeout_s + KILL_GRACE_S):
            await self.kill(instance)

    async def kill(self, instance: Instance, because: str = "") -> None:
        running = self._running.get(instance.id)
        if running is not None and running.process.alive:
            running.killed_because = because
            await self._systemd.attempt("kill", "--signal=KILL", f"{running.unit}.service")
            await running.process.wait(SETTLED_S)

    async def exited(self, instance: Instance) -> Exit:
        running = self._running.get(instance.id)
        if running is None:
            return Exit("is not running", 0.0)
        how = await asyncio.shield(running.process.ended)
        lived = asyncio.get_running_loop().time() - running.process.since
        if running.killed_because:
            return Exit(f"was ended: {running.killed_because}", lived)
        return Exit(f"{how} after {lived:.1f} s{_quote(running.last_words)}", lived)

    # traffic

    async def take_over(self, run: Run, root: Digest | None) -> None:
        return

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
        unit = self._names.instance(instance.target.component, instance.id)
        if self._systemd.read(f"{unit}.service") is None:
            return None
        try:
            pid, alive = await self._main_process(unit)
        except Refused:
            pid, alive = 0, False
        ticks = processes.start_ticks(pid) if alive else None
        if ticks is None:
            # A start that an earlier executor asked for may still be on its way. It comes before the unit has gone, and
            # is stopped, or after, and comes to nothing.
            self._systemd.remove(f"{unit}.socket")
            self._systemd.remove(f"{unit}.service")
            await self._systemd.reload()
            await self._remove(unit)
            return None
        if instance.pid not in (0, pid) or instance.started_ticks not in (0, ticks):
            return None
        self._watch(instance.id, unit, pid)
        return instance.model_copy(update={"pid": pid, "started_ticks": ticks})

    async def reap(self, known: Iterable[str]) -> tuple[str, ...]:
        kept = set(known)
        lost = []
        for name, text in list(self._systemd.files(self._names.prefix, ".service")):
            instance = units.value_of(text, "X-Bumpless-Instance")
            if instance and instance not in kept:
                if (await self._systemd.show(name))["ActiveState"] not in _OVER:
                    lost.append(instance)
                    await self._systemd.attempt("kill", "--signal=KILL", name)
                await self._remove(name.removesuffix(".service"))
        self._systemd.drop_drafts(self._names.prefix)
        for name in self._admin.names() - kept:
            self._admin.remove(name)
        return tuple(lost)

    async def tidy(self) -> None:
        """The journal keeps itself within its bounds (journald.conf)."""

    def close(self) -> None:
        for running in self._running.values():
            running.process.close()
            if running.starting is not None:
                running.starting.cancel()
        self._running.clear()
        self._admin.close()

    # inside

    def _write(self, unit: str, launch: Launch) -> None:
        instance = launch.instance
        run = instance.target.run
        shared = [self._names.listener(launch.component, listener.address) for listener in instance.listeners]
        timing = run.timing
        spec = units.Service(
            unit=unit,
            instance=instance.id,
            component=launch.component,
            version=instance.target.version,
            command=run.command,
            directory=launch.version_dir.resolve(),
            environment=environment(self._node, launch),
            sockets=[*shared, f"{unit}.socket"],
            # Only when the machine goes down: the executor has its own limit for stopping.
            stop_s=timing.lame_duck_s + timing.drain_timeout_s + 2 * KILL_GRACE_S,
            settings=run.service,
        )
        self._systemd.write(units.ANCHOR, units.ANCHOR_TEXT)
        # The service first, and removed last: by it the next executor finds what this one left half done.
        self._systemd.write(f"{unit}.service", units.service(spec))
        self._systemd.write(
            f"{unit}.socket", units.admin_socket(unit, self._admin_dir / f"{instance.id}.sock")
        )

    async def _bind(self, unit: str, address: str) -> None:
        if address.startswith("unix://"):
            # systemd replaces whatever has that name, whether or not somebody listens on it.
            await asyncio.to_thread(sockets.free_unix, Path(address.removeprefix("unix://")))
        await self._systemd.attempt("reset-failed", unit)
        try:
            await self._systemd.call("start", unit)
        except Refused as error:
            said = await self._systemd.complaints(unit)
            await self._unbind(unit)
            raise Refused(
                f"{address} to be free on this node",
                said or str(error),
                "stop what holds it, or listen elsewhere; a component that ran under another driver keeps its address "
                "until it is removed",
            ) from error

    async def _unbind(self, unit: str) -> None:
        await self._systemd.attempt("stop", unit, units.anchor_of(unit))
        await self._systemd.attempt("reset-failed", unit)
        self._systemd.remove(unit)

    async def _main_process(self, unit: str, starting: asyncio.Task[None] | None = None) -> tuple[int, bool]:
        """The pid of the unit's main process, and whether it is alive. Raises: Refused, if none came to be."""
        deadline = asyncio.get_running_loop().time() + SETTLED_S
        while True:
            queued = starting is not None and not starting.done()
            found = await self._systemd.show(f"{unit}.service")
            if pid := int(found["ExecMainPID"]):
                return pid, found["MainPID"] == found["ExecMainPID"]
            queued = queued or found.get("Job", "0") not in ("", "0")
            if found["ActiveState"] in _OVER and not queued:
                said = await self._systemd.complaints(f"{unit}.service")
                raise Refused(f"{unit}.service to start", f"{found['Result']}{_quote(said)}")
            if asyncio.get_running_loop().time() > deadline:
                raise Refused(f"{unit}.service to start within {SETTLED_S:g} s", found["SubState"])
            await asyncio.sleep(SETTLE_S)

    def _watch(self, name: str, unit: str, pid: int, starting: asyncio.Task[None] | None = None) -> None:
        async def read_end() -> str:
            how = "exited (systemd did not say how)"
            try:
                how = await self._how_it_ended(unit)
                running.last_words = await self._systemd.last_lines(f"{unit}.service")
                await self._remove(unit)
            except Refused as error:
                how = f"{how}: {error}"
            self._traffic.forget(name)
            # Its entry stays until the last who waits for its exit has read it.
            asyncio.get_running_loop().call_later(60, self._forget, name, running)
            return how

        running = _Running(unit, Watched(pid, read_end), starting)
        self._running[name] = running

    def _forget(self, name: str, running: _Running) -> None:
        if self._running.get(name) is running:
            del self._running[name]

    async def _how_it_ended(self, unit: str) -> str:
        """Once systemd has ended what else the unit had. Raises: Refused."""
        deadline = asyncio.get_running_loop().time() + SETTLED_S
        while True:
            found = await self._systemd.show(f"{unit}.service")
            if found["ActiveState"] in _OVER or asyncio.get_running_loop().time() > deadline:
                return _describe(found)
            await asyncio.sleep(SETTLE_S)

    async def _remove(self, unit: str) -> None:
        """Every trace of an instance; what still runs is stopped."""
        service, admin = f"{unit}.service", f"{unit}.socket"
        await self._systemd.attempt("stop", service, admin, units.anchor_of(admin))
        self._systemd.remove(admin)
        self._systemd.remove(service)
        await self._systemd.attempt("reset-failed", service)

    async def _heard_ready(self, running: _Running) -> None:
        """Until systemd has heard READY=1, or the process is gone. systemd remembers it for the next executor."""
        if running.starting is not None:
            await asyncio.wait((running.starting, running.process.ended), return_when=asyncio.FIRST_COMPLETED)
        while (await self._systemd.show(f"{running.unit}.service"))["ActiveState"] == "activating":
            if await running.process.wait(LOOK_S):
                return

    async def _healthy(self, instance: Instance, running: _Running) -> None:
        try:
            await self._traffic.until_answers(instance.id, "/healthz", running.process)
        except Unanswered as error:
            how = running.process.ended.result()
            raise NotReady(f"it {how} before it was healthy{_quote(running.last_words)}") from error


def _describe(found: dict[str, str]) -> str:
    status = int(found["ExecMainStatus"])
    if found["ExecMainCode"] in ("2", "3"):  # CLD_KILLED, CLD_DUMPED
        how = f"was killed by {signal.Signals(status).name}"
    else:
        how = f"exited with status {status}"
    if found["Result"] in ("success", "exit-code", "signal", "protocol"):
        return how
    return f"{how} ({found['Result']})"


def _quote(said: str) -> str:
    return f"; its last words: {said}" if said else ""
