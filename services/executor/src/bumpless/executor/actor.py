"""One component, one input at a time: decide, write the journal, perform. In that order, always.

The queue is the only way in. A record that could not be written is not acted on.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from bumpless.common.contract.base import Digest, MessageId
from bumpless.common.contract.events import StepFinished, StepProgressed, StepStaged
from bumpless.common.contract.trace import Place
from bumpless.common.errors import Broken
from bumpless.common.model.plan import Target
from bumpless.common.shell import tracing
from bumpless.common.shell.log import get_logger
from bumpless.executor import effects as do
from bumpless.executor import inputs as heard
from bumpless.executor import telemetry
from bumpless.executor.component import decide
from bumpless.executor.journal import Journal
from bumpless.executor.layout import Layout
from bumpless.executor.lifecycle import Lifecycle
from bumpless.executor.ports import ArtifactSource, ProcessSwitch
from bumpless.executor.record import RESTING, Command, ComponentRecord, Instance
from bumpless.executor.starter import Starter
from bumpless.executor.steps import Steps, stop_timeout_s
from bumpless.executor.trying import Trying

log = get_logger(__name__)

SAVE_AGAIN_S = 1.0
"""Between two attempts to write the journal while the disk refuses; nothing moves meanwhile."""


class Word(Protocol):
    """What a component has to say, and to whom is not its business."""

    def report(self) -> None:
        """The outbox or what is observed has changed."""
        ...

    def progress(self, message: StepProgressed) -> None: ...

    def park(self, command: Command, reason: str) -> None: ...


class ComponentActor:
    """Owns the record of one component. `record` is the one last written."""

    def __init__(
        self,
        record: ComponentRecord,
        address: str,
        layout: Layout,
        switch: ProcessSwitch,
        source: ArtifactSource,
        word: Word,
        now: Callable[[], datetime],
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        self._make_room = make_room
        self.record = record
        self.layout = layout
        self._journal = Journal(layout.journal)
        self._switch, self._word, self._now = switch, word, now
        self._inputs: asyncio.Queue[heard.Input] = asyncio.Queue()
        starter = Starter(
            record.component, record.node, address, layout, switch, source, self._in_use, self._living
        )
        hooks = Lifecycle(record.component, record.node, address, layout, starter)
        self._steps = Steps(layout, switch, source, starter, hooks, self.tell, lambda: self.record, now)
        self.trying = Trying(record.component, record.node, layout, starter)
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._above: tuple[MessageId, Place] | None = None

    def _in_use(self) -> frozenset[Digest]:
        return frozenset(i.target.root for i in self.record.instances if i.pid)

    def _living(self) -> tuple[Target, ...]:
        return tuple(i.target for i in self.record.instances)

    def tell(self, given: heard.Input) -> None:
        self._inputs.put_nowait(given)

    async def look(self) -> tuple[Instance, ...]:
        """After a start of the executor: take over the processes of the record; those that are alive."""
        self.layout.clear_staging()
        adopted = [await self._switch.adopt(i) for i in self.record.instances]
        return tuple(i for i in adopted if i is not None)

    async def recover(self, alive: tuple[Instance, ...]) -> None:
        """Go on where the last executor stopped. On return the record says what is alive; nothing was said before.

        Raises:
            OSError: the record cannot be written.
        """
        await self._handle(heard.Observed(alive))

    async def close(self) -> None:
        """Stop acting, after `run` was cancelled; processes go on."""
        tasks = tuple(self._watchers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._steps.close()

    async def stop_services(self) -> None:
        """Drain and end every process of the component, and close its ports. Call after `close`."""
        instances = self.record.instances
        await asyncio.gather(*(self._switch.stop(i, stop_timeout_s(i)) for i in instances))
        await self._switch.keep_only(self.record.component, ())

    async def run(self) -> None:
        """Handle inputs for ever."""
        while True:
            await self._handle(await self._inputs.get())

    async def _handle(self, given: heard.Input) -> None:
        before = self.record
        try:
            decision = decide(before, given, self._now())
        except Broken as error:
            log.error(
                "an invariant does not hold; input dropped", component=before.component, error=str(error)
            )
            return
        if decision.state is not before and not await self._save(decision.state, given):
            return
        self._account(before, decision.state)
        log.info(
            "decided",
            component=before.component,
            input=type(given).__name__,
            before=before.state,
            after=self.record.state,
            cause=self.record.command.id if self.record.command else None,
            effects=[type(e).__name__ for e in decision.effects],
            notes=decision.notes,
        )
        for effect in decision.effects:
            match effect:
                case do.Report():
                    self._word.report()
                case do.Progress():
                    self._word.progress(effect.message)
                case do.Park():
                    self._word.park(effect.command, effect.reason)
                case _:
                    await self._steps.perform(effect)
        self._watch()

    async def _save(self, record: ComponentRecord, given: heard.Input) -> bool:
        """Write the record; False: it cannot be written, and the command may come again. Raises: OSError at the start."""
        while True:
            try:
                await asyncio.to_thread(self._journal.save, record)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT) and await asyncio.to_thread(self._make_room):
                    log.warning("the disk is full; the journal takes from the reserve")
                    continue
                log.error("the journal cannot be written", component=record.component, error=str(error))
                if isinstance(given, heard.Commanded):
                    return False
                if isinstance(given, heard.Observed):
                    raise  # at the start; whoever started the executor starts it again, and can end it meanwhile
                await asyncio.sleep(SAVE_AGAIN_S)
            else:
                self.record = record
                return True

    def _watch(self) -> None:
        """One watcher per process of the record. While a step is undone, deaths are the undoing's business."""
        if self.record.failing is not None:
            return
        for instance in self.record.instances:
            if instance.pid and instance.id not in self._watchers:
                self._watchers[instance.id] = asyncio.create_task(self._wait_for(instance.id))

    async def _wait_for(self, name: str) -> None:
        instance = next((i for i in self.record.instances if i.id == name), None)
        if instance is not None:
            end = await self._switch.exited(instance)
            self._watchers.pop(name, None)
            self.tell(heard.Died(instance, end.reason, end.lived_s))

    def traced(self, command: Command, above: Place | None) -> None:
        """Where in the trace of its rollout a command came from that is about to be told."""
        if above is not None:
            self._above = (command.id, above)

    def _trace(self, record: ComponentRecord, outcome: str, seconds: Mapping[str, float]) -> None:
        command, now = record.command, self._now()
        if command is not None:
            known, above = self._above or ("", None)
            place = above if known == command.id else tracing.parent(command, {})
            tracing.worked(command, place, now.timestamp() - sum(seconds.values()), seconds, outcome)

    def _account(self, before: ComponentRecord, after: ComponentRecord) -> None:
        name = after.component
        telemetry.INSTANCES.labels(name).set(len(after.takes_traffic))
        telemetry.OUTSTANDING.labels(name).set(after.state not in RESTING)
        telemetry.RESTARTS.labels(name).inc(max(0, after.restarts - before.restarts))
        if before.state is not after.state or before.failing != after.failing:
            self._word.report()
        if after.result is None or after.result is before.result:
            return
        match after.result:
            case StepStaged():
                self._trace(after, "staged" if after.result.ok else "failed", {})
                telemetry.STAGED_BYTES.labels(name, after.result.used or "none").inc(
                    after.result.bytes_fetched
                )
            case StepFinished():
                self._trace(after, after.result.outcome, after.result.seconds)
                telemetry.STEPS.labels(name, after.result.outcome).inc()
                telemetry.STEP_SECONDS.labels(name).observe(sum(after.result.seconds.values()))
                for state, seconds in after.result.seconds.items():
                    telemetry.STATE_SECONDS.labels(name, state).observe(seconds)
