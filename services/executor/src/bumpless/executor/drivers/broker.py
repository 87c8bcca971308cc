"""The node's word, through the broker: what it reports, and what it answers when asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from pydantic import ValidationError

from bumpless.common.contract.base import Message
from bumpless.common.contract.stage_check import StageCheck, StageChecked
from bumpless.common.contract.subjects import api_stage_check
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.nats_client import Away
from bumpless.executor.no_broker import LateConnection

log = get_logger(__name__)

MOST_CHECKS = 32
"""Under way or waiting: anybody on the broker can ask. Later ones are not answered."""


class BrokerReports:
    """Implements `ports.Reports`. The message id lets the broker drop what it has already."""

    def __init__(self, connection: LateConnection, node: str) -> None:
        self._connection, self._source = connection, f"executor/{node}"

    async def publish(self, message: Message) -> None:
        await self._connection.publish(message, source=self._source)


class BrokerChecks:
    """Answers stage checks with what `check` finds, each in its own time. Unreadable ones are logged and dropped."""

    def __init__(
        self, connection: Connection, node: str, check: Callable[[StageCheck], Awaitable[StageChecked]]
    ) -> None:
        self._connection, self._node, self._check = connection, node, check
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Answer from now on."""
        await self._connection.nc.subscribe(api_stage_check(self._node), cb=self._asked)

    async def close(self) -> None:
        """Give up what is under way; nobody is answered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _asked(self, question: Msg) -> None:
        try:
            wanted = StageCheck.model_validate_json(question.data)
        except ValidationError as error:
            log.warning("stage check not read", error=str(error))
            return
        if not question.reply or len(self._tasks) >= MOST_CHECKS:
            log.warning("stage check not answered", component=wanted.component, waiting=len(self._tasks))
            return
        task = asyncio.create_task(self._answer(question, wanted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, question: Msg, wanted: StageCheck) -> None:
        answer = await self._check(wanted)
        log.info("stage checked", component=wanted.component, root=wanted.root, ready=answer.ready)
        with contextlib.suppress(*Away):
            await question.respond(answer.model_dump_json().encode())
