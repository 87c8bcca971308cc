"""The shipped profiles with the real programs, replaced while clients of every temper are served.

Asserted is what docs/hooks.md promises for each; what else was seen is printed (`pytest -s`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import redis.asyncio as redis_client

from bumpless.common.contract.base import Digest
from bumpless.common.model.hooks import Profile
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Driver, Run, Timing
from bumpless.executor.drivers.hooks.switch import HooksSwitch
from bumpless.executor.ports import Launch
from bumpless.executor.record import Instance
from support.mixed_load import TEMPERS, MixedLoad, version_at
from support.servers import RedisServer
from support.waiting import eventually

PROGRAMS = Path(__file__).with_name("programs")
READY_S = 60.0
LAME_DUCK_S = 5.0
"""Much longer than idle clients pause, even on a machine that is busy; none of the programs waits it out for nothing."""
DRAIN_S = 90.0
"""A process of Celery's pool waits up to 30 s for its last word to be read, which now and then nobody does."""
SWITCHES = 3
CONCURRENCY = 2
"""Tasks that a Celery worker has at work at a time."""


class Node:
    """One node with one component. Trees are made as a release would bring them."""

    def __init__(self, home: Path) -> None:
        self.home = home / "components" / "web"
        self.switch = HooksSwitch("node-a", home / "run", home / "components")
        for name in ("versions", "state", "log"):
            (self.home / name).mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.started: list[Instance] = []

    def tree(self, version: str) -> Path:
        path = self.home / "versions" / version
        path.mkdir(exist_ok=True)
        return path

    async def start(
        self, version: str, profile: str, command: Sequence[str], *, listens: bool = True, **env: str
    ) -> Instance:
        """An instance that is ready."""
        run = Run(
            driver=Driver.HOOKS,
            profile=Profile.model_validate(profile),
            command=tuple(command),
            listen={"http": f"tcp://127.0.0.1:{self.port}"} if listens else {},
            env=env,
            timing=Timing(ready_timeout_s=READY_S, lame_duck_s=LAME_DUCK_S, drain_timeout_s=DRAIN_S),
        )
        digest = Digest("sha256:" + version.encode().hex().ljust(64, "0"))
        target = Target(
            component="web", version=version, root=digest, artifact=digest, artifact_size=1, run=run
        )
        listeners = await self.switch.listen("web", run)
        instance = Instance(id=f"{version}-{len(self.started)}", target=target, listeners=listeners)
        launch = Launch("web", instance, self.tree(version), self.home / "state", self.home / "log")
        started = await self.switch.start(launch)
        self.started.append(started)
        await self.switch.wait_ready(started, READY_S)
        return started

    async def retire(self, old: Instance) -> None:
        await self.switch.pause(old)
        assert await self.switch.drained(old, LAME_DUCK_S, DRAIN_S) == ()
        await self.switch.stop(old, DRAIN_S)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    async with asyncio.timeout(350):
        try:
            yield made
        finally:
            await asyncio.gather(*(made.switch.kill(i) for i in made.started))
            made.switch.close()


