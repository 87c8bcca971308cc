"""A service that cannot run twice, under load, its executor killed at every point of a switch and of its undoing.

The service counts in memory. Clients that connect anew for every request see every number once and none left out:
so no request failed, no state was lost, and no two processes worked at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from bumpless.common.contract.base import BatchId, PlanHash, RolloutId, derive_id
from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.contract.events import StepFinished, StepOutcome
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release import Run, Timing
from bumpless.common.shell import clock
from bumpless.executor.journal import Journal
from bumpless.executor.record import ComponentRecord, Instance
from support.lone_executor import NODE, PATIENCE_S, LoneExecutor
from support.waiting import comes_true

PROGRAM = Path(__file__).parents[1] / "support" / "counter.py"
COMPONENT = "counter"
TIMING = Timing(ready_timeout_s=30, soak_s=0.5, lame_duck_s=0.2, drain_timeout_s=30)


class Load:
    """One client that connects anew for every request and tries nothing twice."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.counts: list[int] = []
        self.versions: list[str] = []
        self.failures: list[str] = []
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Load:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, version: str) -> None:
        """Return when a new answer comes from `version`."""
        start = len(self.versions)
        async with asyncio.timeout(PATIENCE_S):
            while version not in self.versions[start:]:
                self._answered.clear()
                await self._answered.wait()

    async def _run(self) -> None:
        while True:
            try:
                said = await ask(self._port, "/")
            except (OSError, EOFError, ValueError) as error:
                self.failures.append(repr(error))
            else:
                self.counts.append(said["count"])
                self.versions.append(said["version"])
                self._answered.set()


