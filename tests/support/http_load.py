"""Clients that ask one address all the time, try nothing twice, and remember what went wrong."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

DEADLINE_S = 45.0


class HttpLoad:
    """`kept` connections are used until the server says close; they are never looked at before a request."""

    def __init__(
        self, host: str, port: int, *, kept: int = 6, fresh: int = 2, tls: ssl.SSLContext | None = None
    ) -> None:
        self._place: dict[str, Any] = {"host": host, "port": port, "ssl": tls}
        self._kinds = [True] * kept + [False] * fresh
        self._tasks: list[asyncio.Task[None]] = []
        self._answered = asyncio.Event()
        self.versions: list[str] = []
        self.failures: list[str] = []

    async def __aenter__(self) -> HttpLoad:
        self._tasks = [asyncio.create_task(self._client(keep)) for keep in self._kinds]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def more(self, count: int, version: str | None = None) -> None:
        """Until `count` further answers came, from `version` if one is named."""
        start = len(self.versions)
        async with asyncio.timeout(DEADLINE_S):
            while sum(version in (None, v) for v in self.versions[start:]) < count:
                self._answered.clear()
                await self._answered.wait()

    async def _client(self, keep: bool) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(**self._place)
                try:
                    while await self._ask(reader, writer) and keep:  # noqa: ASYNC110
                        await asyncio.sleep(0.002)
                finally:
                    writer.close()
            except (OSError, EOFError, ValueError) as error:
                self.failures.append(repr(error))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection may be used again."""
        writer.write(b"GET / HTTP/1.1\r\nHost: sample\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split()[0])
        self.versions.append(json.loads(await reader.readexactly(length))["version"])
        self._answered.set()
        return "connection: close" not in head
