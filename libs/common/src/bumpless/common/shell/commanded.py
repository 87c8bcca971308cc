"""Tells a node which of its components have standing commands; nodes may not ask the broker for that."""

from __future__ import annotations

import contextlib
import json

from nats.aio.msg import Msg

from bumpless.common.contract.subjects import Stream, api_commands, commands_last
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.nats_client import Away

log = get_logger(__name__)
ANSWERING = ("planner", "rollback")
"""Services whose processes answer, each question one of them, standing by or not."""


async def answer_nodes(connection: Connection) -> None:
    """Answer from now on, until the connection is closed."""

    async def asked(question: Msg) -> None:
        node = question.subject.rsplit(".", 1)[1]
        try:
            info = await connection.js.stream_info(Stream.CMD.value, subjects_filter=commands_last(node))
        except Away as error:
            log.warning("a node was not told its components", node=node, reason=repr(error))
            return
        components = sorted(subject.rsplit(".", 1)[1] for subject in info.state.subjects or {})
        with contextlib.suppress(*Away):
            await question.respond(json.dumps(components).encode())

    await connection.nc.subscribe(api_commands("*"), queue="commanded", cb=asked)
