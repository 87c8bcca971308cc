"""What thousands of nodes answer at once: fetched, decided and settled together, without the way of single messages.

`consume.py` is for everything else. There a message has a scope, a task group and an injected handler of its own,
which costs more than what is decided about an answer of a node.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.msg import Msg
from nats.js.errors import ServiceUnavailableError

from bumpless.common.contract import wire
from bumpless.common.contract.base import Message
from bumpless.common.errors import Retryable
from bumpless.common.shell import settle, tracing
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.nats_client import Away
from bumpless.common.shell.reading import spoken
from bumpless.common.shell.settle import Settler
from bumpless.common.shell.topology import Durable

log = get_logger(__name__)

TOGETHER = 500
"""Messages that are fetched at once, at most."""
AT_WORK = 2 * TOGETHER
"""Messages that are handled at a time: the next ones are read while what the last led to is saved."""
FETCH_S = 5.0
AGAIN_S = 0.5
CANCEL_AGAIN_S = 0.5
STOP_S = 10.0
"""How long handlers may take that are at work when the service stands back."""

Handler = Callable[[Any], Awaitable[None]]


class FanIn:
    """Hands what a durable consumer delivers to `handle`, all that was fetched at once; each is settled by itself."""

    def __init__(
        self, settler: Settler, durable: Durable, handle: Handler, kinds: tuple[type[Message], ...]
    ) -> None:
        self._settler, self._durable = settler, durable
        self._handle, self._kinds = handle, kinds
        self._at_work: dict[asyncio.Task[None], tuple[Msg, int]] = {}
        """With the message and when its handling began (nanoseconds since 1970)."""
        self._settled = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(work) for work in (self._keep_fetching(), self._keep_holding())]

    async def stop(self) -> None:
        """Fetch nothing more, and see what is at work to its end."""
        for task in self._tasks:
            while not task.done():  # a cancellation can get lost where a wait ends at the same moment
                task.cancel()
                await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
        if self._at_work:
            await asyncio.wait(self._at_work, timeout=STOP_S)

    async def _keep_fetching(self) -> None:
        while not self._settler.connection.nc.is_closed:
            try:
                await self._fetch()
            except ServiceUnavailableError as away:
                self._settler.connection.nc.unanswered(asyncio.get_running_loop().time())
                log.warning("nobody answers for results", durable=self._durable.name, reason=repr(away))
            except Away as away:
                log.warning("results cannot be fetched", durable=self._durable.name, reason=repr(away))
            except Exception:
                log.exception("fetching of results failed; it begins again", durable=self._durable.name)
            await asyncio.sleep(AGAIN_S)

    async def _fetch(self) -> None:
        """Until the broker is away."""
        durable = self._durable
        subscription = await self._settler.connection.js.pull_subscribe_bind(
            durable.name, durable.stream.value
        )
        try:
            while True:
                while len(self._at_work) > AT_WORK - TOGETHER:
                    self._settled.clear()
                    await self._settled.wait()
                with contextlib.suppress(TimeoutError):
                    for raw in await subscription.fetch(TOGETHER, timeout=FETCH_S):
                        self._begin(raw)
        finally:
            with contextlib.suppress(*Away):
                await subscription.unsubscribe()

    def _begin(self, raw: Msg) -> None:
        began = time.time_ns()
        task = asyncio.create_task(self._one(raw, began))
        self._at_work[task] = (raw, began)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._at_work[task]
        self._settled.set()

    async def _one(self, raw: Msg, began: int) -> None:
        failed: Exception | None = None
        try:
            await self._handle(self._read(raw))
            tracing.handled(raw.data, raw.headers or {}, began)
        except Exception as error:  # noqa: BLE001 - the edge: it decides how the delivery ends
            failed = error
        try:
            await self._settler.settle(raw, failed, began)
        except (Retryable, *Away) as error:
            log.warning("not settled; it comes again", subject=raw.subject, reason=repr(error))

    def _read(self, raw: Msg) -> Message:
        message = spoken(wire.decode(raw.data), raw.subject)
        if not isinstance(message, self._kinds):
            wanted = ", ".join(map(wire.type_of_kind, self._kinds))
            raise wire.Unreadable(f"expected {wanted}, found {wire.type_of(message)}")
        return message

    async def _keep_holding(self) -> None:
        """Tell the broker what is worked on, so that only what a dead process held comes again soon."""
        while True:
            await asyncio.sleep(settle.HELD_EVERY_S)
            oldest = time.time_ns() - int(settle.HELD_S * 1e9)
            for raw, began in list(self._at_work.values()):
                if began > oldest and not raw.is_acked:
                    with contextlib.suppress(*Away):
                        await raw.in_progress()
