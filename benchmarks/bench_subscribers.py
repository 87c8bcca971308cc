"""What 200 browsers that watch cost the orchestration: the same rollouts with and without them, taking turns.

    make bench-subscribers

A real nats-server that syncs every write, a real Redis, planner, health gate and rollback as `bumpless up` starts them, and
one process that answers for NODES nodes as fast as it can. Browsers watch in two ways:

shared: one process has one ordered consumer of all progress, and passes it on over HTTP (server-sent events) to each. This
is how a dashboard serves browsers.
direct: every browser is a NATS connection with a consumer of its own. So the broker itself sends everything 200 times.

They run in a process of idle priority, because browsers and dashboards are on other machines. On this machine they still
slow what runs beside them, by caches and by processors that share a core; so in every rollout, also without browsers, what
is left of all processors is burnt at the same priority.

Of each rollout: steps per second of wall time, from the announcement to success, and steps per CPU second of broker, store
and services together, which a busy machine disturbs less. What is lost is the median, over rounds, of one rollout against its neighbour without
browsers. Writes `build/bench/subscribers.json`.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import nats
from aiohttp import web
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from bumpless.cli import embedded
from bumpless.cli.control_commands import generate_keys
from bumpless.cli.home import Home
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.announcing import announcement
from bumpless.common.contract.base import Digest, canonical_json, derive_id
from bumpless.common.contract.envelope import RELEASE_TYPE, Envelope
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.fleet import ComponentObserved, ComponentState, Node
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Component, Placement, Release, Run
from bumpless.common.model.rollout import rollout_id
from bumpless.common.model.strategy import Strategy
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.reading import readable
from bumpless.common.shell.topology import ensure_topology

NODES = int(os.environ.get("BENCH_NODES", "200"))
BROWSERS = int(os.environ.get("BENCH_BROWSERS", "200"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
IN_A_ROW = 3
"""Rollouts of a kind in each round."""
BATCH = 20
STATES = (("staging", 0.1), ("starting", 0.4), ("switching", 0.7), ("draining", 0.8), ("serving", 1.0))
"""What a node tells of a step, as the executor does."""
KINDS = ("without", "shared", "direct")
SERVICES = ("planner", "health-gate", "rollback")
MOST_LOST = 0.05
LIMIT_S = 300.0
TICKS = os.sysconf("SC_CLK_TCK")
OUT = Path(__file__).resolve().parent.parent / "build" / "bench" / "subscribers.json"


def root(version: str) -> Digest:
    return Digest("sha256:" + derive_id("root", version).replace("-", "").ljust(64, "0"))


def release(version: str) -> Release:
    component = Component(
        name="api",
        version=version,
        root=root(version),
        artifact=root("artifact " + version),
        artifact_size=1000,
        run=Run(command=("bin/api",)),
        strategy=Strategy(batch_size=BATCH),
        place=Placement(),
    )
    return Release(product="bench", version=version, components=(component,), max_unavailable=NODES)


class Fleet:
    """Answers for every node at once: done."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def appear(self) -> None:
        for number in range(NODES):
            await self._observed(f"node-{number}", None, 0)

    async def take(self, received: Received) -> None:
        command = wire.decode(Envelope.from_bytes(received.data).payload)
        if not isinstance(command, c.StageComponent | c.ApplyComponent):
            return
        common = {
            "at": clock.now(),
            "cause": command.id,
            "rollout": command.rollout,
            "plan_hash": command.plan_hash,
            "node": command.node,
            "component": command.component,
            "sequence": command.sequence,
        }
        if isinstance(command, c.StageComponent):
            staged = {**common, "id": derive_id(command.id, "staged"), "ok": True, "used": "present"}
            await self._tell(e.StepStaged.model_validate(staged))
            return
        for state, share in STATES:
            told = {**common, "id": derive_id(command.id, state), "state": state, "share": share}
            await self._tell(e.StepProgressed.model_validate(told))
        await self._observed(command.node, command.target, command.generation)
        finished = {
            **common,
            "id": derive_id(command.id, "finished"),
            "batch": command.batch,
            "generation": command.generation,
            "outcome": "done",
            "root": None if command.target is None else command.target.root,
            "version": None if command.target is None else command.target.version,
        }
        await self._tell(e.StepFinished.model_validate(finished))

    async def _observed(self, name: str, target: Target | None, generation: int) -> None:
        seen = ComponentObserved(
            component="api",
            state=ComponentState.ABSENT if target is None else ComponentState.SERVING,
            target=target,
            root=None if target is None else target.root,
            generation=generation,
        )
        node = Node(name=name, address="127.0.0.1", components={"api": seen}, observed_at=clock.now())
        await self._tell(e.NodeObserved(id=clock.fresh_id(), at=clock.now(), node=node))

    async def _tell(self, message: Any) -> None:
        await self._connection.publish(message, source="executor")


