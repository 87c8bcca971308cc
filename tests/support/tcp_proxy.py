"""A TCP proxy between a service and its servers, whose links can be cut, made silent, and made slow.

A silent direction holds what is sent, as a network does that drops packets while both ends send them again: the
connection stays open, and what was held arrives when the link is healed. No new connection comes about meanwhile.
The proxies of a test run in a thread of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

Way = Literal["up", "down"]
"""`up`: from the service to its server."""
WAYS: tuple[Way, ...] = ("up", "down")
CHUNK = 16 << 10
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
T = TypeVar("T")


@dataclass(eq=False)
class _Pair:
    """The two halves of one connection, and which of its directions are open."""

    service: asyncio.StreamWriter
    server: asyncio.StreamWriter
    open: dict[Way, asyncio.Event] = field(default_factory=dict)

    def reset(self) -> None:
        for writer in (self.service, self.server):
            found = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()


class Link:
    """The way of one service to one server. Its methods may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, url: str) -> None:
        self._loop = loop
        self._target = urlsplit(url)
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent: frozenset[Way] = frozenset()
        self._refuses = False
        self._delay_s = 0.0
        self._healed = asyncio.Event()
        self._healed.set()
        self.port = 0

    @property
    def url(self) -> str:
        """Where the service is to look for its server."""
        if self._target.scheme == "unix":
            return f"redis://127.0.0.1:{self.port}/0"
        user = f"{self._target.netloc.rpartition('@')[0]}@" if "@" in self._target.netloc else ""
        return f"{self._target.scheme}://{user}127.0.0.1:{self.port}{self._target.path}"

    def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        self._do(self._cut())

    def silence(self, ways: Collection[Way] = WAYS) -> None:
        """Let nothing through in these directions."""
        self._do(self._silence(frozenset(ways)))

    def slow(self, delay_s: float) -> None:
        """Every piece of up to `CHUNK` bytes takes this long, one after the other."""
        self._delay_s = delay_s

    def heal(self, *, forget: bool = False) -> None:
        """Let everything through again. With `forget`, the connections that were silenced stay so for ever, as behind
        a firewall that no longer knows them."""
        self._do(self._heal(forget))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    # in the loop's thread

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _cut(self) -> None:
        self._refuses = True
        for pair in self._pairs:
            pair.reset()

    async def _silence(self, ways: frozenset[Way]) -> None:
        self._silent = ways
        self._healed.clear()
        for pair in self._pairs:
            for way in ways:
                pair.open[way].clear()

    async def _heal(self, forget: bool) -> None:
        self._refuses, self._silent, self._delay_s = False, frozenset(), 0.0
        self._healed.set()
        if not forget:
            for pair in self._pairs:
                for way in WAYS:
                    pair.open[way].set()

    async def close(self) -> None:
        for pair in self._pairs:
            pair.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._healed.wait()
            if self._refuses:
                _Pair(writer, writer).reset()
                return
            try:
                other, server = await self._dial()
            except OSError:
                writer.transport.abort()
                return
            await self._joined(_Pair(writer, server), reader, other)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.scheme == "unix":
            return await asyncio.open_unix_connection(self._target.path)
        return await asyncio.open_connection(self._target.hostname, self._target.port)

    async def _joined(self, pair: _Pair, service: asyncio.StreamReader, server: asyncio.StreamReader) -> None:
        for way in WAYS:
            pair.open[way] = asyncio.Event()
            if way not in self._silent:
                pair.open[way].set()
        self._pairs.add(pair)
        pumps = [
            asyncio.create_task(self._pump(service, pair.server, pair.open["up"])),
            asyncio.create_task(self._pump(server, pair.service, pair.open["down"])),
        ]
        try:
            await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            pair.service.transport.abort()
            pair.server.transport.abort()
            self._pairs.discard(pair)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_open: asyncio.Event
    ) -> None:
        """Everything, then the end, from one half to the other."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await is_open.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                writer.write(data)
                await writer.drain()
        await is_open.wait()
        writer.close()


class Proxies:
    """Links, as many as a test opens, until the context is left."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._links: list[tuple[Link, asyncio.Server]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self, url: str) -> Link:
        """A link to the server at `url`: nats://, redis:// or unix://."""
        return asyncio.run_coroutine_threadsafe(self._open(url), self._loop).result(30)

    def heal(self) -> None:
        for link, _ in self._links:
            link.heal()

    async def _open(self, url: str) -> Link:
        link = Link(self._loop, url)
        self._links.append((link, await link.listen()))
        return link

    async def _close(self) -> None:
        for link, server in self._links:
            server.close()
            await link.close()
