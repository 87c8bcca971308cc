"""A whole fleet of real processes, every one of which a test may kill, freeze and start again by name.

Broker, store, services and executors are started with the commands and settings of `bumpless up`, below a short
temporary folder. Nothing restarts a part but the test, and executors themselves in a lab that keeps them. Leaving the lab stops everything, the services on the nodes
too, and fails if a process is left over, or if the broker refused anybody anything. With FLEET_LAB_KEEP in the environment the folder, logs included, is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import redis

from bumpless.cli import embedded
from bumpless.cli.client import Client, client
from bumpless.cli.control_commands import generate_keys
from bumpless.cli.embedded import NodeSpec, Part
from bumpless.cli.home import Home
from bumpless.common.access.entry import Entry
from bumpless.common.access.redis_entry import RedisEntry
from bumpless.common.access.rights import ADMIN
from bumpless.common.contract.base import Digest
from bumpless.common.contract.events import ReleaseAnnounced
from bumpless.common.errors import Retryable
from bumpless.common.shell import clock
from support.fleet_product import PORTS

HERE = Path(__file__).resolve().parent
READY_S = 60.0
STOP_S = 30.0
LOAD_S = 60.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ended:
    """A command that a person gave, when it is over."""

    code: int
    out: str
    err: str


class Lab:
    """`nodes` executors and one of everything else. Enter it, and everything answers.

    `labels` are those of some nodes, by name.
    `events`: the events service too, which no other part needs. `drills`: nodes obey injected faults.
    `keep_executors`: an executor that ends is started again at once, as under a service manager.
    """

    def __init__(
        self,
        nodes: int = 3,
        *,
        keep_executors: bool = False,
        labels: Mapping[str, Mapping[str, str]] | None = None,
        events: bool = False,
        drills: bool = False,
    ) -> None:
        self._drills = drills
        self._labels = labels or {}
        self._keep_executors = keep_executors
        self.services = [name for name in embedded.SERVICES if events or name != "events"]
        self.events_webhook = ""
        self.home = Home(Path(tempfile.mkdtemp(prefix="lab-")))
        self.nodes = [f"node-{number}" for number in range(1, nodes + 1)]
        self._addresses = {
            name: self.home.node_address(number) for number, name in enumerate(self.nodes, start=1)
        }
        self.brokers: list[str] = []
        """The parts that messages go through."""
        self._parts: dict[str, Part] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._frozen: set[str] = set()
        self._seconds: set[str] = set()
        self._names = 0
        self.nats_url = self.redis_url = ""

    def __enter__(self) -> Self:
        (self.home.path / "logs").mkdir()
        generate_keys(self.home)
        where = embedded.layout(self.home, [*self.services, *self.nodes])
        self.nats_url, self.redis_url = where.nats_url, where.redis_url
        brokers = self.brokering(where)
        self.brokers = [part.name for part in brokers]
        self.events_webhook = f"http://127.0.0.1:{where.events_port}/api/v1/events"
        parts = [
            *brokers,
            embedded.redis_part(self.home, where),
            *(embedded.service_part(self.home, where, name) for name in self.services),
        ]
        for number, name in enumerate(self.nodes, start=1):
            part = embedded.executor_part(
                self.home, where, NodeSpec(name, self._labels.get(name, {})), number, drills=self._drills
            )
            if self._keep_executors:
                keeper = (sys.executable, str(HERE / "keep_running.py"), str(self.starts_file(name)))
                part = replace(part, command=keeper + part.command)
            parts.append(part)
        self._parts = {part.name: self.arranged(part) for part in parts}
        try:
            self.start(*self._parts)
            asyncio.run(self.ready())
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        left = self.processes()
        if left:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        refused = self.refused()
        if "FLEET_LAB_KEEP" not in os.environ:
            shutil.rmtree(self.home.path, ignore_errors=True)
        assert not left, f"expected no process of {self.home.path} to be left, found {left}"
        assert not refused, f"expected nobody to try what its key does not allow, found {refused}"

    # parts

    def arranged(self, part: Part) -> Part:
        """How a part is started in this lab."""
        return part

    def brokering(self, where: embedded.Layout) -> list[Part]:
        """The broker; `nats_url` is where it is."""
        return [embedded.nats_part(self.home, where, self.nodes)]

    @property
    def entry(self) -> Entry:
        """How a test gets to the broker."""
        return Entry(self.nats_url, self.home.seed(ADMIN))

    def part(self, name: str) -> Part:
        return self._parts[name]

    def start(self, *names: str) -> None:
        """Start parts that are down. Returns at once."""
        for name in names:
            assert not self.runs(name), f"{name} runs already"
            part = self._parts[name]
            with open(self.log_file(name), "ab") as log:
                self._running[name] = subprocess.Popen(
                    part.command,
                    env=embedded.child_env(part),
                    cwd=self.home.path,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=_end_with(os.getpid()),
                )

    def start_second(self, name: str) -> str:
        """Another process of a service, with the same settings; returns the name it is known by."""
        part = self._parts[name]
        prefix = f"BUMPLESS_{name.replace('-', '_').upper()}_"
        second = replace(part, name=f"{name}-2", env={**part.env, prefix + "OPS_PORT": "0"})
        self._parts[second.name] = second
        self._seconds.add(second.name)
        self.start(second.name)
        return second.name

    def kill(self, *names: str) -> None:
        """SIGKILL; returns when they are gone. What executors started goes on."""
        for name in names:
            self._running[name].kill()
        for name in names:
            self._running.pop(name).wait(STOP_S)
            self._frozen.discard(name)

    def end(self, *names: str) -> None:
        """SIGTERM; returns when they are gone."""
        for name in names:
            self._running[name].terminate()
        for name in names:
            self._running.pop(name).wait(STOP_S)

    def freeze(self, name: str) -> None:
        self._running[name].send_signal(signal.SIGSTOP)
        self._frozen.add(name)

    def thaw(self, name: str) -> None:
        self._running[name].send_signal(signal.SIGCONT)
        self._frozen.discard(name)

    def runs(self, name: str) -> bool:
        return name in self._running and self._running[name].poll() is None

    def heal(self) -> None:
        """Start again whatever a test left down."""
        for name in tuple(self._frozen):
            self.thaw(name)
        self.start(*(name for name in self._parts if not self.runs(name) and name not in self._seconds))

    def stop(self) -> None:
        """Everything in the order of `bumpless down`. A node whose executor is down is asked through a new one."""
        for name in tuple(self._frozen):
            self.thaw(name)
        if any(map(self.runs, self.brokers)):
            self.start(*(name for name in self.nodes if not self.runs(name) and name in self._running))
        servers = ("redis", *self.brokers)
        services = [name for name in self._parts if name not in (*self.nodes, *servers)]
        for group in (self.nodes, services, servers):
            self.end(*(name for name in group if self.runs(name)))

    def processes(self) -> list[int]:
        return processes_of(self.home)

    def refused(self) -> list[str]:
        """What somebody tried to say or hear that the broker did not let it, by its logs."""
        logs = [self.log_file(name) for name in self.brokers]
        lines = [line for log in logs if log.exists() for line in log.read_text().splitlines()]
        return [line for line in lines if "Violation" in line]

    def starts_file(self, node: str) -> Path:
        """The pids of every process that was started as the node's executor, where executors are kept."""
        return self.home.path / f"{node}.starts"

    def log_file(self, name: str) -> Path:
        return self.home.path / "logs" / f"{name}.log"

    # Redis

    def flush_redis(self) -> None:
        with contextlib.closing(self._redis()) as store:
            store.flushall()

    def lease_of(self, service: str) -> bytes | None:
        """The token of the process that works."""
        with contextlib.closing(self._redis()) as store:
            found = store.get(f"bumpless:{service}:lease")
        assert found is None or isinstance(found, bytes)
        return found

    def hold_lease(self, service: str, seconds: int) -> None:
        """As if it were given for so long."""
        with contextlib.closing(self._redis()) as store:
            assert store.expire(f"bumpless:{service}:lease", seconds)

    def lose_redis(self) -> None:
        """Kill Redis and throw its files away; it comes back empty."""
        self.kill("redis")
        shutil.rmtree(self.home.path / "redis")
        (self.home.path / "redis").mkdir()
        self.start("redis")

    def _redis(self) -> redis.Redis:
        entry = RedisEntry(self.redis_url, ADMIN, self.home.seed(ADMIN))
        return redis.Redis.from_url(entry.url, socket_timeout=5, **entry.options())

    # people and clients

    def client(self) -> AbstractAsyncContextManager[Client]:
        return client(self.entry, timeout_s=20)

    async def cli(self, *words: str) -> Ended:
        """`bumpless` as a person would run it against this lab."""
        return await run_cli(self.home, "--nats", self.nats_url, *words)

    def address(self, node: str, component: str = "front") -> str:
        return f"{self._addresses[node]}:{PORTS[component]}"

    def fresh(self) -> str:
        """A version that no test of this lab has used."""
        self._names += 1
        return f"v{self._names}"

    @contextlib.asynccontextmanager
    async def load(
        self, component: str = "front", nodes: Sequence[str] = (), *, at: Sequence[str] = ()
    ) -> AsyncIterator[None]:
        """Clients call `component` on every node (or on `nodes`), or what is `at` some addresses, for the length of the
        block; none may fail.
        """
        addresses = at or [self.address(node, component) for node in nodes or self.nodes]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "fleet_load.py"),
            *addresses,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(LOAD_S):
                said = await process.stdout.readline()
            assert said == b"running\n", f"expected the load to run, found {said!r}"
            yield
            process.terminate()
            async with asyncio.timeout(LOAD_S):
                text, _ = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        seen = json.loads(text)
        assert seen["failed"] == 0, f"{seen['failed']} of {seen['total']} requests failed: {seen['failures']}"

    async def ready(self) -> None:
        """Wait until the planner answers and every node has said something."""
        missing = "the broker"
        deadline = asyncio.get_running_loop().time() + READY_S
        while asyncio.get_running_loop().time() < deadline:
            for name, process in self._running.items():
                code = process.poll()
                assert code is None, f"{name} ended with {code}: {self.log_file(name).read_text()[-2000:]}"
            try:
                async with client(self.entry, timeout_s=1) as found:
                    missing = "the planner"
                    await found.plan(_probe(), timeout_s=1)
                    missing = "the nodes"
                    if len((await found.fleet()).nodes) >= len(self.nodes):
                        return
            except Retryable:
                pass
            await asyncio.sleep(0.1)
        raise AssertionError(f"expected the lab to be ready in {READY_S:g} s, still waiting for {missing}")


