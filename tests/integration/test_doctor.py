"""`bumpless doctor` at a real broker and a real Redis: what was made wrong is found, and nothing else is."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
import redis
from nats.js import api

from bumpless.cli.control_commands import generate_keys
from bumpless.cli.doctor_checks import certificates
from bumpless.cli.doctor_facts import State
from bumpless.cli.doctor_looking import Where, look
from bumpless.cli.home import Home
from bumpless.common.access.entry import Entry
from bumpless.common.contract import events as e
from bumpless.common.model.fleet import Node
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.cancelling import cancelled
from bumpless.common.shell.state import lease_key
from bumpless.common.shell.topology import DURABLES, ensure_topology
from support.command_check import check
from support.command_table import Run
from support.fleet_lab import run_cli
from support.servers import NatsServer
from support.stores import certificate

LEASED = ("planner", "health-gate", "rollback", "alerts")


class Site:
    """A deployment that is well, as far as a doctor sees."""

    def __init__(self, home: Home, nats_url: str, redis_url: str, connection: Connection) -> None:
        self.home, self.connection = home, connection
        self._nats_url, self._redis_url = nats_url, redis_url
        self.redis = redis.Redis.from_url(redis_url)

    async def wrong(self, *words: str) -> dict[str, dict[str, Any]]:
        """What is wrong, by check."""
        command = (
            "-o",
            "json",
            "--nats",
            self._nats_url,
            "doctor",
            "--redis",
            self._redis_url,
            "--listen",
            "3",
        )
        ended = await run_cli(self.home, *command, *words)
        found = json.loads(ended.out)
        wrong = {row["check"]: row for row in found if row["state"] == "wrong"}
        check("doctor", Run(" ".join(words), 1 if wrong else 0), ended.code, ended.out, ended.err)
        return wrong

    async def observed(self, name: str, **more: Any) -> None:
        now = clock.now()
        node = Node(
            **{
                "name": name,
                "address": "10.0.0.1",
                "observed_at": now,
                "identity": "i1",
                "executor": "pid 1",
                **more,
            }
        )
        await self.connection.publish(e.NodeObserved(id=clock.fresh_id(), at=now, node=node), source="test")


@pytest_asyncio.fixture
async def site(tmp_path: Path, nats_url: str, redis_url: str) -> AsyncIterator[Site]:
    home = Home(tmp_path / "home")
    generate_keys(home)
    connection = await Connection.connect(nats_url, name="test")
    await ensure_topology(connection)
    found = Site(home, nats_url, redis_url, connection)
    for name in LEASED:
        found.redis.set(lease_key(name), "somebody")
    asking = [asyncio.create_task(_ask(connection, one.name, one.stream.value)) for one in DURABLES]
    await found.observed("web-1")
    yield found
    await asyncio.gather(*map(cancelled, asking))
    found.redis.close()
    await connection.close()


async def _ask(connection: Connection, name: str, stream: str) -> None:
    """As a service that works."""
    sub = await connection.js.pull_subscribe_bind(name, stream)
    while True:
        with contextlib.suppress(TimeoutError):
            for message in await sub.fetch(1, timeout=5):
                await message.ack()


async def test_a_deployment_that_is_well(site: Site) -> None:
    assert await site.wrong() == {}


async def test_what_is_wrong_with_broker_store_and_nodes_is_said(site: Site) -> None:
    site.redis.config_set("appendfsync", "everysec")
    site.redis.delete(lease_key("planner"))
    info = await site.connection.js.stream_info("OPS")
    await site.connection.js.update_stream(api.StreamConfig(**{**vars(info.config), "max_age": 2 * 86_400.0}))
    (site.home.keys / "deploy.key").chmod(0o644)
    site.home.trust.write_text(site.home.trust.read_text().replace('"release"', '"waiver"'))
    parked = e.MessageParked(
        id=clock.fresh_id(),
        at=clock.now(),
        service="planner",
        stream="EVT",
        subject="evt.web-1.step-finished.forward",
        stream_sequence=1,
        reason="expected a JSON message",
        body=b"x",
    )
    await site.connection.publish(parked, source="planner")
    await site.observed("web-2", observed_at=clock.now().replace(year=2020))

    wrong = await site.wrong("--ops", "planner=http://127.0.0.1:1")
    assert wrong["state store's disk"]["found"] == "appendfsync everysec"
    assert wrong["service planner"]["found"] == "nobody holds its lease"
    assert wrong["stream OPS"]["found"] == "max_age=172800.0 (declared: 7776000.0)"
    assert "mode 0644" in wrong["deploy key"]["found"]
    assert wrong["parked by planner"]["found"].startswith("1 messages")
    assert wrong["process planner"]["found"] == "no answer on its port"
    assert {"node web-2", "clock of web-2", "release key"} < wrong.keys()
    assert len(wrong) == 9, sorted(wrong)


async def test_two_executors_under_one_name_and_two_control_planes_at_one_broker(site: Site) -> None:
    async def speaking() -> None:
        while True:
            for number in ("1", "2"):
                await site.observed("web-1", identity=f"i{number}", executor=f"pid {number}")
            await asyncio.sleep(0.3)

    others = [
        asyncio.create_task(speaking()),
        asyncio.create_task(_ask(site.connection, "planner", "OPS")),
    ]
    try:
        wrong = await site.wrong()
    finally:
        await asyncio.gather(*map(cancelled, others))
    assert "pid 1 (i1) | pid 2 (i2)" in wrong["node web-1"]["found"]
    assert wrong["one control plane"]["found"] == "several processes work as planner"


async def test_certificates_that_end_soon_are_told(tmp_path: Path) -> None:
    _, authority = certificate(tmp_path)  # good for two days
    more = tmp_path / "tls.conf"
    more.write_text(f'tls {{ cert_file: "{authority}", key_file: "{tmp_path / "tls.key"}" }}\n')
    with NatsServer(tmp_path / "nats", include=more) as server:
        entry = Entry(server.url.replace("tls://", "nats://"), ca=authority)
        facts = await look(Where(entry, listen_s=0))
        assert facts.broker.reached == ""
        mine, theirs = certificates(facts)
        assert (mine.state, theirs.state) == (State.WRONG, State.WRONG)
        assert (mine.found, theirs.found) == ("it ends in 48 h", "it ends in 48 h")
        assert theirs.check.startswith("certificate of the broker at 127.0.0.1:")

        (tmp_path / "other").mkdir()
        _, stranger = certificate(tmp_path / "other")
        facts = await look(Where(Entry(entry.url, ca=stranger), listen_s=0))
        assert "not reached" in facts.broker.reached
        assert "no authority we trust vouches for" in list(certificates(facts))[-1].found


async def test_neither_broker_nor_store_is_there(tmp_path: Path) -> None:
    home = Home(tmp_path)
    generate_keys(home)
    command = ("--nats", "nats://127.0.0.1:1", "doctor", "--redis", "redis://127.0.0.1:1/0", "--listen", "0")
    ended = await run_cli(home, "-o", "json", *command)
    found = {row["check"]: row for row in json.loads(ended.out)}
    assert ended.code == 1
    assert "expected a NATS server" in found["broker"]["found"]
    assert "not reached" in found["state store"]["found"]
