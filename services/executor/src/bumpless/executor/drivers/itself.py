"""The executor as a component of its node: a release replaces the very process that this code runs in.

An instance is an executor that could run here, so none ever dies and nothing listens. Ready means that its code
starts, and reads the settings, the trust store and every journal of the node. It takes over when the links name its
tree: the process leaves for its launcher, and the next one says that it works (`launch.py`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

import prometheus_client

from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused
from bumpless.common.model.release import ITSELF, Run
from bumpless.executor.drivers import processes
from bumpless.executor.launch import Launch as Launched
from bumpless.executor.launch import version_of
from bumpless.executor.launcher import program
from bumpless.executor.ports import Exit, Launch, NotReady, Unanswered
from bumpless.executor.record import Instance, Listener

ENTRIES = ("site/bumpless/executor/__init__.py", "site/bumpless/executor/app.py")
"""Without the first, Python would take the installed package, and run the old version in place of the new one."""
LAST_WORDS = 1500


class ItselfSwitch:
    """Implements `ports.ProcessSwitch` for `Driver.EXECUTOR`."""

    def __init__(self, launched: Launched) -> None:
        self._launched = launched
        self._ended: dict[str, asyncio.Future[str]] = {}

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        return ()

    async def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        return

    async def start(self, launch: Launch) -> Instance:
        if launch.component != ITSELF:
            raise Refused(
                f"the executor as component {ITSELF}", launch.component, "name it so in the release"
            )
        if self._launched.told is None:
            raise _without_launcher()
        for entry in ENTRIES:
            if not (launch.version_dir / entry).is_file():
                raise Refused(
                    f"{entry} in the tree of an executor", "none", "build it with `make executor-tree`"
                )
        return _here(launch.instance)

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        version = version_of(instance.target.root)
        if version == self._launched.version:
            return
        await self._check(version, instance.target.version, timeout_s)
        try:
            await asyncio.to_thread(self._launched.expect, version, timeout_s)
        except OSError as error:
            raise NotReady(f"expected to note what is about to start, found {error}") from error

    async def take_over(self, run: Run, root: Digest | None) -> None:
        version = version_of(root)
        if version == self._launched.version:
            await self._launched.confirmed.wait()
            return
        if self._launched.told is None:
            raise _without_launcher()
        if why := self._launched.failure_of(version):
            raise NotReady(why)
        self._launched.leaving.set()
        await asyncio.Future()

    async def check(self, instance: Instance) -> None:
        return

    async def pause(self, instance: Instance) -> None:
        return

    async def resume(self, instance: Instance) -> None:
        if version_of(instance.target.root) != self._launched.version:
            raise Unanswered(f"expected the executor {instance.target.version} to run, found another")

    async def activate(self, instance: Instance, timeout_s: float) -> str:
        raise Unanswered("expected a service that cannot run twice, found the executor itself")

    async def drained(self, instance: Instance, lame_duck_s: float, timeout_s: float) -> tuple[str, ...]:
        return ()

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        self._end(instance, "was replaced")

    async def kill(self, instance: Instance, because: str = "") -> None:
        self._end(instance, f"was ended: {because}" if because else "was replaced")

    async def adopt(self, instance: Instance) -> Instance | None:
        return _here(instance)

    async def exited(self, instance: Instance) -> Exit:
        return Exit(await asyncio.shield(self._end_of(instance)), 0.0)

    async def scrape(self, instance: Instance) -> str:
        await self.resume(instance)
        told = f'version="{instance.target.version}",digest="{instance.target.root}"'
        return f"{prometheus_client.generate_latest().decode()}release_info{{{told}}} 1\n"

    async def reap(self, known: Iterable[str]) -> tuple[str, ...]:
        return ()

    async def tidy(self) -> None:
        return

    def close(self) -> None:
        self._ended.clear()

    def _end_of(self, instance: Instance) -> asyncio.Future[str]:
        return self._ended.setdefault(instance.id, asyncio.get_running_loop().create_future())

    def _end(self, instance: Instance, how: str) -> None:
        if not (end := self._end_of(instance)).done():
            end.set_result(how)

    async def _check(self, version: str, name: str, timeout_s: float) -> None:
        """Let the code of `version` look at this node. Raises: NotReady."""
        process = await asyncio.create_subprocess_exec(
            *program(version),
            "--check",
            env=self._launched.environment_of(version),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_s):
                _, said = await process.communicate()
        except TimeoutError as error:
            raise NotReady(f"expected executor {name} to check itself within {timeout_s:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            words = said[-LAST_WORDS:].decode(errors="replace").strip()
            raise NotReady(f"executor {name} does not start here: status {process.returncode}; {words}")


def _without_launcher() -> Refused:
    return Refused(
        "this executor to be started by its launcher",
        "one that was started without",
        "start it with `python -m bumpless.executor.launcher`",
    )


def _here(instance: Instance) -> Instance:
    pid = os.getpid()
    return instance.model_copy(update={"pid": pid, "started_ticks": processes.start_ticks(pid) or 0})
