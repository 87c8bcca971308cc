"""The node's word, through the broker."""

from __future__ import annotations

from bumpless.common.contract.base import Message
from bumpless.common.shell.broker import Connection


class BrokerReports:
    """Implements `ports.Reports`. The message id lets the broker drop what it has already."""

    def __init__(self, connection: Connection, node: str) -> None:
        self._connection, self._source = connection, f"executor/{node}"

    async def publish(self, message: Message) -> None:
        await self._connection.publish(message, source=self._source)
