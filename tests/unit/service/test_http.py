"""The HTTP server on the wire: framing, limits and pausing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from bumpless.service.contract import bind
from bumpless.service.http import HttpError, HttpServer, Limits, Request, Response

LIMITS = Limits(head=1024, body=64, idle_s=5.0, receive_s=0.2)
Talk = Callable[[bytes], Awaitable[bytes]]


async def handle(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one,"
        yield b"two"

    match request.path:
        case "/echo":
            return Response(200, request.body)
        case "/look":
            return Response.json(
                {"path": request.path, "query": dict(request.query), "method": request.method}
            )
        case "/stream":
            return Response(200, parts())
        case "/teapot":
            raise HttpError(418, "short and stout")
        case "/json":
            return Response.json(request.json())
        case "/broken":
            raise RuntimeError("a bug")
        case "/none":
            return Response(204)
    return Response(404)


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    made = HttpServer([bind("127.0.0.1:0")], handle, limits=LIMITS)
    made.accept()
    yield made
    made.close_listeners(sweep=False)
    await made.abort()


@pytest.fixture
def talk(server: HttpServer) -> Talk:
    async def exchange(sent: bytes) -> bytes:
        """Sends, ends the sending half and returns everything that comes back."""
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        return answer

    return exchange


def post(path: str, rest: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: h\r\n{rest}".encode()


async def test_requests_on_one_connection_are_answered_in_order(talk: Talk) -> None:
    answer = await talk(
        post("/echo", "Content-Length: 1\r\n\r\na") + post("/echo", "Content-Length: 1\r\n\r\nb")
    )
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.index(b"\r\n\r\na") < answer.index(b"\r\n\r\nb")


async def test_chunked_body(talk: Talk) -> None:
    chunks = "4;x=y\r\nWiki\r\n5\r\npedia\r\n0\r\nTrailer: t\r\n\r\n"
    assert (await talk(post("/echo", f"Transfer-Encoding: chunked\r\n\r\n{chunks}"))).endswith(
        b"\r\n\r\nWikipedia"
    )


async def test_streamed_answer(talk: Talk) -> None:
    answer = await talk(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n4\r\none,\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in answer


async def test_streamed_answer_to_an_old_client_ends_with_the_connection(talk: Talk) -> None:
    answer = await talk(b"GET /stream HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"Connection: close\r\n\r\none,two")


async def test_target_is_decoded(talk: Talk) -> None:
    answer = await talk(b"GET /lo%6fk?a=1%202&b= HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.endswith(b'{"path":"/look","query":{"a":"1 2","b":""},"method":"GET"}')


async def test_head_and_no_content_have_no_body(talk: Talk) -> None:
    answer = await talk(b"HEAD /look HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: " in answer
    assert b"Content-Length" not in await talk(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")


async def test_client_that_asks_gets_the_go_ahead(server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection(*server.addresses[0])
    writer.write(post("/echo", "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ok")
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /a\nb HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 431),
        (post("/echo", "Content-Length: 65\r\n\r\n"), 413),
        (post("/echo", "Content-Length: -1\r\n\r\n"), 400),
        (post("/echo", "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400),
        (post("/echo", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (post("/echo", "Transfer-Encoding: gzip\r\n\r\n"), 501),
        (post("/echo", "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400),
        (post("/echo", "Transfer-Encoding: chunked\r\n\r\n41\r\n"), 413),
        (post("/echo", "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"), 400),
        (post("/json", "Content-Length: 1\r\n\r\n{"), 400),
        (b"GET /%ff HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /teapot HTTP/1.1\r\nHost: h\r\n\r\n", 418),
        (b"GET /broken HTTP/1.1\r\nHost: h\r\n\r\n", 500),
    ],
)
async def test_bad_requests(talk: Talk, server: HttpServer, sent: bytes, status: int) -> None:
    assert (await talk(sent)).startswith(f"HTTP/1.1 {status} ".encode())
    assert server.inflight == 0


async def test_a_head_that_does_not_come_is_refused(server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection(*server.addresses[0])
    writer.write(b"GET / HT")
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_paused_server_marks_answers_at_the_time_they_are_written() -> None:
    release, entered = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        entered.set()
        await release.wait()
        return Response()

    server = HttpServer([bind("127.0.0.1:0")], slow)
    server.accept()
    reader, writer = await asyncio.open_connection(*server.addresses[0])
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    await entered.wait()
    assert (server.inflight, server.connections) == (1, 1)
    server.pause()
    release.set()
    async with asyncio.timeout(5):
        assert b"Connection: close" in await reader.read()
        writer.close()
        await server.wait_closed()
    server.close_listeners(sweep=False)


async def test_last_sweep_serves_what_waits_in_an_own_backlog() -> None:
    server = HttpServer([bind("127.0.0.1:0")], handle, limits=LIMITS)
    peers = [await asyncio.open_connection(*server.addresses[0]) for _ in range(100)]
    server.close_listeners(sweep=True)
    for _, writer in peers:
        writer.write(post("/echo", "Content-Length: 2\r\n\r\nhi"))
    async with asyncio.timeout(5):
        answers = [await reader.read() for reader, _ in peers]
        for _, writer in peers:
            writer.close()
        await server.wait_closed()
    assert all(answer.endswith(b"hi") for answer in answers)


async def test_closing_idle_connections_spares_a_request_not_read_yet() -> None:
    server = HttpServer([bind("127.0.0.1:0")], handle, limits=LIMITS)
    server.accept()
    peers = [await asyncio.open_connection(*server.addresses[0]) for _ in range(2)]
    async with asyncio.timeout(5):
        for reader, one in peers:
            one.write(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        (busy, writer), (idle, _) = peers
        writer.get_extra_info("socket")._sock.send(post("/echo", "Content-Length: 2\r\n\r\nhi"))
        server.pause()
        server.close_idle()  # the event loop has had no turn to read what was just sent
        assert (await busy.read()).endswith(b"hi")
        assert await idle.read() == b""
    for _, one in peers:
        one.close()
    server.close_listeners(sweep=False)
    await server.abort()
