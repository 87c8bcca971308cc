"""The node's word to the outside: results until they are acknowledged, observations, progress.

Results wait in the journals, so nothing is lost here; an observation or a progress that was not sent is replaced by
the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from datetime import datetime

from bumpless.common.contract.base import Message
from bumpless.common.contract.events import NodeObserved, StepProgressed
from bumpless.common.errors import Retryable
from bumpless.common.model.fleet import Node
from bumpless.common.shell import clock
from bumpless.common.shell.log import get_logger
from bumpless.executor import inputs as heard
from bumpless.executor.actor import ComponentActor
from bumpless.executor.ports import Reports

log = get_logger(__name__)

PROGRESS_KEPT = 1000
"""Unsent progress while the broker is away; older ones are worth nothing by then."""


class Reporter:
    """`actors` and `observe` are asked each time something is to be said."""

    def __init__(
        self,
        reports: Reports,
        actors: Callable[[], Iterable[ComponentActor]],
        observe: Callable[[], Node],
        now: Callable[[], datetime],
        heartbeat_s: float,
    ) -> None:
        self._reports, self._actors, self._observe, self._now = reports, actors, observe, now
        self._heartbeat_s = heartbeat_s
        self.heard = asyncio.Event()
        """Set once the broker has acknowledged an observation, and every result of that time."""
        self._changed = asyncio.Event()
        self._told: asyncio.Queue[Message] = asyncio.Queue(PROGRESS_KEPT)

    def report(self) -> None:
        """Publish outboxes and the observation soon."""
        self._changed.set()

    def tell(self, message: StepProgressed | Message) -> None:
        """Best effort, in order."""
        try:
            self._told.put_nowait(message)
        except asyncio.QueueFull:
            log.info("a progress was dropped", message=message.id)

    async def run(self) -> None:
        """For ever: at every change, and at every heartbeat."""
        await asyncio.gather(self._report(), self._progress())

    async def _report(self) -> None:
        while True:
            self._changed.clear()
            wait = self._heartbeat_s
            try:
                await self._say()
                self.heard.set()
            except Retryable as error:
                log.warning("not reported yet", reason=str(error))
                wait = min(wait, error.after_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)

    async def _say(self) -> None:
        """First what runs here: whoever has read a result, and plans by it, finds it in the inventory."""
        results = [(actor, result) for actor in self._actors() for result in actor.record.outbox]
        await self._reports.publish(self._observed())
        for actor, result in results:
            if result in actor.record.outbox:  # it may have been taken back meanwhile
                await self._reports.publish(result)
                actor.tell(heard.Acknowledged(result.id))

    def _observed(self) -> NodeObserved:
        return NodeObserved(id=clock.fresh_id(), at=self._now(), node=self._observe())

    async def _progress(self) -> None:
        while True:
            message = await self._told.get()
            try:
                await self._reports.publish(message)
            except Retryable as error:
                log.info("a progress was lost", message=message.id, reason=str(error))