async def ask(port: int, path: str) -> dict[str, int | str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: counter\r\nConnection: close\r\n\r\n".encode())
        head, body = (await reader.read()).split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(head.decode())
        return json.loads(body)
    finally:
        writer.close()


class Site:
    """One node with its executor, and the gates of its service."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.gates = home / "gates"
        self.gates.mkdir()
        self.executor = LoneExecutor(home)
        self.current: Target | None = None
        self._number = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    @property
    def component(self) -> Path:
        return self.home / "node" / "components" / COMPONENT

    def target(self, version: str) -> Target:
        root = self.executor.tree(version, PROGRAM.read_bytes())
        run = Run(
            command=("python3", "main.py"),
            overlap=False,
            listen={"http": f"tcp://127.0.0.1:{self.port}"},
            env={"GATES": str(self.gates)},
            timing=TIMING,
        )
        return Target(
            component=COMPONENT, version=version, root=root, artifact=root, artifact_size=1, run=run
        )

    async def send(self, version: str) -> ApplyComponent:
        now = clock.now()
        self._number += 1
        command = ApplyComponent(
            id=derive_id("exclusive", version),
            at=now,
            rollout=RolloutId("r1"),
            batch=BatchId("b1"),
            plan_hash=PlanHash("sha256:plan"),
            direction=Direction.FORWARD,
            generation=self._number,
            sequence=1,
            node=NODE,
            component=COMPONENT,
            target=self.target(version),
            before=self.current,
            expires_at=now + timedelta(minutes=10),
        )
        await self.executor.send(command)
        return command

    async def done(self, command: ApplyComponent) -> StepFinished:
        finished = await self.executor.answer(command)
        assert (finished.outcome, finished.reason) == (StepOutcome.DONE, None)
        self.current = command.target
        return finished

    async def failed(self, command: ApplyComponent, why: str) -> None:
        finished = await self.executor.answer(command)
        assert finished.outcome is StepOutcome.FAILED
        assert why in (finished.reason or "")
        assert self.current is not None
        assert finished.version == self.current.version

    async def restart(self) -> None:
        await self.executor.kill()
        await self.executor.start()

    # the gates

    def hold(self, point: str) -> None:
        (self.gates / f"hold-{point}").touch()

    def release(self, point: str) -> None:
        (self.gates / f"hold-{point}").unlink()

    def make(self, what: str) -> None:
        (self.gates / what).touch()

    async def reached(self, point: str) -> None:
        await comes_true((self.gates / f"at-{point}").exists, f"a process at {point}")

    # what is so

    def record(self) -> ComponentRecord:
        found = Journal(self.component / "journal.json").load()
        assert found is not None
        return found

    def serving(self) -> Instance:
        found = self.record().serving
        assert found is not None
        return found

    def left(self) -> set[str]:
        return {p.name for p in (self.component / "state").iterdir()}

    def one_at_a_time(self) -> int:
        """How many processes have worked, one after the other, of which the last still does."""
        lines = [line.split() for line in (self.gates / "work").read_text().splitlines()]
        begun = [name for what, name in lines if what == "begins"]
        expected = [[what, name] for name in begun for what in ("begins", "ends")]
        assert lines == expected[:-1]
        return len(begun)


async def gone(pid: int) -> None:
    """Until the process is over, whether or not somebody asked for its status."""
    fd = os.pidfd_open(pid)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, over.set)
    try:
        await asyncio.wait_for(over.wait(), PATIENCE_S)
    finally:
        loop.remove_reader(fd)
        os.close(fd)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    found = Site(tmp_path)
    await found.executor.start()
    try:
        yield found
    except BaseException:
        print(found.executor.log()[-9000:])
        raise
    finally:
        for hold in found.gates.glob("hold-*"):
            hold.unlink()
        await found.executor.stop()


async def killed_before_the_standby_is_ready(site: Site) -> None:
    site.hold("ready-v2")
    command = await site.send("v2")
    await site.reached("ready-v2")
    await site.restart()
    site.release("ready-v2")
    await site.done(command)


async def killed_while_the_old_one_drains(site: Site) -> None:
    site.hold("slow")
    slow = asyncio.create_task(ask(site.port, "/slow"))
    await site.reached("slow")
    command = await site.send("v3")
    await comes_true(lambda: site.record().state == "draining", "a drain")
    await site.restart()
    site.release("slow")
    assert await slow == {}
    await site.done(command)


async def killed_when_the_old_one_is_gone(site: Site) -> None:
    site.hold("leave-v3")
    command = await site.send("v4")
    await site.reached("leave-v3")
    old = site.serving().pid
    site.executor.freeze()
    site.release("leave-v3")
    await gone(old)
    # Nobody but the standby holds the listening socket now.
    await site.restart()
    await site.done(command)


async def killed_when_the_new_one_works(site: Site, load: Load) -> None:
    command = await site.send("v5")
    await load.until("v5")
    await site.restart()
    await site.done(command)


async def killed_in_the_undoing(site: Site) -> None:
    site.hold("restore-v6")
    site.hold("leave-v6")
    command = await site.send("v6")
    await site.reached("restore-v6")
    site.make("ill-v6")
    site.release("restore-v6")
    await site.reached("leave-v6")
    await site.restart()
    site.release("leave-v6")
    await site.failed(command, "ill, as the test wants it")


@pytest.mark.timeout(400)
async def test_one_works_at_a_time_and_nothing_is_lost_wherever_the_executor_is_killed(site: Site) -> None:
    await site.done(await site.send("v1"))
    async with Load(site.port) as load:
        await load.until("v1")
        await killed_before_the_standby_is_ready(site)
        await killed_while_the_old_one_drains(site)
        await killed_when_the_old_one_is_gone(site)
        await killed_when_the_new_one_works(site, load)
        await load.until("v5")
        await killed_in_the_undoing(site)
        await load.until("v5")
        site.make("refuse-v7")
        await site.failed(await site.send("v7"), "this version does not know that state")
        await load.until("v5")
    assert load.failures == []
    assert load.counts == list(range(1, len(load.counts) + 1))
    assert set(load.versions) >= {f"v{n}" for n in range(1, 6)}
    assert site.one_at_a_time() == 8, "v1 to v6, and v5 twice more"
    assert "handover" in site.left()


async def test_after_a_crash_no_older_state_is_taken(site: Site) -> None:
    await site.done(await site.send("v1"))
    for count in (1, 2):
        assert (await ask(site.port, "/"))["count"] == count
    await site.done(await site.send("v2"))
    assert (await ask(site.port, "/"))["count"] == 3
    os.kill(site.serving().pid, signal.SIGKILL)
    assert await ask(site.port, "/") == {"count": 1, "version": "v2"}
    assert site.left() == {"handover.stale"}
