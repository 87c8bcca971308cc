"""What is measured when somebody asks for metrics: what lies in the store and in the broker, for one service.

What cannot be measured is left out of the answer, never shown as it was before.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from bumpless.common.contract.events import MessageParked
from bumpless.common.contract.subjects import Stream, subject_for
from bumpless.common.errors import Retryable
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.nats_client import Away
from bumpless.common.shell.run import Runner
from bumpless.common.shell.state import StateStore
from bumpless.common.shell.topology import DURABLES
from bumpless.common.telemetry import (
    BACKLOG,
    DECISIONS,
    LEADER,
    LEASE,
    OUTBOX,
    OVERDUE,
    PARKED,
    PARKED_KEPT,
    UNFINISHED,
)


class Measures:
    """The gauges of the service `owner`, told by the process that holds its lease."""

    def __init__(
        self, owner: str, connection: Connection, store: StateStore, now: Callable[[], datetime]
    ) -> None:
        self._owner, self._connection, self._store, self._now = owner, connection, store, now
        self._runner: Runner[Any] | None = None
        self._counted = False
        LEASE.labels(owner).set(0)
        for counter in (DECISIONS, LEADER, PARKED):  # there before the first event, so that the first counts
            counter.labels(owner)

    def begin(self, runner: Runner[Any]) -> None:
        """From now on `runner` works in this process."""
        self._runner, self._counted = runner, False
        LEASE.labels(self._owner).set(1)

    def rest(self) -> None:
        """This process works no more, for the time being."""
        self._runner = None
        LEASE.labels(self._owner).set(0)

    async def __call__(self) -> None:
        """Measure everything anew."""
        for gauge in (UNFINISHED, OUTBOX, OVERDUE, BACKLOG, PARKED_KEPT):
            gauge.clear()
        runner = self._runner
        if runner is None:
            return
        with contextlib.suppress(Retryable):
            await self._unfinished(runner)
            await self._stored()
        with contextlib.suppress(*Away):
            await self._brokered()

    async def _unfinished(self, runner: Runner[Any]) -> None:
        if not self._counted:
            await runner.count()
            self._counted = True
        for status, number in Counter(runner.statuses.values()).items():
            UNFINISHED.labels(self._owner, status).set(number)

    async def _stored(self) -> None:
        OUTBOX.labels(self._owner).set(len(await self._store.unpublished()))
        now = self._now()
        due = [deadline.due for _, deadline in await self._store.due(now)]
        OVERDUE.labels(self._owner).set((now - min(due)).total_seconds() if due else 0)

    async def _brokered(self) -> None:
        for durable in DURABLES:
            if durable.name == self._owner:
                info = await self._connection.js.consumer_info(durable.stream.value, durable.name)
                waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
                BACKLOG.labels(self._owner, durable.stream.value).set(waiting)
        subject = subject_for(MessageParked, service=self._owner)
        state = (await self._connection.js.stream_info(Stream.DLQ.value, subjects_filter=subject)).state
        PARKED_KEPT.labels(self._owner).set(sum((state.subjects or {}).values()))
