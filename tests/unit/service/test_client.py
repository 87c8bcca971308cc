"""The client against servers that close connections at the worst moment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from bumpless.service.client import Client, RequestFailed, Upstream

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Start = Callable[[Serve], Awaitable[str]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[asyncio.Server] = []

    async def started(serve: Serve) -> str:
        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except asyncio.IncompleteReadError:
                pass
            finally:
                writer.close()

        servers.append(await asyncio.start_server(guarded, "127.0.0.1", 0))
        host, port = servers[-1].sockets[0].getsockname()
        return f"{host}:{port}"

    yield started
    for server in servers:
        server.close()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    made = Client(timeout_s=2.0)
    yield made
    made.close()


class Counting:
    """Answers `each` requests on a connection, then closes it when the next one has arrived."""

    def __init__(self, each: int) -> None:
        self.connections, self._each = 0, each

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for _ in range(self._each):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
        await reader.readuntil(b"\r\n\r\n")


async def test_connections_are_kept(start: Start, client: Client) -> None:
    serve = Counting(10)
    address = await start(serve)
    assert [(await client.get(address, "/")).body for _ in range(10)] == [b"ok"] * 10
    assert serve.connections == 1


async def test_a_stale_connection_is_replaced_once(start: Start, client: Client) -> None:
    serve = Counting(1)
    address = await start(serve)
    assert (await client.get(address, "/")).status == 200
    assert (await client.get(address, "/")).status == 200
    assert serve.connections == 2


async def test_what_may_not_be_repeated_is_not(start: Start, client: Client) -> None:
    serve = Counting(1)
    address = await start(serve)
    await client.post(address, "/", {})
    with pytest.raises(RequestFailed, match="closed"):
        await client.post(address, "/", {})
    assert serve.connections == 1


async def test_a_fresh_connection_is_not_tried_again(start: Start, client: Client) -> None:
    serve = Counting(0)
    address = await start(serve)
    with pytest.raises(RequestFailed) as failed:
        await client.get(address, "/")
    assert failed.value.reason == "closed"
    assert serve.connections == 1


async def test_connection_close_is_honoured(start: Start, client: Client) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(False)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        ended[-1] = await reader.read() == b""

    ended: list[bool] = []
    address = await start(serve)
    for _ in range(3):
        await client.get(address, "/")
    assert len(ended) == 3


async def test_chunked_and_endless_answers(start: Start, client: Client) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")

    address = await start(serve)
    assert (await client.get(address, "/")).body == b"ab"
    assert (await client.get(address, "/")).body == b"to the end"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "closed"),
        (b"HTTP/1.1 200", "closed"),
        (b"SSH-2.0\r\n\r\n", "malformed"),
    ],
)
async def test_half_an_answer_is_a_failure(start: Start, client: Client, answer: bytes, reason: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    with pytest.raises(RequestFailed) as failed:
        await client.get(await start(serve), "/")
    assert failed.value.reason == reason


async def test_timeout_and_refusal(start: Start, client: Client) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    address = await start(serve)
    with pytest.raises(RequestFailed) as failed:
        await client.get(address, "/", timeout_s=0.05)
    assert failed.value.reason == "timeout"
    with pytest.raises(RequestFailed) as failed:
        await client.get("127.0.0.1:1", "/")
    assert failed.value.reason == "connect"


async def test_upstream_asks_the_near_instance_first_then_the_others(start: Start, client: Client) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    bad, good = await start(broken), await start(Counting(100))
    failures: list[tuple[str, str]] = []
    addresses = ["127.0.0.2:1", bad, good]
    upstream = Upstream(
        client, addresses, prefer_host="127.0.0.2", on_failure=lambda *what: failures.append(what)
    )
    assert [upstream.order()[0] for _ in range(4)] == ["127.0.0.2:1"] * 4
    assert {upstream.order()[1] for _ in range(4)} == {bad, good}
    for _ in range(4):
        assert (await upstream.get("/")).body == b"ok"
    assert failures.count(("127.0.0.2:1", "connect")) == 4
    assert failures.count((bad, "status")) == 2
    assert (await Upstream(client, [bad]).get("/")).status == 500
    with pytest.raises(RequestFailed):
        await Upstream(client, ["127.0.0.1:1"]).get("/")
