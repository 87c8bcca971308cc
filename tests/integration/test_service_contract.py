"""What the helper promises beyond the contract that every SDK keeps (`tests/contract_services`): queues, starts by hand,
and the shop's own load over many switches."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bumpless.service import Client
from support.contract_host import DEADLINE_S, Process, listener, until

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"

SAMPLE = """
import asyncio, os, sys
from bumpless.service import Response, Service

service = Service("sample", admin=os.environ.get("ADMIN", ""))

async def handle(request):
    return Response.json({"version": service.version})

async def lease():
    return "job"

async def hold(consumer):
    async for job in consumer.jobs(lease):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            print("gave back", job, file=sys.stderr)
            raise

if "HOLD" in os.environ:
    service.consumer(hold, count=2)
service.http(default=os.environ.get("DEFAULT", "127.0.0.1:0"), handler=handle)
service.run()
"""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"shop_{name}", SHOP / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Host:
    """A folder, one shared listener and the processes started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shared = listener()
        self.address = f"127.0.0.1:{self.shared.getsockname()[1]}"
        self._started: list[Process] = []
        (folder / "sample.py").write_text(SAMPLE)

    def launch(self, version: str, **env: str) -> Process:
        return self.launch_argv(
            version, [sys.executable, str(self.folder / "sample.py")], {"http": self.shared}, env
        )

    def launch_argv(
        self, version: str, argv: list[str], shared: dict[str, socket.socket], env: dict[str, str]
    ) -> Process:
        process = Process(self.folder, f"p{len(self._started)}", version)
        self._started.append(process)
        process.spawn(argv, shared, env)
        return process

    async def serving(self, version: str, **env: str) -> Process:
        process = self.launch(version, **env)
        await process.told("READY=1")
        return process

    def end(self) -> None:
        for process in self._started:
            process.end()
        self.shared.close()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    with tempfile.TemporaryDirectory(prefix="bl-") as folder:
        made = Host(Path(folder))
        try:
            yield made
        finally:
            made.end()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    made = Client(timeout_s=DEADLINE_S)
    yield made
    made.close()


async def more_requests(load: Any, process: Process, count: int) -> None:
    """Until the load has finished `count` further requests."""
    goal = load.requests_total + count
    async with asyncio.timeout(DEADLINE_S):
        while load.requests_total < goal:
            assert (await process.admin("GET", "/healthz")).status == 200


async def test_switches_under_load_fail_no_request(host: Host) -> None:
    load_module = _load("load")
    old = await host.serving("v0")
    load = load_module.Load([host.address], rate=400, keep_alive=32, fresh=12, timeout_s=5.0)
    load.start()
    try:
        for number in range(1, 6):
            new = await host.serving(f"v{number}")
            await more_requests(load, new, 100)  # both take connections
            assert (await old.admin("POST", "/pause")).json()["paused"] is True
            if number % 2:  # drained while it stands paused, or at once
                await more_requests(load, new, 100)
            old.terminate()
            assert await old.exit_code() == 0
            await old.told("STOPPING=1")
            old = new
    finally:
        report = await load.stop()
    assert report.failures == ()
    assert report.requests_failed == 0
    assert report.requests_total > 700
    assert len(report.orders_accepted) > 70
    # Generous, because test machines stall: the point is that nothing waits for a start or a drain.
    assert report.gap_ms_max() < 400


async def test_warm_rollback_fails_no_request(host: Host) -> None:
    load_module = _load("load")
    old = await host.serving("v1")
    load = load_module.Load([host.address], rate=300, keep_alive=24, fresh=6, timeout_s=5.0)
    load.start()
    new = await host.serving("v2")
    await more_requests(load, new, 100)
    assert (await old.admin("POST", "/pause")).status == 200
    await more_requests(load, new, 100)
    async with Clients() as fresh:
        assert (await fresh.get(host.address, "/")).json() == {"version": "v2"}
    assert (await old.admin("POST", "/resume")).json()["paused"] is False
    assert (await new.admin("POST", "/pause")).status == 200
    new.terminate()
    assert await new.exit_code() == 0
    async with Clients() as fresh:
        assert (await fresh.get(host.address, "/")).json() == {"version": "v1"}
    await more_requests(load, old, 100)
    report = await load.stop()
    assert report.failures == ()


