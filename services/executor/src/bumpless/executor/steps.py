"""Performs the effects of one component. Every effect has a deadline, and every piece of work answers, or was aborted.

At most one piece of work (staging, starting, draining, undoing) is under way; restarts after a crash and the end of
old instances run beside it. Decisions are not made here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, assert_never

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.contract.base import Digest, derive_id
from bumpless.common.errors import ReleaseError
from bumpless.common.model.fleet import ComponentState
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release_hooks import HookName
from bumpless.common.shell.log import get_logger
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor.layout import Layout, require_room
from bumpless.executor.leaving import Leaving
from bumpless.executor.lifecycle import Lifecycle
from bumpless.executor.ports import ArtifactSource, ProcessSwitch, Unanswered
from bumpless.executor.precheck import root_of
from bumpless.executor.record import RESTING, ComponentRecord, Instance
from bumpless.executor.retention import listening, named, spared, spoken
from bumpless.executor.starter import Starter
from bumpless.executor.turnover import LEAVE_S, Turnover

log = get_logger(__name__)

Tell = Callable[[heard.Input], None]

USED = ("present", "delta", "full")
"""How a tree came, from the cheapest: of several, the dearest is told."""
RESUME_S = 5.0
"""A paused instance answers at once; after this long the cold start is the quicker way."""
LONGEST_WAIT_S = 30.0
FIRST_WAIT_S = 0.25


def restart_delay(attempt: int) -> float:
    """Seconds before restart number `attempt` in a row: none for the first, then doubling up to LONGEST_WAIT_S."""
    return 0.0 if attempt <= 1 else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt - 2, 20))


def stop_timeout_s(instance: Instance) -> float:
    """How long an instance gets between SIGTERM and SIGKILL; one that leaves its state gets more."""
    run = instance.target.run
    return run.timing.drain_timeout_s + (0 if run.overlap else LEAVE_S)


class Steps:
    """`tell` hands an input to the component's machine; `record` returns its present record."""

    def __init__(
        self,
        layout: Layout,
        switch: ProcessSwitch,
        source: ArtifactSource,
        starter: Starter,
        hooks: Lifecycle,
        tell: Tell,
        record: Callable[[], ComponentRecord],
        now: Callable[[], datetime],
    ) -> None:
        self._layout, self._switch, self._source, self._starter = layout, switch, source, starter
        self._turnover, self._leaving = Turnover(layout, switch, starter), Leaving(switch, tell)
        self._hooks, self._tell, self._record, self._now = hooks, tell, record, now
        self._work: asyncio.Task[None] | None = None
        self._revival: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()

    async def perform(self, effect: do.Effect) -> None:
        """Begin the effect; short ones are done on return."""
        match effect:
            case do.Stage():
                self._begin(self._stage(effect), lambda why: heard.StageFailed(effect.command.id, why))
            case do.Start():
                self._begin(self._start(effect), lambda why: heard.StartFailed(effect.command.id, why))
            case do.Restore():
                self._begin(self._restore(effect), lambda why: heard.RestoreFailed(effect.command.id, why))
            case do.DrainOld():
                self._begin(self._drain(effect), lambda why: heard.SwitchFailed(effect.command.id, why))
            case do.Vacate():
                self._begin(self._vacate(effect), lambda why: heard.ActivateFailed(effect.fresh, why))
            case do.Activate():
                await self._begin_activation(effect)
            case do.Retire():
                self._begin(self._retire(effect), lambda why: heard.SwitchFailed(effect.command.id, why))
            case do.CommitSwitch():
                await self._commit(effect)
            case do.Install():
                self._begin(self._install(effect), lambda why: heard.SwitchFailed(effect.command.id, why))
            case do.StandDown():
                await self._leaving.stand_down(effect.instance)
            case do.StayUp():
                await self._leaving.stay_up(effect.instance)
            case do.Abort():
                await self._abort(effect.end)
            case do.PauseOld():
                await self._try(self._switch.pause(effect.instance), "pause", effect.instance)
            case do.ResumeOld():
                await self._try(self._switch.resume(effect.instance), "resume", effect.instance)
            case do.KeepWarm():
                self._aside(self._keep_warm(effect))
            case do.StopOld():
                self._aside(self._switch.stop(effect.instance, stop_timeout_s(effect.instance)))
            case do.Revive():
                await self._stop_reviving()
                self._revival = self._task(self._revive(effect), heard.ReviveFailed)
            case do.StopReviving():
                await self._stop_reviving()
            case do.Collect():
                await self._collect()
            case do.Report() | do.Progress() | do.Park():
                raise AssertionError(f"expected the actor to perform {type(effect).__name__}, found it here")
            case _:
                assert_never(effect)

    async def close(self) -> None:
        """Stop working. Processes are left as they are; the journal says where to go on."""
        tasks = [t for t in (self._work, self._revival, *self._beside) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._leaving.close()

    # long work

    async def _stage(self, effect: do.Stage) -> None:
        in_use = frozenset(i.target.root for i in self._record().instances)
        # In the order of the hops: what is there already is what the next one may be a delta from.
        trees = []
        for target in effect.targets:
            trees.append(await self._source.stage(target, self._layout, in_use))
            await asyncio.to_thread(self._starter.configs.put, target.run)
        self._tell(
            heard.Staged(
                effect.command.id,
                max((tree.used for tree in trees), key=USED.index),
                sum(tree.bytes_fetched for tree in trees),
                sum(tree.full_bytes for tree in trees),
                "; ".join(tree.note for tree in trees if tree.note) or None,
            )
        )

    async def _start(self, effect: do.Start) -> None:
        instance = effect.instance
        command, cause = effect.command, effect.command.id
        old = self._record().current
        if effect.reuse or not instance.pid:
            await self._hooks.run(HookName.PRE_UPGRADE, command, old)
        if effect.reuse:
            if await self._comes_back(instance):
                await self._hooks.run(HookName.SMOKE_TEST, command, old, instance)
                self._tell(heard.Proven(cause, instance))
                return
            # The machine must wait for the other one before it hears that this one died.
            cold = Instance(id=derive_id(instance.id, "cold", cause), target=instance.target)
            self._tell(heard.Started(cause, cold))
            await self._switch.kill(instance)
            instance = cold

        def born(started: Instance) -> None:
            self._tell(heard.Started(cause, started))

        if instance.pid and not effect.reuse:
            started = instance
            if not started.standby:
                # It may be the warm one, still paused; one that is starting refuses this, and needs no resume.
                await self._try(self._switch.resume(started), "resume", started)
            await self._starter.wait(started)
        else:
            started = await self._starter.start(instance, born)
        if not started.standby:
            await self._starter.soak(started)
        if command.direction is Direction.FORWARD:
            # A new version that fills the disk takes the old one and the journals with it.
            await asyncio.to_thread(require_room, self._layout.home, 0, 0)
        if not started.standby:
            await self._hooks.run(HookName.SMOKE_TEST, command, old, started)
        self._tell(heard.Proven(cause, started))

    async def _take_over(self, effect: do.CommitSwitch) -> None:
        if effect.command.target is not None:
            await self._switch.take_over(effect.command.target.run, effect.current)
        self._tell(heard.Switched(effect.command.id, self._now()))

    async def _vacate(self, effect: do.Vacate) -> None:
        if effect.instance is not None:
            await self._hooks.run(HookName.PRE_DRAIN, effect.command, self._record().current, effect.fresh)
        self._tell(heard.Drained(effect.command.id, await self._turnover.vacate(effect)))

    async def _begin_activation(self, effect: do.Activate) -> None:
        """After a crash it is part of the revival, and given up with it."""

        async def activate() -> None:
            lost = await self._turnover.activate(effect)
            if effect.command is not None and effect.soak:
                for hook in (HookName.SMOKE_TEST, HookName.POST_UPGRADE):
                    await self._hooks.run(hook, effect.command, self._record().current, effect.instance)
            self._tell(heard.Activated(effect.instance, lost, beside=effect.command is None))

        def failed(why: str) -> heard.Input:
            return heard.ActivateFailed(effect.instance, why, beside=effect.command is None)

        if effect.command is not None:
            self._begin(activate(), failed)
        else:
            await self._stop_reviving()
            self._revival = self._task(activate(), failed)

    async def _drain(self, effect: do.DrainOld) -> None:
        command, old = effect.command, self._record().current
        cut: tuple[str, ...] = ()
        if effect.instance is not None:
            await self._hooks.run(HookName.PRE_DRAIN, command, old, self._record().fresh)
            await self._try(self._switch.pause(effect.instance), "pause", effect.instance)
        await self._hooks.run(HookName.POST_UPGRADE, command, old, self._record().fresh)
        if effect.instance is not None:
            cut = await self._drained(effect.instance)
        self._tell(heard.Drained(command.id, cut))

    async def _drained(self, instance: Instance) -> tuple[str, ...]:
        timing = instance.target.run.timing
        try:
            return await self._switch.drained(instance, timing.lame_duck_s, timing.drain_timeout_s)
        except (ReleaseError, OSError) as error:
            # What it still did is not known; the new version serves all the same.
            return (str(error) or repr(error),)

    async def _retire(self, effect: do.Retire) -> None:
        cut: tuple[str, ...] = ()
        if effect.instance is not None:
            await self._hooks.run(HookName.PRE_DRAIN, effect.command, self._record().current)
            paused = await self._try(self._switch.pause(effect.instance), "pause", effect.instance)
            cut = await self._drained(effect.instance)
            # One that does not hear would go on taking work.
            if not (effect.hold and paused):
                await self._switch.stop(effect.instance, stop_timeout_s(effect.instance))
        current = self._record().current
        previous = effect.previous or self._layout.previous()
        await asyncio.to_thread(self._layout.point, None, previous)
        if current is not None:
            await self._switch.take_over(current.run, None)
        self._tell(heard.Drained(effect.command.id, cut, self._now()))

    async def _install(self, effect: do.Install) -> None:
        await self._hooks.run(HookName.PRE_UPGRADE, effect.command, self._record().current)
        await asyncio.to_thread(self._layout.point, effect.current, effect.previous)
        if effect.command.target is not None:
            await self._switch.take_over(effect.command.target.run, effect.current)
        self._tell(heard.Switched(effect.command.id, self._now()))

    async def _restore(self, effect: do.Restore) -> None:
        if effect.exclusive and not effect.idle:
            self._tell(heard.Restored(effect.command.id, await self._turnover.restore(effect)))
            return
        target = effect.target
        try:
            await asyncio.to_thread(self._layout.point, target.root if target else None, effect.previous)
        except (OSError, ReleaseError) as error:
            # Who serves comes first. Links that a disk refuses are put right once the component rests, or at a start.
            log.warning(
                "the links could not be moved back", component=effect.command.component, error=str(error)
            )
        serving = effect.serving
        if serving is not None and not await self._comes_back(serving):
            await self._switch.kill(serving)
            serving = None
        if serving is None and target is not None and not effect.idle:
            cold = Instance(id=effect.standby, target=target)
            serving = await self._starter.start(cold)
        self._tell(heard.Restored(effect.command.id, serving))

    async def _revive(self, effect: do.Revive) -> None:
        await asyncio.sleep(restart_delay(effect.attempt))
        instance = await self._starter.start(
            Instance(id=effect.standby, target=effect.target, standby=effect.exclusive)
        )
        self._tell(heard.Revived(instance))

    async def _keep_warm(self, effect: do.KeepWarm) -> None:
        await asyncio.sleep(max(0.0, (effect.until - self._now()).total_seconds()))
        self._tell(heard.Cooled(effect.instance))

    # short work

    async def _commit(self, effect: do.CommitSwitch) -> None:
        try:
            await asyncio.to_thread(self._layout.point, effect.current, effect.previous)
        except (OSError, ReleaseError) as error:
            self._tell(heard.SwitchFailed(effect.command.id, f"the links could not be moved: {error}"))
        else:
            self._begin(self._take_over(effect), lambda why: heard.SwitchFailed(effect.command.id, why))

    async def _abort(self, end: Instance | None) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait((self._work,))
            self._work = None
        if end is not None:
            self._aside(self._switch.stop(end, stop_timeout_s(end)))

    async def _stop_reviving(self) -> None:
        if self._revival is not None:
            self._revival.cancel()
            await asyncio.wait((self._revival,))
            self._revival = None

    async def _collect(self) -> None:
        record = self._record()
        await self._put_links(record)
        runs = [self._starter.filled(target.run) for target in listening(record)]
        await self._switch.keep_only(record.component, runs)
        try:
            await asyncio.to_thread(self._put_configs, spoken(record), record)
            gone = await asyncio.to_thread(self._remove_others, named(record), record)
        except OSError as error:
            log.warning("old versions could not be removed", component=record.component, error=str(error))
            return
        if gone:
            log.info("removed old versions", component=record.component, roots=list[Digest](gone))

    def _put_configs(self, named: list[Target], record: ComponentRecord) -> None:
        living = [i.target for i in record.instances] or [t for t in (record.current,) if t is not None]
        self._starter.configs.share(living)
        self._starter.configs.collect(named)

    def _remove_others(self, named: list[Digest], record: ComponentRecord) -> tuple[Digest, ...]:
        kept = {*named, *filter(None, (self._layout.current(), self._layout.previous()))}
        if record.current is not None:
            kept |= spared(self._layout.arrived(), kept, record.current.run.keep, self._now())
        return self._layout.collect(kept)

    async def _put_links(self, record: ComponentRecord) -> None:
        """Where nothing is being moved, the links name what the record says: a disk that failed may have left others."""
        still = (*RESTING, ComponentState.STAGING, ComponentState.STARTING)
        if record.state not in still or record.failing is not None:
            return
        wanted = root_of(record.current), root_of(record.previous)
        try:
            if wanted != (self._layout.current(), self._layout.previous()):
                await asyncio.to_thread(self._layout.point, *wanted)
        except (OSError, ReleaseError) as error:
            log.warning("the links could not be put right", component=record.component, error=str(error))

    async def _comes_back(self, instance: Instance) -> bool:
        try:
            async with asyncio.timeout(RESUME_S):
                await self._switch.resume(instance)
                await self._switch.check(instance)
        except (Unanswered, TimeoutError) as error:
            log.warning("instance does not resume", instance=instance.id, error=str(error))
            return False
        return True

    async def _try(self, call: Coroutine[Any, Any, None], what: str, instance: Instance) -> bool:
        """For instances that may be dead already, which their watcher reports. False: it did not answer."""
        try:
            await call
        except Unanswered as error:
            log.warning(f"could not {what}", instance=instance.id, error=str(error))
            return False
        return True

    # tasks

    def _begin(self, work: Coroutine[Any, Any, None], failed: Callable[[str], heard.Input]) -> None:
        self._work = self._task(work, failed)

    def _task(
        self, work: Coroutine[Any, Any, None], failed: Callable[[str], heard.Input]
    ) -> asyncio.Task[None]:
        """Work that ends in an answer whatever happens: an error becomes the failing one."""

        def done(task: asyncio.Task[None]) -> None:
            if task.cancelled() or (error := task.exception()) is None:
                return
            if not isinstance(error, ReleaseError | ArtifactError | OSError):
                log.error("fault of the executor", error=repr(error), exc_info=error)
            self._tell(failed(str(error) or repr(error)))

        task = asyncio.create_task(work)
        task.add_done_callback(done)
        return task

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
