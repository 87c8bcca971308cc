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

from bumpless.common.errors import Refused
from bumpless.common.model.hooks import Hook
from bumpless.common.model.release import Run
from bumpless.executor.drivers import kin, logs, processes
from bumpless.executor.drivers.hooks import keeper, resolved
from bumpless.executor.drivers.hooks.kept import Kept, run_hook
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
        self._kept: dict[str, Kept] = {}

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
            self._watch(instance.id, Kept(Process(pid, self._marks(found.env)), directory, found))
        except (Refused, OSError) as error:
            shutil.rmtree(directory, ignore_errors=True)
            raise Refused(f"{found.command[0]} to start", str(error)) from error
        return instance.model_copy(update={"pid": pid, "started_ticks": processes.start_ticks(pid) or 0})

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        kept = self._kept.get(instance.id)
        if kept is None:
            raise NotReady(f"expected {instance.target.version} to run, found no process")
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(kept, "ready", kept.resolved.hooks.ready)
                await self._until(kept, "check", kept.resolved.hooks.check)
        except TimeoutError as error:
            wanted = "its ready hook to succeed" if kept.resolved.hooks.ready else "READY=1"
            raise NotReady(
                f"expected {wanted} and a healthy {instance.target.version} within {timeout_s:g} s, found "
                + (f"status {kept.said!r}" if kept.said else "neither")
                + kept.last_words
            ) from error

    async def check(self, instance: Instance) -> None:
        kept = self._answering(instance)
        if kept.resolved.hooks.check is not None:
            await self._ask(kept, "check", kept.resolved.hooks.check)

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        kept = self._kept.get(instance.id)
        if kept is None:
            return
        await self._stop(kept)
        if not await kept.process.wait(timeout_s + KILL_GRACE_S):
            await self._kill(kept)
        await self._roll_back(kept)

    async def kill(self, instance: Instance, because: str = "") -> None:
        kept = self._kept.get(instance.id)
        if kept is not None:
            kept.killed_because = because
            await self._kill(kept)
            await self._roll_back(kept)

    async def exited(self, instance: Instance) -> Exit:
        kept = self._kept.get(instance.id)
        if kept is None:
            return Exit("is not running", 0.0)
        await asyncio.shield(kept.process.ended)
        lived = asyncio.get_running_loop().time() - kept.process.since
        if kept.killed_because:
            return Exit(f"was ended: {kept.killed_because}", lived)
        return Exit(f"{kept.how} after {lived:.1f} s{kept.last_words}", lived)

    # traffic

    async def pause(self, instance: Instance) -> None:
        kept = self._answering(instance)
        kept.mark("drained")
        if kept.resolved.hooks.drain is not None:
            await self._ask(kept, "drain", kept.resolved.hooks.drain)
        else:
            await self._stop(kept)
        kept.paused_at = asyncio.get_running_loop().time()

    async def resume(self, instance: Instance) -> None:
        kept = self._answering(instance)
        if not kept.marked("drained"):
            return
        if kept.resolved.hooks.resume is None or kept.marked("stopped"):
            raise Unanswered(
                "expected a resume hook to undo the drain, found none; it has to be started anew"
            )
        await self._ask(kept, "resume", kept.resolved.hooks.resume)
        kept.unmark("drained")
        kept.paused_at = None

    async def drained(self, instance: Instance, lame_duck_s: float, timeout_s: float) -> tuple[str, ...]:
        kept = self._kept.get(instance.id)
        if kept is None:
            return ()
        clock = asyncio.get_running_loop().time
        # A lame duck is for connections that are open.
        lame_until = (kept.paused_at or clock()) + (lame_duck_s if instance.listeners else 0)
        deadline = lame_until + timeout_s
        hooks = kept.resolved.hooks
        left: tuple[str, ...] = ()
        if hooks.resume is not None or hooks.left is not None:
            left = await self._until_idle(kept, lame_until, deadline)
        elif hooks.drain is not None:
            await kept.process.wait(max(0.0, lame_until - clock()))
        if hooks.resume is None:
            # There is no way back to it, so its end is part of the drain.
            await self._stop(kept)
            if not await kept.process.wait(max(0.0, deadline - clock())) and not left:
                left = (f"it still runs {timeout_s:g} s after it was told to stop",)
        return left

    async def scrape(self, instance: Instance) -> str:
        kept = self._answering(instance)
        hook = kept.resolved.hooks.metrics
        return "" if hook is None else await self._ask(kept, "metrics", hook)

    # after a restart of the executor

    async def adopt(self, instance: Instance) -> Instance | None:
        if instance.id in self._kept:
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
        kept = Kept(process, directory, found)
        if kept.marked("drained"):
            kept.paused_at = asyncio.get_running_loop().time()
        self._watch(instance.id, kept)
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
        alive = set(self._kept)
        for kept in list(self._kept.values()):
            await asyncio.to_thread(logs.trim, kept.log)
        for directory in self._components.glob("*/log/hooks"):
            await asyncio.to_thread(logs.forget_old, directory, alive)

    def close(self) -> None:
        for kept in self._kept.values():
            kept.process.close()
        self._kept.clear()
        self._listeners.close()

    # inside

    def _watch(self, name: str, kept: Kept) -> None:
        self._kept[name] = kept

        def gone(_: asyncio.Future[str]) -> None:
            asyncio.get_running_loop().call_later(FORGET_S, self._forget, name, kept)

        kept.process.ended.add_done_callback(gone)

    def _forget(self, name: str, kept: Kept) -> None:
        if self._kept.get(name) is kept:
            del self._kept[name]
            shutil.rmtree(kept.directory, ignore_errors=True)

    def _answering(self, instance: Instance) -> Kept:
        """Raises: Unanswered."""
        kept = self._kept.get(instance.id)
        if kept is None or not kept.process.alive:
            raise Unanswered(f"expected {instance.target.version} to run, found no process")
        return kept

    async def _ask(self, kept: Kept, name: str, hook: Hook) -> str:
        try:
            return await kept.asks(name, hook)
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

    async def _until(self, kept: Kept, name: str, hook: Hook | None) -> None:
        """Until the hook succeeds; without one, until READY=1 was said. The caller sets the deadline."""
        while True:
            if hook is not None:
                with contextlib.suppress(Refused):
                    await kept.asks(name, hook)
                    return
            elif name != "ready" or kept.said_ready:
                return
            if await kept.process.wait(POLL_S):
                raise NotReady(f"it {kept.how} before it was ready{kept.last_words}")

    async def _until_idle(self, kept: Kept, lame_until: float, deadline: float) -> tuple[str, ...]:
        clock = asyncio.get_running_loop().time
        hook = kept.resolved.hooks.left
        left: tuple[str, ...] = ()
        while kept.process.alive:
            if hook is not None:
                try:
                    left = tuple((await kept.asks("left", hook)).splitlines())
                except Refused:
                    left = ("it did not say what it still does",)
            if clock() >= lame_until and not left:
                return ()
            if clock() >= deadline:
                return left
            await kept.process.wait(POLL_S)
        return ()

    async def _stop(self, kept: Kept) -> None:
        """Tell it to finish, once: a second signal cuts off many a program. One that cannot be told is killed later."""
        if kept.process.alive and not kept.marked("stopped"):
            with contextlib.suppress(Refused):
                await kept.asks("stop", kept.resolved.hooks.stop)
            kept.mark("stopped")

    async def _kill(self, kept: Kept) -> None:
        kept.process.kill()
        await kept.process.wait(GONE_S)

    async def _roll_back(self, kept: Kept) -> None:
        """What `prepare` did for an instance that never gave way to another one is undone."""
        hook = kept.resolved.hooks.rollback
        if hook is not None and not kept.marked("drained"):
            kept.mark("drained")
            with contextlib.suppress(Refused):
                await kept.act("rollback", hook)

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
        """What every process of one instance has in its environment, and no other process."""
        return {name: env[name] for name in ("BUMPLESS_INSTANCE", "BUMPLESS_STATE_DIR")}

    def _end_orphans(self, found: Resolved) -> None:
        """Where the keeper was killed while no executor watched: its program would go on accepting."""
        kin.kill(-1, self._marks(found.env))
