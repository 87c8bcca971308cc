"""Clients of every temper at one address: what each of them saw fail. Nobody retries.

fresh: a new connection for every request. busy: one kept connection, the next request at once. checking: a kept
connection, idle in between, looked at before it is used again, as pooled clients do. naive: the same without a look.
All of them heed `Connection: close`; busy ones look before they send, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

ANSWER_S = 30.0
FRESH_GAP_S = 0.01
BUSY_GAP_S = 0.001
IDLE_GAP_S = 0.15
TEMPERS = {"fresh": 2, "busy": 4, "checking": 8, "naive": 8}
SLOW_EVERY = 20


class Lost(Exception):
    """A request that was not answered."""


@dataclass
class Seen:
    """By temper; `versions` are the bodies of answers, `failures` what was seen instead."""

    total: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return ", ".join(f"{name} {self.failed[name]}/{self.total[name]}" for name in TEMPERS)


class MixedLoad:
    def __init__(self, port: int, *, slow_path: str = "/") -> None:
        self._port, self._slow_path = port, slow_path
        self.seen = Seen()
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for name, count in TEMPERS.items():
            self._tasks += [asyncio.create_task(self._client(name)) for _ in range(count)]
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._ending = True
        if error is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=error is not None)

    async def answered(self, more: int) -> None:
        """Until every temper had so many more answers."""
        wanted = {name: self.seen.total[name] + more for name in TEMPERS}
        async with asyncio.timeout(ANSWER_S):
            while any(self.seen.total[name] < count for name, count in wanted.items()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def _client(self, temper: str) -> None:
        connection: _Connection | None = None
        gap = {"fresh": FRESH_GAP_S, "busy": BUSY_GAP_S}.get(temper, IDLE_GAP_S)
        for number in itertools.count():
            if self._ending:
                break
            if connection is not None and temper != "naive" and connection.gone:
                connection.close()
                connection = None
            path = self._slow_path if temper == "busy" and number % SLOW_EVERY == 0 else "/"
            self.seen.total[temper] += 1
            try:
                connection = connection or await _Connection.open(self._port)
                async with asyncio.timeout(ANSWER_S):
                    kept = await connection.request(path, keep=temper != "fresh")
            except (OSError, Lost, asyncio.IncompleteReadError, TimeoutError) as error:
                self.seen.failed[temper] += 1
                self.seen.failures.append(f"{temper}: {error!r}")
                kept = False
            if not kept and connection is not None:
                connection.close()
                connection = None
            await asyncio.sleep(gap)
        if connection is not None:
            connection.close()


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    @property
    def gone(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()

    async def request(self, path: str, *, keep: bool) -> bool:
        """Whether the connection can be used again. Raises: OSError, Lost, IncompleteReadError."""
        word = "keep-alive" if keep else "close"
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {word}\r\n\r\n".encode())
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        if not head.startswith("http/1.1 200"):
            raise Lost(head.splitlines()[0])
        length = next(int(row[15:]) for row in head.splitlines() if row.startswith("content-length:"))
        await self._reader.readexactly(length)
        return keep and "connection: close" not in head

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.close()


async def version_at(port: int) -> str:
    """The body of one answer on a fresh connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), ANSWER_S)
    finally:
        writer.close()
    return answer.partition(b"\r\n\r\n")[2].decode()
