"""Servers that keep their clients and are good for nothing: they are left where there is another."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import nats.errors
import pytest

from bumpless.common.access.entry import Entry
from bumpless.common.errors import Refused
from bumpless.common.shell import nats_client
from bumpless.common.shell.nats_client import LastingClient, opened
from support.waiting import comes_true

ALL = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]


class Deaf:
    """Speaks the protocol as far as pings, answers nothing else, and tells its clients of `known` servers."""

    def __init__(self, known: list[str]) -> None:
        self._known = known
        self._clients: set[asyncio.StreamWriter] = set()
        self.url = ""

    @property
    def clients(self) -> int:
        return len(self._clients)

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    def tell(self, known: list[str]) -> None:
        self._known = known
        for writer in self._clients:
            writer.write(self._info())

    def _info(self) -> bytes:
        said = {"version": "2.15.1", "proto": 1, "headers": True, "max_payload": 1 << 20}
        return b"INFO " + json.dumps({**said, "connect_urls": self._known}).encode() + b"\r\n"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        writer.write(self._info())
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
        self._clients.discard(writer)
        writer.close()


@contextlib.asynccontextmanager
async def servers(*known: list[str]) -> AsyncIterator[list[Deaf]]:
    made = [Deaf(each) for each in known]
    listening = [await each.listen() for each in made]
    yield made
    for server in listening:
        server.close()


@contextlib.asynccontextmanager
async def client(*of: Deaf) -> AsyncIterator[LastingClient]:
    found = await opened(Entry(",".join(each.url for each in of)), 5, ping_interval=60)
    try:
        yield found
    finally:
        await found.close()


def with_client(found: list[Deaf]) -> tuple[Deaf, Deaf]:
    """The one that has the client, and the other."""
    first, second = found
    return (first, second) if first.clients else (second, first)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_client, "FEW_S", 0.3)
    monkeypatch.setattr(nats_client, "SILENT_S", 0.3)


async def test_a_server_that_sees_few_of_the_others_is_left() -> None:
    async with servers(ALL, ALL) as both, client(*both):
        one, other = with_client(both)
        one.tell(ALL[:1])
        await comes_true(lambda: other.clients and not one.clients, "the client to leave")


async def test_a_server_that_misses_one_of_three_is_not_left() -> None:
    async with servers(ALL, ALL) as both, client(*both) as found:
        one, other = with_client(both)
        one.tell(ALL[:1])
        one.tell(ALL[:2])  # before its time was over
        await found.flush()
        assert found._leaving is None
        assert (one.clients, other.clients) == (1, 0)


async def test_a_server_whose_streams_do_not_answer_is_left() -> None:
    async with servers([], []) as both, client(*both) as found:
        one, other = with_client(both)
        with pytest.raises(nats.errors.TimeoutError):
            await found.request("some.stream", b"", timeout=0.4)
        await comes_true(lambda: other.clients and not one.clients, "the client to leave")


async def test_requests_without_an_answer_that_are_far_apart_do_not_add_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nats_client, "SILENT_S", 60.0)
    async with servers([], []) as both, client(*both) as found:
        one, other = with_client(both)
        now = asyncio.get_running_loop().time()
        found._unanswered = (now - 300, now - 290)  # of a consumer without a leader, minutes ago
        found.unanswered(now)
        await found.flush()
        assert (one.clients, other.clients) == (1, 0)


async def test_a_server_is_left_as_soon_the_second_time_it_was_whole_meanwhile() -> None:
    async with servers(ALL, ALL) as both, client(*both) as found:
        for _ in range(2):
            one, other = with_client(both)
            one.tell(ALL[:1])
            await comes_true(
                lambda one=one, other=other: other.clients and not one.clients, "the client to leave"
            )
            await comes_true(lambda: found.is_connected, "the client to be back")
            one.tell(ALL)
        assert found._few_s == nats_client.FEW_S


async def test_that_a_service_does_not_answer_says_nothing_about_the_server() -> None:
    async with servers([], []) as both, client(*both) as found:
        one, other = with_client(both)
        with pytest.raises(nats.errors.TimeoutError):
            await found.ask("some.service", b"", 0.4)
        await found.flush()
        assert (one.clients, other.clients) == (1, 0)


async def test_the_only_server_is_never_left() -> None:
    async with servers([]) as (only,), client(only) as found:
        with pytest.raises(nats.errors.TimeoutError):
            await found.request("some.stream", b"", timeout=0.4)
        await found.flush()
        assert found.stats["reconnects"] == 0


@pytest.mark.parametrize("url", ["", "nats://a,", "nats://a:1,nats://a:1", "nats://a nats://b"])
def test_urls_that_name_no_servers_are_refused(url: str) -> None:
    with pytest.raises(Refused, match="with commas between"):
        _ = Entry(url).servers


def test_several_servers_are_named_with_commas() -> None:
    assert Entry("nats://a:1, tls://b:2").servers == ["nats://a:1", "tls://b:2"]
