"""WebSockets of the helper, spoken to by a library that is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bumpless.service import Request, Response, WebSocket, websocket
from bumpless.service.contract import bind
from bumpless.service.http import HttpServer

DEADLINE_S = 30.0
LARGEST = 100_000


async def _echo(socket: WebSocket) -> None:
    while (message := await socket.receive()) is not None:
        if message == "bye":
            return
        await socket.send(message)


async def _answer(request: Request) -> Response:
    return websocket(request, _echo, largest=LARGEST)


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    made = HttpServer([bind("127.0.0.1:0")], _answer)
    made.accept()
    yield made
    made.close_listeners(sweep=False)
    await made.abort()


def _url(server: HttpServer) -> str:
    return f"ws://127.0.0.1:{server.addresses[0][1]}/"


@pytest.mark.parametrize("size", [0, 5, 125, 126, 65_535, 65_536, LARGEST])
async def test_messages_of_every_length_come_back(server: HttpServer, size: int) -> None:
    async with connect(_url(server), compression=None) as client:
        for message in ("é" * (size // 2), b"\x00\xff" * (size // 2)):
            await client.send(message)
            assert await asyncio.wait_for(client.recv(), DEADLINE_S) == message
        assert (server.streams, server.inflight) == (1, 0)


async def test_fragments_are_joined_and_pings_between_them_answered(server: HttpServer) -> None:
    async with connect(_url(server), compression=None) as client:

        async def parts() -> AsyncIterator[str]:
            yield "one "
            await asyncio.wait_for(await client.ping(), DEADLINE_S)
            yield "two"

        await client.send(parts())
        assert await asyncio.wait_for(client.recv(), DEADLINE_S) == "one two"


async def test_what_is_too_large_is_refused(server: HttpServer) -> None:
    async with connect(_url(server), compression=None) as client:
        await client.send(b"x" * (LARGEST + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(client.recv(), DEADLINE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(("told", "code"), [(False, 1000), (True, 1012)])
async def test_a_session_ends_by_itself_or_is_told_to_reconnect(
    server: HttpServer, told: bool, code: int
) -> None:
    async with connect(_url(server), compression=None) as client:
        if told:
            server.tell_streams(0)
        else:
            await client.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(client.recv(), DEADLINE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code
    await asyncio.wait_for(server.wait_closed(), DEADLINE_S)
    assert server.streams == 0
