"""One node's executor over a data directory, for one step: what the disk tests kill, fail and cut the power of.

Everything that touches the disk is the real thing; processes are those of the conformance suite's fake, or real ones.
It says what it is about to promise and what it has promised, so that the tests know what must hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bumpless.common.artifacts.beneath import Beneath
from bumpless.common.contract.base import Digest, Message
from bumpless.common.contract.commands import SetAvailability
from bumpless.common.contract.events import StepFinished, StepStaged
from bumpless.common.model.config import config_digest
from bumpless.common.model.plan import Target
from bumpless.common.model.release import ITSELF, Run
from bumpless.common.shell import clock
from bumpless.common.shell.log import configure_logging
from bumpless.executor import actor
from bumpless.executor.app import Origin
from bumpless.executor.availability import Availability
from bumpless.executor.configs import Configs, shared_by
from bumpless.executor.drivers.artifacts import StoredArtifacts
from bumpless.executor.drivers.native import NativeSwitch
from bumpless.executor.executor import Executor, NodeConfig
from bumpless.executor.journal import Journal
from bumpless.executor.layout import Layout
from bumpless.executor.ports import StagedTree
from bumpless.executor.record import RESTING, Command, ComponentRecord
from disk import itself
from disk.site import NODE, STEPS, Site, component_of
from drivers.fake_switch import FakeSwitch, World
from support.nursery import LINE

Say = Callable[[dict[str, Any]], object]
PATIENCE_S = 60.0
AGAIN_S = 0.5
"""A command that a node could not take stands in the broker, and is read again."""


def fingerprint(record: ComponentRecord | None) -> str:
    """Names a record in what the node says."""
    return hashlib.sha256(record.model_dump_json().encode()).hexdigest() if record else ""


def main(argument: dict[str, Any], say: Say, origin: Origin | None = None) -> dict[str, Any]:
    """`site` and `data` are directories, `step` is one of `site.STEPS` or None to start up only, `attempt` counts.

    With `real`, processes are real ones, which go on after it unless `stop` is said. The step is over after
    `patience_s`, whether or not it is. With `origin`, the executor is its own component, and was launched; the step is
    not over if it has to leave. Without, a step of that component begins with the launcher.
    """
    if origin is None and ITSELF in (_component(argument), component_of(Path(argument["data"]))):
        return itself.begin(argument, say, int(os.environ[LINE]))
    configure_logging("executor", "CRITICAL")
    actor.SAVE_AGAIN_S = 0.05
    watched = _Watched(say)
    watched.install()
    return asyncio.run(_perform(argument, watched, origin))


def _component(argument: dict[str, Any]) -> str:
    version = STEPS[argument["step"]][1] if argument["step"] else None
    if version is not None:
        return Site(Path(argument["site"])).target(version).component
    return component_of(Path(argument["data"]))


async def _perform(argument: dict[str, Any], watched: _Watched, origin: Origin | None) -> dict[str, Any]:
    site, data = Site(Path(argument["site"])), Path(argument["data"])
    watched.loop = asyncio.get_running_loop()
    config = NodeConfig(node=NODE, address="127.0.0.1", data_dir=data, heartbeat_s=60)
    source = StoredArtifacts(site.store, site.trust, downloads=data / "downloads", checks=config.checks_dir)
    real = NativeSwitch(NODE, config.run_dir, config.components_dir) if argument.get("real") else None
    switch = real or (itself.switch(config, origin) if origin else FakeSwitch(World()))
    executor = Executor(config, site.trust, switch, source, watched, clock.now)
    component = _component(argument)
    try:
        await executor.start()
        before = executor.record(component)
        step = argument["step"]
        command = (
            site.command(step, before.current if before else None, argument["attempt"]) if step else None
        )
        patience_s = argument.get("patience_s", PATIENCE_S)
        settled = _settle(executor, site, component, command, watched, patience_s)
        over = await (itself.until_left(executor, origin.launch, settled) if origin else settled)
        record = executor.record(component)
    finally:
        await executor.close(stop_services=argument.get("stop", False))
        switch.close()
    return {"over": over} | (_shown(record) if record else {})


def _shown(record: ComponentRecord) -> dict[str, Any]:
    result = record.result
    return {
        "state": record.state.value,
        "cause": result.cause if result else None,
        "outcome": _outcome(result) if result else None,
        "reason": record.reason,
        "drained": record.out,
        "current": _root(record.current),
        "previous": _root(record.previous),
        "serving": record.serving.target.version if record.serving else None,
    }


async def _settle(
    executor: Executor,
    site: Site,
    component: str,
    command: Command | SetAvailability | None,
    watched: _Watched,
    patience_s: float,
) -> bool:
    """Whether the command was answered in time and nothing is left to do. It is read again, as commands are."""
    end = asyncio.get_running_loop().time() + patience_s
    while asyncio.get_running_loop().time() < end:
        if command is not None:
            await executor.take(site.sent(command))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                while not _all_rest(executor, component, command):
                    watched.changed.clear()
                    await watched.changed.wait()
                return True
    return False


def _all_rest(executor: Executor, component: str, command: Command | SetAvailability | None) -> bool:
    names = {component, *executor.observe().components}
    return all(_rests(executor.record(name), command if name == component else None) for name in names)


def _rests(record: ComponentRecord | None, command: Command | SetAvailability | None) -> bool:
    if record is None:
        return command is None
    if isinstance(command, SetAvailability):
        answered = record.out
    else:
        answered = command is None or (record.result is not None and record.result.cause == command.id)
    idle = record.state in RESTING and not record.stopping and not record.outbox and record.warm is None
    serves = not record.instances if record.out else record.current is None or record.serving is not None
    return answered and idle and serves


class _Watched:
    """`ports.Reports`; and says what the journal, the links and the staging promise."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.loop: asyncio.AbstractEventLoop | None = None
        self.changed = asyncio.Event()

    async def publish(self, message: Message) -> None:
        if isinstance(message, StepFinished | StepStaged):
            self._say({"answered": message.cause, "outcome": _outcome(message)})
        self.changed.set()

    def install(self) -> None:
        save, point, stage = Journal.save, Layout.point, StoredArtifacts.stage
        say = self._say

        def saved(journal: Journal, record: ComponentRecord) -> None:
            say({"saving": fingerprint(record), "thread": threading.get_native_id()})
            try:
                save(journal, record)
            except OSError:
                say({"unsaved": fingerprint(record), "thread": threading.get_native_id()})
                raise
            say({"saved": fingerprint(record), "thread": threading.get_native_id()})
            if self.loop is not None:
                # Twice, so that it is also seen after the actor has taken the record over.
                self.loop.call_soon_threadsafe(self.loop.call_later, 0.01, self.changed.set)

        def pointed(layout: Layout, current: Digest | None, previous: Digest | None) -> None:
            say({"pointing": [current, previous], "thread": threading.get_native_id()})
            point(layout, current, previous)
            say({"pointed": [current, previous], "thread": threading.get_native_id()})

        async def staged(
            source: StoredArtifacts, target: Target, layout: Layout, in_use: frozenset[Digest]
        ) -> StagedTree:
            say({"staging": target.root})
            tree = await stage(source, target, layout, in_use)
            say({"staged": target.root, "description": target.artifact})
            return tree

        put, share, collect, take = Configs.put, Configs.share, Configs.collect, Availability.take

        def put_there(configs: Configs, run: Run) -> None:
            put(configs, run)
            if run.config:
                say({"put": name_of(run)})

        def shared(configs: Configs, targets: Iterable[Target]) -> None:
            found = list(targets)
            share(configs, found)
            if (files := shared_by(found)) is not None:
                say({"shared": hex_of(files.items())})

        def collected(configs: Configs, targets: Iterable[Target]) -> None:
            found = list(targets)
            say({"collecting": sorted(name_of(t.run) for t in found if t.run.config)})
            collect(configs, found)

        def taken(availability: Availability, word: SetAvailability) -> bool:
            say({"taking": word.sequence})
            found = take(availability, word)
            say({"taken": word.sequence})
            return found

        Configs.put, Configs.share, Configs.collect = put_there, shared, collected  # type: ignore[method-assign]
        Availability.take = taken  # type: ignore[method-assign]
        Journal.save, Layout.point, StoredArtifacts.stage = saved, pointed, staged  # type: ignore[method-assign]
        say_flushes(say)