def processes_of(home: Home) -> list[int]:
    """The pids of everything that was started below a home directory."""
    found = []
    mark = os.fsencode(f"{home.path}/")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
            if mark in words or mark[:-1] + b"\0" in words:
                found.append(int(entry.name))
    return found


async def run_cli(home: Home, *words: str, limit_s: float = 90) -> Ended:
    """One `bumpless` command, with the home directory of a lab or of its own."""
    command = [sys.executable, "-m", "bumpless.cli.app", "--home", str(home.path), *words]
    env = {key: value for key, value in os.environ.items() if not key.startswith("BUMPLESS_")}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said = asyncio.create_task(process.communicate())
    try:
        ended, _ = await asyncio.wait({said}, timeout=limit_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    out, err = await said
    assert ended, f"{' '.join(words)}: not ended after {limit_s:g} s: {out.decode()}{err.decode()}"
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def _probe() -> ReleaseAnnounced:
    return ReleaseAnnounced(
        id=clock.fresh_id(),
        at=clock.now(),
        product="probe",
        digest=Digest("sha256:" + "0" * 64),
        envelope="{}",
    )


def _end_with(parent: int) -> Callable[[], None]:
    """SIGTERM for a part whose test run is gone, so that a killed run leaves nothing behind."""
    libc = ctypes.CDLL(None)

    def arrange() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os._exit(1)

    return arrange
