"""The standing commands of a node: the last of every subject, read after what was missed.

With a key, a node may ask the broker for single subjects of its own only, and not which there are. Planner and rollback
tell it that. It asks them only when the broker's newest command for it is another than when it read them last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from bumpless.common.contract.subjects import Stream, api_commands, command_last, commands_last
from bumpless.common.errors import Retryable
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.log import get_logger

log = get_logger(__name__)

ANSWER_S = 5.0


class Standing:
    """`known` are components that the node knows by itself, for as long as nobody says which there are."""

    def __init__(self, connection: Connection, node: str, known: Callable[[], Iterable[str]]) -> None:
        self._connection, self._node, self._known = connection, node, known
        self._newest = 0
        """The sequence of the newest command when all were read. What is heard live says nothing about earlier ones."""

    async def read(self) -> list[Received]:
        """What may have been missed, in stream order. Raises: Retryable: the broker is away."""
        wanted = commands_last(self._node)
        if not self._connection.keyed:
            return await self._connection.last(Stream.CMD, wanted)
        newest = await self._connection.last_of(Stream.CMD, wanted)
        if newest is None or newest.sequence == self._newest:
            return []
        listed = await self._listed()
        components = {newest.subject.rsplit(".", 1)[1], *(self._known() if listed is None else listed)}
        found = [
            item
            for component in sorted(components)
            if (item := await self._connection.last_of(Stream.CMD, command_last(self._node, component)))
        ]
        if listed is not None:
            self._newest = newest.sequence
        return sorted(found, key=lambda item: item.sequence)

    async def _listed(self) -> list[str] | None:
        try:
            return list(json.loads(await self._connection.request(api_commands(self._node), b"", ANSWER_S)))
        except Retryable as error:
            log.warning("nobody says which components have commands; reading those known", reason=str(error))
            return None