def name_of(run: Run) -> str:
    """What the directory of the configuration files of `run` is called."""
    return hex_of((file.path, file.content) for file in run.config)


def hex_of(files: Iterable[tuple[str, str]]) -> str:
    return config_digest(files).removeprefix("sha256:")


def say_flushes(say: Say) -> None:
    """Before every flush, from which lines of ours it is made."""
    fsync, sync_file_system = os.fsync, Beneath.sync_file_system

    def flushed(fd: int) -> None:
        say({"flushing": _lines(), "thread": threading.get_native_id()})
        fsync(fd)

    def all_flushed(tree: Beneath) -> None:
        say({"flushing": _lines(), "thread": threading.get_native_id()})
        sync_file_system(tree)

    os.fsync, Beneath.sync_file_system = flushed, all_flushed  # type: ignore[assignment, method-assign]


def _lines() -> str:
    """The line that flushes, and the one that called for it."""
    frame, found = sys._getframe(2), []
    while frame is not None and len(found) < 2:
        if frame.f_globals.get("__name__", "").startswith("bumpless."):
            found.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(found)


def _outcome(result: StepFinished | StepStaged) -> str:
    if isinstance(result, StepFinished):
        return str(result.outcome)
    return "staged" if result.ok else "failed"


def _root(target: Target | None) -> str | None:
    return target.root if target else None
