"""The driver for programs that do not keep the service contract: each step of a switch is a command or a signal.

An instance is a keeper process (`keeper.py`) that holds the program. Old and new program accept side by side on
sockets that this process bound once and that the keepers hold too, so nothing depends on the life of the executor.
What cannot be undone is not kept warm: without a `resume` hook a drain ends with the end of the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.common.model.hooks import Hook
from bumpless.common.model.release import Run
from bumpless.executor.drivers import kin, logs, processes
from bumpless.executor.drivers.hooks import keeper, resolved
from bumpless.executor.drivers.hooks.hooked import Hooked, run_hook
from bumpless.executor.drivers.hooks.resolved import Resolved
from bumpless.executor.drivers.listeners import SharedListeners
from bumpless.executor.drivers.processes import GONE_S, Process
from bumpless.executor.ports import Exit, Launch, NotReady, Unanswered
from bumpless.executor.record import Instance, Listener

POLL_S = 0.1
"""Between two askings of an instance that is not ready, or still has something to do."""
KILL_GRACE_S = 3.0
"""A program that cuts its own work at its deadline gets this long to exit."""
FORGET_S = 60.0
"""The last who waits for the exit of an instance reads it within this time."""
_COMMAND = (sys.executable, "-I", "-m", keeper.__name__)
"""Isolated: neither the tree of a version, in which it is started, nor its environment can replace our modules."""


class HooksSwitch:
    """Implements `ports.ProcessSwitch` on Linux for one node. `run_dir` and `components_dir` are this node's alone."""

    def __init__(self, node: str, run_dir: Path, components_dir: Path) -> None:
        self._node = node
        self._home = run_dir.resolve() / "hooks"
        self._components = components_dir.resolve()
        self._scope = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:16]
        self._listeners = SharedListeners()
        self._hooked: dict[str, Hooked] = {}

    # sockets

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        return await self._listeners.listen(component, run)

    async def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        self._listeners.keep_only(component, runs)

    # lives

    async def start(self, launch: Launch) -> Instance:
        instance = launch.instance
        directory = self._home / instance.id
        log = launch.log_dir / "hooks" / f"{instance.id}.log"
        found = resolved.resolve(self._node, launch, directory, log)
        try:
            for needed in (directory, log.parent):
                needed.mkdir(parents=True, exist_ok=True, mode=0o700)
            resolved.write(found, directory)
            await self._prepare(found, directory)
            pid = processes.spawn(
                (*_COMMAND, str(directory), *found.command),
                {**found.env, "NOTIFY_SOCKET": f"@bumpless/{self._scope}/{instance.id}", keeper.MARK: "1"},
                Path(found.cwd),
                self._listeners.descriptors(launch.component, instance.listeners),
                log,
            )
            self._watch(instance.id, Hooked(Process(pid, self._marks(found.env)), directory, found))
        except (Refused, OSError) as error:
            shutil.rmtree(directory, ignore_errors=True)
            raise Refused(f"{found.command[0]} to start", str(error)) from error
        return instance.model_copy(update={"pid": pid, "started_ticks": processes.start_ticks(pid) or 0})

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        held = self._hooked.get(instance.id)
        if held is None:
            raise NotReady(f"expected {instance.target.version} to run, found no process")
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(held, "ready", held.resolved.hooks.ready)
                await self._until(held, "check", held.resolved.hooks.check)
        except TimeoutError as error:
            wanted = "its ready hook to succeed" if held.resolved.hooks.ready else "READY=1"
            raise NotReady(
                f"expected {wanted} and a healthy {instance.target.version} within {timeout_s:g} s, found "
                + (f"status {held.said!r}" if held.said else "neither")
                + held.last_words
            ) from error

    async def check(self, instance: Instance) -> None:
        held = self._answering(instance)
        if held.resolved.hooks.check is not None:
            await self._ask(held, "check", held.resolved.hooks.check)

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        held = self._hooked.get(instance.id)
        if held is None:
            return
        await self._stop(held)
        if not await held.process.wait(timeout_s + KILL_GRACE_S):
            await self._kill(held)
        await self._roll_back(held)

    async def kill(self, instance: Instance, because: str = "") -> None:
        held = self._hooked.get(instance.id)
        if held is not None:
            held.killed_because = because
            await self._kill(held)
            await self._roll_back(held)

    async def exited(self, instance: Instance) -> Exit:
        held = self._hooked.get(instance.id)
        if held is None:
            return Exit("is not running", 0.0)
        await asyncio.shield(held.process.ended)
        lived = asyncio.get_running_loop().time() - held.process.since
        if held.killed_because:
            return Exit(f"was ended: {held.killed_because}", lived)
        return Exit(f"{held.how} after {lived:.1f} s{held.last_words}", lived)

    # traffic

    async def take_over(self, run: Run, root: Digest | None) -> None:
        return

    async def pause(self, instance: Instance) -> None:
        held = self._answering(instance)
        held.mark("drained")
        if held.resolved.hooks.drain is not None:
            await self._ask(held, "drain", held.resolved.hooks.drain)
        else:
            await self._stop(held)
        held.paused_at = asyncio.get_running_loop().time()

    async def resume(self, instance: Instance) -> None:
        held = self._answering(instance)
        if not held.marked("drained"):
            return
        if held.resolved.hooks.resume is None or held.marked("stopped"):
            raise Unanswered(
                "expected a resume hook to undo the drain, found none; it has to be started anew"
            )
        await self._ask(held, "resume", held.resolved.hooks.resume)
        held.unmark("drained")
        held.paused_at = None

    async def activate(self, instance: Instance, timeout_s: float) -> str:
        raise Unanswered("expected a service that keeps the contract, found one that is held by hooks")

    async def drained(self, instance: Instance, lame_duck_s: float, timeout_s: float) -> tuple[str, ...]:
        held = self._hooked.get(instance.id)
        if held is None:
            return ()
        clock = asyncio.get_running_loop().time
        # A lame duck is for connections that are open.
        lame_until = (held.paused_at or clock()) + (lame_duck_s if instance.listeners else 0)
        deadline = lame_until + timeout_s
        hooks = held.resolved.hooks
        left: tuple[str, ...] = ()
        if hooks.resume is not None or hooks.left is not None:
            left = await self._until_idle(held, lame_until, deadline)
        elif hooks.drain is not None:
            await held.process.wait(max(0.0, lame_until - clock()))
        if hooks.resume is None:
            # There is no way back to it, so its end is part of the drain.
            await self._stop(held)
            if not await held.process.wait(max(0.0, deadline - clock())) and not left:
                left = (f"it still runs {timeout_s:g} s after it was told to stop",)
        return left

    async def scrape(self, instance: Instance) -> str:
        held = self._answering(instance)
        hook = held.resolved.hooks.metrics
        return "" if hook is None else await self._ask(held, "metrics", hook)

    # after a restart of the executor

    async def adopt(self, instance: Instance) -> Instance | None:
        if instance.id in self._hooked:
            return instance
        directory = self._home / instance.id
        found = resolved.read(directory)
        if found is None:
            return None
        process = self._keeper_of(instance, found)
        if process is None:
            if instance.id not in self._keepers():
                self._end_orphans(found)
            return None
        pid, ticks = process.pid, processes.start_ticks(process.pid) or 0
        self._listeners.adopt(instance, pid, process.fd)
        held = Hooked(process, directory, found)
        if held.marked("drained"):
            held.paused_at = asyncio.get_running_loop().time()
        self._watch(instance.id, held)
        return instance.model_copy(update={"pid": pid, "started_ticks": ticks})

    async def reap(self, known: Iterable[str]) -> tuple[str, ...]:
        wanted = set(known)
        lost = {name: pid for name, pid in self._keepers().items() if name not in wanted}
        for name, pid in lost.items():
            with contextlib.suppress(OSError):
                found = resolved.read(self._home / name)
                process = Process(pid, self._marks(found.env) if found else {})
                process.kill()
                await process.wait(GONE_S)
        for directory in self._home.glob("*"):
            if directory.name not in wanted:
                if (found := resolved.read(directory)) is not None:
                    self._end_orphans(found)
                shutil.rmtree(directory, ignore_errors=True)
        return tuple(lost)

    async def tidy(self) -> None:
        alive = set(self._hooked)
        for held in list(self._hooked.values()):
            await asyncio.to_thread(logs.trim, held.log)
        for directory in self._components.glob("*/log/hooks"):
            await asyncio.to_thread(logs.forget_old, directory, alive)

    def close(self) -> None:
        for held in self._hooked.values():
            held.process.close()
        self._hooked.clear()
        self._listeners.close()

    # inside

    def _watch(self, name: str, held: Hooked) -> None:
        self._hooked[name] = held

        def gone(_: asyncio.Future[str]) -> None:
            asyncio.get_running_loop().call_later(FORGET_S, self._forget, name, held)

        held.process.ended.add_done_callback(gone)

    def _forget(self, name: str, held: Hooked) -> None:
        if self._hooked.get(name) is held:
            del self._hooked[name]
            shutil.rmtree(held.directory, ignore_errors=True)

    def _answering(self, instance: Instance) -> Hooked:
        """Raises: Unanswered."""
        held = self._hooked.get(instance.id)
        if held is None or not held.process.alive:
            raise Unanswered(f"expected {instance.target.version} to run, found no process")
        return held

    async def _ask(self, held: Hooked, name: str, hook: Hook) -> str:
        try:
            return await held.asks(name, hook)
        except Refused as error:
            raise Unanswered(str(error)) from error

    async def _prepare(self, found: Resolved, directory: Path) -> None:
        if found.hooks.prepare is None:
            return
        try:
            await run_hook("prepare", found.hooks.prepare, found, directory)
        except Refused:
            if found.hooks.rollback is not None:
                with contextlib.suppress(Refused):
                    await run_hook("rollback", found.hooks.rollback, found, directory)
            raise

    async def _until(self, held: Hooked, name: str, hook: Hook | None) -> None:
        """Until the hook succeeds; without held, until READY=1 was said. The caller sets the deadline."""
        while True:
            if hook is not None:
                with contextlib.suppress(Refused):
                    await held.asks(name, hook)
                    return
            elif name != "ready" or held.said_ready:
                return
            if await held.process.wait(POLL_S):
                raise NotReady(f"it {held.how} before it was ready{held.last_words}")

    async def _until_idle(self, held: Hooked, lame_until: float, deadline: float) -> tuple[str, ...]:
        clock = asyncio.get_running_loop().time
        hook = held.resolved.hooks.left
        left: tuple[str, ...] = ()
        while held.process.alive:
            if hook is not None:
                try:
                    left = tuple((await held.asks("left", hook)).splitlines())
                except Refused:
                    left = ("it did not say what it still does",)
            if clock() >= lame_until and not left:
                return ()
            if clock() >= deadline:
                return left
            await held.process.wait(POLL_S)
        return ()

    async def _stop(self, held: Hooked) -> None:
        """Tell it to finish, once: a second signal cuts off many a program. One that cannot be told is killed later."""
        if held.process.alive and not held.marked("stopped"):
            with contextlib.suppress(Refused):
                await held.asks("stop", held.resolved.hooks.stop)
            held.mark("stopped")

    async def _kill(self, held: Hooked) -> None:
        held.process.kill()
        await held.process.wait(GONE_S)

    async def _roll_back(self, held: Hooked) -> None:
        """What `prepare` did for an instance that never gave way to another one is undone."""
        hook = held.resolved.hooks.rollback
        if hook is not None and not held.marked("drained"):
            held.mark("drained")
            with contextlib.suppress(Refused):
                await held.act("rollback", hook)

    def _keeper_of(self, instance: Instance, found: Resolved) -> Process | None:
        pid = instance.pid or self._keepers().get(instance.id)
        if pid is None:
            return None
        try:
            process = Process(pid, self._marks(found.env))
        except OSError:
            return None
        # Only now, with the pidfd open, can the pid not pass to another process between the look and the use.
        ticks = processes.start_ticks(pid)
        if ticks is None or instance.started_ticks not in (0, ticks):
            process.close()
            return None
        return process

    def _keepers(self) -> dict[str, int]:
        """By instance: those that this node's executor started, whose state lies under this node's components."""
        found = processes.started_by("BUMPLESS_STATE_DIR", f"{self._components}/")
        return {env["BUMPLESS_INSTANCE"]: pid for pid, env in found if keeper.MARK in env}

    def _marks(self, env: Mapping[str, str]) -> dict[str, str]:
        """What every process of held instance has in its environment, and no other process."""
        return {name: env[name] for name in ("BUMPLESS_INSTANCE", "BUMPLESS_STATE_DIR")}

    def _end_orphans(self, found: Resolved) -> None:
        """Where the keeper was killed while no executor watched: its program would go on accepting."""
        kin.kill(-1, self._marks(found.env))
