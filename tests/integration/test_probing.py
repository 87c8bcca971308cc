"""One try of each kind of probe against the real thing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bumpless.common.model.probe import CommandProbe, HttpProbe
from bumpless.executor.drivers import probing
from support.prometheus import free_port

LIMIT_S = 30.0


async def test_http() -> None:
    async def answer(request: web.Request) -> web.Response:
        text = f"{request.method} {request.headers.get('X-Test', '')} {await request.text()}"
        return web.Response(status=int(request.query["status"]), text=text)

    app = web.Application()
    app.router.add_route("*", "/", answer)
    server = TestServer(app)
    await server.start_server()
    url = str(server.make_url("/"))

    async def tried(answered: int, **fields: Any) -> probing.Outcome:
        probe = HttpProbe.model_validate({"url": f"{url}?status={answered}", **fields})
        return await probing.http(probe, LIMIT_S)

    assert (await tried(200)).ok
    assert (await tried(503)).detail == "status 503"
    assert (await tried(503, status=[200, 503])).ok
    full = {"method": "POST", "headers": {"X-Test": "yes"}, "body": "hello"}
    assert (await tried(200, contains="POST yes hello", **full)).ok
    assert (await tried(200, contains="goodbye", **full)).detail == "no 'goodbye' in the answer"
    await server.close()
    gone = await tried(200)
    assert not gone.ok
    assert "onnect" in gone.detail


async def test_tcp() -> None:
    server = TestServer(web.Application())
    await server.start_server()
    assert (await probing.tcp(f"127.0.0.1:{server.port}", LIMIT_S)).ok
    await server.close()
    refused = await probing.tcp(f"127.0.0.1:{free_port()}", LIMIT_S)
    assert not refused.ok
    assert "refused" in refused.detail or "onnect" in refused.detail


@pytest.mark.parametrize(
    ("program", "reads", "ok", "value", "detail"),
    [
        ("pass", "exit", True, None, ""),
        ("raise SystemExit(3)", "exit", False, None, "exited with status 3"),
        ("print('rows:'); print(42.5)", "number", True, 42.5, ""),
        ("print('many')", "number", False, None, "found 'many'"),
        ("pass", "number", False, None, "found ''"),
    ],
)
async def test_commands(
    tmp_path: Path, program: str, reads: str, ok: bool, value: float | None, detail: str
) -> None:
    argv = (sys.executable, "-c", program)
    probe = CommandProbe.model_validate({"argv": argv, "reads": reads})
    found = await probing.command(probe, argv, {}, tmp_path, LIMIT_S, tmp_path / "log")
    assert (found.ok, found.value) == (ok, value), found
    assert detail in found.detail


async def test_a_command_that_hangs_or_is_not_there(tmp_path: Path) -> None:
    probe = CommandProbe(argv=("sleep", "60"))
    slow = await probing.command(probe, probe.argv, {}, tmp_path, 0.2, tmp_path / "log")
    assert not slow.ok
    assert "still running" in slow.detail
    none = await probing.command(probe, ("./nothing-there",), {}, tmp_path, LIMIT_S, tmp_path / "log")
    assert not none.ok
    assert none.detail