async def serve_fleet(url: str) -> None:
    """The process of the nodes."""
    connection = await Connection.connect(url, name="fleet")
    fleet = Fleet(connection)
    await fleet.appear()
    waiting: asyncio.Queue[Received] = asyncio.Queue()
    await connection.subscribe(subjects.commands_live("*"), waiting.put)
    print("ready", flush=True)

    async def work() -> None:
        while True:
            await fleet.take(await waiting.get())

    await asyncio.gather(*(work() for _ in range(64)))


class Audience:
    """The browsers; `shown` counts the messages that all of them were shown."""

    def __init__(self) -> None:
        self.shown = 0
        self._pages: list[web.StreamResponse] = []

    async def direct(self, url: str) -> None:
        for _ in range(BROWSERS):
            await self._follow(url, self._show)

    async def shared(self, url: str) -> None:
        app = web.Application()
        app.add_routes([web.get("/", self._page)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        self._reading = [
            asyncio.create_task(self._browse(await session.get(f"http://127.0.0.1:{port}/")))
            for _ in range(BROWSERS)
        ]
        await self._follow(url, self._pass_on)

    async def _follow(self, url: str, show: Callable[[Msg], Awaitable[None]]) -> None:
        broker = await nats.connect(url, max_reconnect_attempts=-1)
        await broker.jetstream().subscribe(
            subjects.progress_subjects(),
            stream=Stream.PROG.value,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
            cb=show,
        )

    async def _show(self, _: Msg) -> None:
        self.shown += 1

    async def _page(self, request: web.Request) -> web.StreamResponse:
        page = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await page.prepare(request)
        self._pages.append(page)
        await asyncio.Event().wait()
        return page

    async def _pass_on(self, message: Msg) -> None:
        event = b"data: " + message.data + b"\n\n"
        for page in self._pages:
            await page.write(event)

    async def _browse(self, answer: aiohttp.ClientResponse) -> None:
        async for line in answer.content:
            self.shown += line.startswith(b"data: ")


async def watch(how: str, url: str) -> None:
    """The process of the browsers; prints how many messages they have been shown, every time that a line comes in.

    With the line `hurry` it gives up its idle priority: the measurement is over, and it may catch up.
    """
    audience = Audience()
    await (audience.shared(url) if how == "shared" else audience.direct(url))
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if line.strip() == "hurry":
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        print(audience.shown, flush=True)


@contextlib.contextmanager
def no_processor_idles() -> Iterator[None]:
    """Processes of idle priority that use what nobody else wants."""
    code = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"
    burning = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


@contextlib.contextmanager
def parts(home: Home) -> Iterator[tuple[str, dict[str, int]]]:
    """The control plane; gives the broker's address and the process ids by part."""
    (home.path / "logs").mkdir(parents=True)
    generate_keys(home)
    where = embedded.layout(home, list(SERVICES))
    wanted = [
        embedded.nats_part(home, where),
        embedded.redis_part(home, where),
        *(embedded.service_part(home, where, name) for name in SERVICES),
    ]
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for part in wanted:
            with open(home.path / "logs" / part.name, "wb") as log:
                running[part.name] = subprocess.Popen(
                    part.command, env=embedded.child_env(part), cwd=home.path, stdout=log, stderr=log
                )
        yield where.nats_url, {name: process.pid for name, process in running.items()}
    finally:
        for process in reversed(running.values()):
            process.send_signal(signal.SIGKILL)
            process.wait()


@contextlib.asynccontextmanager
async def helper(*what: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of this file, from when it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *what, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            if await process.stdout.readline() != b"ready\n":
                raise SystemExit(f"expected the {what[0]} to be ready, found that it ended")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def rollout(
    connection: Connection, key: SigningKey, version: str, pids: dict[str, int]
) -> dict[str, float]:
    """Roll a version out to every node. Rates are in steps: one per node."""
    made = release(version)
    envelope = key.sign(RELEASE_TYPE, canonical_json(made.model_dump(mode="json")))
    wanted = rollout_id(made.product, made.digest, 0)
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    began = time.perf_counter()
    await connection.publish(
        announcement(made.product, made.digest, envelope, at=clock.now(), by="bench"), source="ci"
    )
    ends = [
        subjects.subject_for(kind, rollout=wanted)
        for kind in (e.RolloutSucceeded, e.RolloutFailed, e.ReleaseRefused)
    ]
    async with asyncio.timeout(LIMIT_S):
        while not (found := await connection.last(Stream.RO, ends)):  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.01)
    took = time.perf_counter() - began
    if not readable(found, e.RolloutSucceeded):
        raise SystemExit(f"expected {version} to succeed, found {found[0].data[:500]!r}")
    used = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    return {
        "steps_per_s": NODES / took,
        "steps_per_cpu_s": NODES / max(sum(used.values()), 1 / TICKS),
        **{f"{name}_cpu_s": round(seconds, 2) for name, seconds in used.items()},
    }


async def measured(url: str, home: Home, pids: dict[str, int]) -> dict[str, Any]:
    connection = await Connection.connect(url, name="bench")
    await ensure_topology(connection)
    key = SigningKey.load(home.release_key)
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    async with helper("fleet", url):
        await rollout(connection, key, "warm-up", pids)
        for number in range(ROUNDS):
            turn = number % len(KINDS)
            for kind in (*KINDS[turn:], *KINDS[:turn]):
                versions = [f"v{number}-{kind}-{i}" for i in range(IN_A_ROW)]
                if kind == "without":
                    runs[kind] += [await rollout(connection, key, version, pids) for version in versions]
                    continue
                async with helper("watch", kind, url) as browsers:
                    before = await _shown(browsers)
                    runs[kind] += [await rollout(connection, key, version, pids) for version in versions]
                    await _all_shown(browsers, before)
    await connection.close()
    return runs


async def _shown(browsers: asyncio.subprocess.Process, word: bytes = b"") -> int:
    assert browsers.stdin is not None
    assert browsers.stdout is not None
    browsers.stdin.write(word + b"\n")
    return int(await browsers.stdout.readline())


async def _all_shown(browsers: asyncio.subprocess.Process, before: int) -> None:
    """Waits until every browser has been shown the last state of every step at least."""
    async with asyncio.timeout(LIMIT_S):
        while await _shown(browsers, b"hurry") - before < IN_A_ROW * NODES * BROWSERS:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


def lost(runs: dict[str, Any], kind: str, rate: str) -> float:
    """The share by which the rate is lower with browsers."""
    pairs = zip(runs[kind], runs["without"], strict=True)
    return 1 - float(statistics.median(run[rate] / alone[rate] for run, alone in pairs))


async def main() -> None:
    home = Home(Path(tempfile.mkdtemp(prefix="bench-")))
    try:
        with parts(home) as (url, pids), no_processor_idles():
            runs = await measured(url, home, pids)
    finally:
        shutil.rmtree(home.path, ignore_errors=True)
    goals = [
        {
            "name": f"{what} lost while {BROWSERS} browsers watch ({kind}) a rollout on {NODES} nodes",
            "goal": f"< {MOST_LOST:.0%}",
            "measured": round(100 * lost(runs, kind, rate), 1),
            "unit": "%",
            "holds": lost(runs, kind, rate) < MOST_LOST,
        }
        for kind in KINDS
        if kind != "without"
        for what, rate in (
            ("steps per second", "steps_per_s"),
            ("steps per CPU second of broker, store and services", "steps_per_cpu_s"),
        )
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"goals": goals, "rollouts": runs}, indent=2) + "\n")
    print(OUT.read_text())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fleet", address]:
            asyncio.run(serve_fleet(address))
        case ["watch", how, address]:
            asyncio.run(watch(how, address))
        case _:
            asyncio.run(main())