def needs(program: str, package: str) -> str:
    """Its path; the test is skipped without it."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"needs {program}: apt-get install {package}")
    return found


async def replaced_under_load(
    node: Node, profile: str, command: Sequence[str], *, slow_path: str = "/", write: str = "", text: str = ""
) -> MixedLoad:
    """`SWITCHES` switches; `text`, with VERSION and PORT filled in, is the file `write` of every tree."""
    versions = [f"v{n}" for n in range(SWITCHES + 1)]
    for version in versions:
        if write:
            filled = text.replace("VERSION", version).replace("PORT", str(node.port))
            (node.tree(version) / write).write_text(filled)
    serving = await node.start(versions[0], profile, command)
    async with MixedLoad(node.port, slow_path=slow_path) as load:
        for version in versions[1:]:
            await load.answered(10)
            fresh = await node.start(version, profile, command)
            await load.answered(5)
            await node.retire(serving)
            serving = fresh
            assert await version_at(node.port) == version
        await load.answered(10)
    print(f"\n{profile}: failed of all, {SWITCHES} switches: {load.seen}")
    return load


def nothing_lost(load: MixedLoad, *tempers: str) -> None:
    lost = {name: load.seen.failed[name] for name in tempers if load.seen.failed[name]}
    assert not lost, (str(load.seen), load.seen.failures[:10])


def at_most_one_each(load: MixedLoad, *tempers: str) -> None:
    """No outage: a client loses the request that meets the end of its connection, and the next is answered."""
    for name in tempers:
        assert load.seen.failed[name] <= TEMPERS[name] * SWITCHES, (str(load.seen), load.seen.failures[:10])


async def test_gunicorn(node: Node) -> None:
    pytest.importorskip("gunicorn")
    app = ("--chdir", str(PROGRAMS), "wsgi_app:app")
    command = ("python3", "-m", "gunicorn", *app, "--workers", "2", "--threads", "4", "--keep-alive", "30")
    load = await replaced_under_load(node, "gunicorn", command, slow_path="/slow")
    nothing_lost(load, "fresh", "busy", "checking", "naive")


async def test_uvicorn(node: Node) -> None:
    pytest.importorskip("uvicorn")
    command = ("python3", "-m", "uvicorn", "--app-dir", str(PROGRAMS), "asgi_app:app")
    load = await replaced_under_load(node, "uvicorn", command, slow_path="/slow")
    # Its own faults lose single requests.
    at_most_one_each(load, *TEMPERS)


NGINX_CONF = """
worker_processes 2;
error_log stderr;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
  keepalive_requests 1000000;
  server { listen 127.0.0.1:PORT; location / { return 200 "VERSION"; } }
}
"""


async def test_nginx(node: Node) -> None:
    nginx = needs("nginx", "nginx-light")
    command = (nginx, "-p", "{state}", "-c", "{tree}/nginx.conf")
    load = await replaced_under_load(node, "nginx", command, write="nginx.conf", text=NGINX_CONF)
    nothing_lost(load, "fresh")
    # It closes idle connections at once, whether or not a request is on its way.
    at_most_one_each(load, "busy", "checking", "naive")


HAPROXY_CFG = """
global
  maxconn 500
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option idle-close-on-response
frontend web
  bind "fd@${BUMPLESS_FD_HTTP}"
  http-request return status 200 content-type text/plain string "VERSION"
"""


async def test_haproxy(node: Node) -> None:
    haproxy = needs("haproxy", "haproxy")
    command = (haproxy, "-f", "haproxy.cfg")
    load = await replaced_under_load(node, "haproxy", command, write="haproxy.cfg", text=HAPROXY_CFG)
    nothing_lost(load, "fresh", "busy", "checking", "naive")


async def test_node_cluster(node: Node) -> None:
    needs("node", "nodejs")
    load = await replaced_under_load(
        node, "node-cluster", ("node", str(PROGRAMS / "cluster.js")), slow_path="/slow"
    )
    nothing_lost(load, "fresh", "busy", "checking", "naive")


@pytest.mark.timeout(400)
async def test_celery(node: Node) -> None:
    pytest.importorskip("celery")
    with RedisServer() as broker:
        await no_task_is_lost(node, broker)


async def no_task_is_lost(node: Node, broker: RedisServer) -> None:
    command = ("python3", "-m", "celery", "--workdir", str(PROGRAMS), "-A", "celery_app", "worker")
    options = (
        "--concurrency",
        str(CONCURRENCY),
        "--loglevel",
        "INFO",
        "--without-gossip",
        "--without-mingle",
    )
    redis = redis_client.Redis.from_url(broker.url)
    done = lambda: redis.llen("done")  # noqa: E731

    async def start(version: str) -> Instance:
        return await node.start(
            version, "celery", (*command, *options), listens=False, TASKS_REDIS=broker.url
        )

    sent = 0

    async def send(count: int) -> None:
        nonlocal sent
        await asyncio.to_thread(_send, broker.url, range(sent, sent + count))
        sent += count

    serving = await start("v0")
    for n in range(1, SWITCHES + 1):
        await send(20)
        await eventually(done, lambda count: count >= sent - 15, "the first tasks done", limit_s=60)
        fresh = await start(f"v{n}")
        await send(20)
        await node.retire(serving)
        serving = fresh
    await eventually(done, lambda count: count >= sent, "every task done", limit_s=60)
    await node.retire(serving)
    rows = [row.decode().split() for row in await redis.lrange("done", 0, -1)]
    counts = Counter(number for number, _ in rows)
    assert set(counts) == {str(n) for n in range(sent)}
    # Seen on a busy machine, of what had just ended as the worker ended.
    twice = sum(counts.values()) - sent
    assert twice <= (SWITCHES + 1) * CONCURRENCY
    assert await redis.hlen("unacked") == 0
    by_version = Counter(version for _, version in rows)
    print(f"\ncelery: {sent} tasks, {twice} of them twice, {SWITCHES} switches, by version {by_version}")
    await redis.aclose()


def _send(url: str, numbers: range) -> None:
    from celery import Celery

    app = Celery(broker="redis+socket" + url.removeprefix("unix"))
    with app.connection_for_write() as connection:
        for number in numbers:
            app.send_task("work", (number,), connection=connection)
