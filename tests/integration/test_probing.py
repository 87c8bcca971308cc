"""One try of each kind of probe against the real thing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bumpless.cli.embedded import free_port
from bumpless.cli.publishing import read_release
from bumpless.cli.scenarios import read_scenario
from bumpless.common.errors import Refused
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.probe import CommandProbe, HttpProbe
from bumpless.common.model.scenario import Call, Expected
from bumpless.executor.drivers import probing, scenarios

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


ORDER = """
base: http://{node.address}:1
calls:
  - {name: order, method: POST, path: /orders, json: {item: tea, day: 2026-01-01}, expect: {status: [201]}, capture: {id: order.id}}
  - name: look
    path: /orders/{var.id}
    headers: {X-Order: "{var.id}"}
    expect: {contains: tea, json: {order.item: tea, order.id: 7, lines.0: "{var.id}"}}
"""


async def test_scenarios(tmp_path: Path) -> None:
    async def order(request: web.Request) -> web.Response:
        assert await request.json() == {"item": "tea", "day": "2026-01-01"}
        answer = web.json_response({"order": {"id": 7}}, status=201)
        answer.set_cookie("session", "s1")
        return answer

    async def look(request: web.Request) -> web.Response:
        assert request.headers["X-Order"] == request.match_info["id"] == "7"
        assert request.cookies["session"] == "s1"
        return web.json_response({"order": {"id": 7, "item": item}, "lines": ["7"]})

    item = "tea"
    app = web.Application()
    app.router.add_post("/orders", order)
    app.router.add_get("/orders/{id}", look)
    server = TestServer(app)
    await server.start_server()
    (tmp_path / "order.yaml").write_text(ORDER)
    read = read_scenario(tmp_path / "order.yaml")
    scenario = read.model_copy(update={"base": str(server.make_url("/")).rstrip("/")})
    assert await scenarios.play(scenario, LIMIT_S) == probing.Outcome(True)
    item = "tea, but hot"
    found = await scenarios.play(scenario, LIMIT_S)
    assert found.detail == 'call 2 (look): order.item is "tea, but hot", expected "tea"'
    nowhere = scenario.model_copy(update={"calls": (Call(path="/none", expect=Expected(status=(200, 204))),)})
    assert (await scenarios.play(nowhere, LIMIT_S)).detail == "call 1: status 404, expected 200 or 204"
    await server.close()
    assert "call 1 (order): " in (await scenarios.play(scenario, LIMIT_S)).detail


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("base: http://h:1\ncalls: []", "calls"),
        ("base: here\ncalls: [{path: /}]", "expected a URL"),
        ("base: http://h:1\ncalls: [{path: '/{var.id}'}]", "captured by an earlier one"),
        ("base: http://h:1\ncalls: [{path: /, body: a, json: {}}]", "expected body or json"),
        ("base: http://h:1\ncalls: [{path: /, expects: {}}]", "Extra inputs"),
        ("{", "expected YAML"),
    ],
)
def test_a_scenario_file_that_cannot_work_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(Refused, match=fault):
        read_scenario(tmp_path / "bad.yaml")
    with pytest.raises(Refused, match=r"nothing\.yaml"):
        read_scenario(tmp_path / "nothing.yaml")


def test_a_release_carries_its_scenarios(tmp_path: Path) -> None:
    (tmp_path / "order.yaml").write_text(ORDER)
    (tmp_path / "release.yaml").write_text(
        "version: 1.0.0\ngate: {probes: [{name: order, scenario_file: order.yaml}], rules: [{rule: probe, probe: order}]}\n"
        "components: {api: {artifact: tree, run: {command: [x]}}}\n"
    )
    gate = read_release(tmp_path / "release.yaml").gate
    assert gate is not None
    assert gate.probes[0].scenario == read_scenario(tmp_path / "order.yaml")
    assert gate.probes[0].scenario_file is None
    assert GateSpec.model_validate_json(gate.model_dump_json()) == gate