class Clients:
    """A client for the length of a block."""

    async def __aenter__(self) -> Client:
        self._client = Client(timeout_s=DEADLINE_S)
        return self._client

    async def __aexit__(self, *_: object) -> None:
        self._client.close()


async def test_consumers_give_their_work_back_at_the_drain_deadline(host: Host) -> None:
    process = await host.serving("v1", HOLD="1", BUMPLESS_DRAIN_TIMEOUT_MS="300")
    await until(process, unacknowledged=2)
    assert (await process.admin("POST", "/pause")).json()["unacknowledged"] == 2
    process.terminate()
    assert await process.exit_code() == 0
    assert process.log().count("gave back job") == 2


async def test_by_hand_it_binds_its_default_addresses(host: Host, client: Client) -> None:
    public, admin = f"unix:{host.folder / 'public'}", f"unix:{host.folder / 'private'}"
    env = {"LISTEN_FDS": "", "DEFAULT": public, "ADMIN": admin, "BUMPLESS_VERSION": ""}
    argv = ["sh", "-c", 'unset LISTEN_PID; exec "$@"', "sh", sys.executable, str(host.folder / "sample.py")]
    process = host.launch_argv("", argv, {}, env)
    await process.told("READY=1")
    assert (await client.get(public, "/")).json() == {"version": "dev"}
    assert (await client.get(admin, "/readyz")).status == 200
    process.terminate()
    assert await process.exit_code() == 0


async def test_workers_switch_without_losing_or_doubling_a_job(host: Host, client: Client) -> None:
    trees = _load("build_trees")
    argv = [
        sys.executable,
        "-c",
        "import os, runpy, sys; os.chdir(sys.argv[1]); sys.path.insert(0, sys.argv[1]);",
    ]
    argv[2] += "runpy.run_path('main.py', run_name='__main__')"

    def tree(component: str, version: str) -> list[str]:
        return [*argv, str(trees.write_tree(component, version, host.folder / f"{component}-{version}"))]

    database = host.launch_argv("v1", tree("database", "v1"), {"http": host.shared}, {})
    await database.told("READY=1")
    jobs = [f"job-{number}" for number in range(300)]

    async def enqueue(some: list[str]) -> None:
        for job in some:
            assert (await client.post(host.address, "/jobs", {"id": job, "body": {}})).status == 200

    await enqueue(jobs[:150])
    old = host.launch_argv("v1", tree("worker", "v1"), {}, {"DATABASE": host.address})
    await old.told("READY=1")
    new = host.launch_argv("v2", tree("worker", "v2"), {}, {"DATABASE": host.address})
    await asyncio.gather(new.told("READY=1"), enqueue(jobs[150:]))
    assert (await old.admin("POST", "/pause")).status == 200
    await until(old, unacknowledged=0, paused=True)
    old.terminate()
    assert await old.exit_code() == 0
    # The database too: both processes use the same file while they overlap.
    newer = host.launch_argv("v2", tree("database", "v2"), {"http": host.shared}, {})
    await newer.told("READY=1")
    assert (await database.admin("POST", "/pause")).status == 200
    database.terminate()
    report = await _load("load").verify_jobs(
        host.address, [job.removeprefix("receipt-") for job in jobs], deadline_s=DEADLINE_S, poll_s=0.05
    )
    assert report.settled
    stats = (await client.get(host.address, "/stats")).json()
    assert stats == {
        "orders": 0,
        "enqueued": 300,
        "completed": 300,
        "pending": 0,
        "leased": 0,
        "duplicates": 0,
    }
    assert await database.exit_code() == 0
    new.terminate()
    assert await new.exit_code() == 0
