"""What is said to an HAProxy that stands before instances: its runtime API, one short connection per command.

The socket needs `level admin`. Source: HAProxy management guide, section 9.3 (`set server`, `show stat`).
"""

from __future__ import annotations

import asyncio
import csv
import io
from dataclasses import dataclass
from typing import Literal

from bumpless.executor.ports import Unanswered

ANSWER_S = 5.0
"""A proxy that does not answer its own socket in this time is not well."""
MAX_ANSWER = 1 << 20
_SERVERS = 4
"""The type of rows of `show stat` that are servers."""

ServerState = Literal["ready", "drain", "maint"]


@dataclass(frozen=True)
class ServerStatus:
    """`sessions`: those it serves and those that wait for it. `status`: HAProxy's word, such as UP, DRAIN or MAINT."""

    sessions: int
    status: str


@dataclass(frozen=True)
class Server:
    """One server of one backend, known to the HAProxy that listens on `socket`: a path, or `tcp://HOST:PORT`."""

    socket: str
    backend: str
    name: str

    def __str__(self) -> str:
        return f"{self.backend}/{self.name}"

    async def set(self, state: ServerState) -> None:
        """Raises: Unanswered."""
        said = (await self._tell(f"set server {self} state {state}")).strip()
        if said:
            raise Unanswered(f"expected HAProxy to set {self} to {state}, found {said[:200]!r}")

    async def cut(self) -> None:
        """End its sessions: nobody will answer them. Raises: Unanswered."""
        await self._tell(f"shutdown sessions server {self}")

    async def look(self) -> ServerStatus:
        """Raises: Unanswered, also when there is no such server."""
        said = await self._tell(f"show stat {self.backend} {_SERVERS} -1")
        for row in csv.DictReader(io.StringIO(said.removeprefix("# "))):
            if row.get("svname") == self.name:
                try:
                    return ServerStatus(int(row["scur"]) + int(row["qcur"]), row["status"])
                except (KeyError, ValueError, TypeError) as error:
                    raise Unanswered(f"expected scur, qcur and status of {self}, found {row!r}") from error
        raise Unanswered(f"expected a server {self} in HAProxy, found {said.strip()[:200]!r}")

    async def _tell(self, command: str) -> str:
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await self._connect()
                try:
                    writer.write(command.encode() + b"\n")
                    await writer.drain()
                    said = await reader.read(MAX_ANSWER)
                    while more := await reader.read(MAX_ANSWER - len(said)):
                        said += more
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise Unanswered(
                f"expected HAProxy to answer {command!r} at {self.socket} within {ANSWER_S:g} s, found {error!r}; "
                "look at its stats socket and its level"
            ) from error
        return said.decode(errors="replace")

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.socket.startswith("tcp://"):
            host, _, port = self.socket.removeprefix("tcp://").rpartition(":")
            return await asyncio.open_connection(host.strip("[]"), int(port))
        return await asyncio.open_unix_connection(self.socket)
