"""The HTTP client of a Prometheus against servers that misbehave: said in words, never a crash, never health."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bumpless.cli.embedded import free_port
from bumpless.common.model.metric_source import PrometheusFrom
from bumpless.common.shell import clock
from bumpless.health_gate.sources.prometheus import client as under_test
from bumpless.health_gate.sources.prometheus.answers import BadAnswer
from bumpless.health_gate.sources.prometheus.client import Away, Prometheus, PrometheusAccess
from bumpless.health_gate.sources.prometheus.source import PrometheusSource
from bumpless.health_gate.window import Member
from support.waiting import comes_true

EMPTY = '{"status":"success","data":{"resultType":"matrix","result":[]}}'
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Answer], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(answer: Answer) -> str:
        app = web.Application()
        app.router.add_post("/api/v1/query", answer)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return str(servers[-1].make_url("")).rstrip("/")

    yield start
    for server in servers:
        await server.close()


async def asked(url: str, **access: object) -> bytes:
    found = Prometheus(PrometheusAccess.model_validate({"url": url, "timeout_s": 30, **access}))
    try:
        return await found.query("up[1m]", clock.now())
    finally:
        await found.close()


def fixed(status: int, text: str = "", **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (fixed(503), "answered 503"),
        (fixed(401), "does not accept the credentials"),
        (fixed(404), "not the Prometheus API"),
        (fixed(302, Location="http://127.0.0.1:1/"), "not the Prometheus API"),
    ],
)
async def test_it_is_away(serve: Serve, answer: Answer, text: str) -> None:
    with pytest.raises(Away, match=text):
        await asked(await serve(answer))


async def test_it_is_not_there() -> None:
    with pytest.raises(Away, match="connect"):
        await asked(f"http://127.0.0.1:{free_port()}")


async def test_it_does_not_answer_in_time(serve: Serve) -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    with pytest.raises(Away, match=r"no answer within 0\.2 s"):
        await asked(await serve(answer), timeout_s=0.2)


async def test_an_answer_without_end_is_not_read_to_its_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 100_000)

    monkeypatch.setattr(under_test, "MAX_BYTES", 1 << 20)
    with pytest.raises(BadAnswer, match="more than 1 MiB"):
        await asked(await serve(answer))


async def test_credentials_are_those_of_the_settings(serve: Serve, tmp_path: Path) -> None:
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(text=EMPTY)

    url = await serve(answer)
    (tmp_path / "secret").write_text("s3cret\n")
    await asked(url)
    await asked(url, token_file=tmp_path / "secret")
    await asked(url, user="ann", password_file=tmp_path / "secret")
    assert seen == [None, "Bearer s3cret", "Basic " + base64.b64encode(b"ann:s3cret").decode()]


async def test_a_source_tries_again_after_every_kind_of_trouble(serve: Serve) -> None:
    answers = [
        fixed(503),
        fixed(200, "<html>"),
        fixed(200, EMPTY[:-1] + ',"warnings":["a store is away"]}'),
        fixed(422, '{"status":"error","errorType":"execution","error":"too many samples"}'),
        fixed(200, EMPTY),
    ]
    met: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)

    spec = PrometheusFrom(url=await serve(answer), scrape_interval_s=0.1)
    access = PrometheusAccess(url=spec.url or "", timeout_s=30)
    members = [Member("n1", "api")]
    source = PrometheusSource(Prometheus(access), spec, members, ["a"], 0.05, clock.now)
    await source.start(clock.now())

    def over() -> bool:
        if source.trouble not in met[-1:]:
            met.append(source.trouble)
        return source.ready and not source.trouble

    await comes_true(over, "the source to get over it")
    await source.stop()
    assert len(source.window) == 0
    for text in ("503", "expected JSON", "a store is away", "too many samples"):
        assert any(text in one for one in met), met
