"""The executor as a component, and under a service manager that keeps its sockets: one real node without a planner."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bumpless.common.contract.events import StepFinished, StepOutcome
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Driver, Run, Timing
from integration.test_executor import Load, Site, alive
from integration.test_executor import site as site
from support.executor_tree import write_executor_tree
from support.waiting import eventually

ITSELF = "executor"
LIMIT_S = 60.0
UNDER_A_LAUNCHER = ("-m", "bumpless.executor.launcher")


async def executor(site: Site, version: str, journal_format: int = 1) -> Target:
    tree = write_executor_tree(site.home / "trees", version)
    journal = tree / "site" / "bumpless" / "executor" / "journal.py"
    journal.write_text(journal.read_text().replace("FORMAT = 1", f"FORMAT = {journal_format}"))
    run = Run(driver=Driver.EXECUTOR, timing=Timing(ready_timeout_s=LIMIT_S, soak_s=0, warm_s=0))
    return await site.pack(tree, ITSELF, version, run)


async def replace(site: Site, number: int, after: Target | None, before: Target | None) -> StepFinished:
    command = site.command((number, 1), after, before, component=ITSELF)
    await site.send(command)
    return await site.answer(command, LIMIT_S)


def code_of(pid: int) -> str:
    """Where the process looks for its modules first."""
    for row in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if row.startswith(b"PYTHONPATH="):
            return row.decode().removeprefix("PYTHONPATH=")
    return ""


@pytest.mark.timeout(240)
async def test_the_installed_executor_is_left_and_come_back_to(site: Site) -> None:
    v1, e1 = await site.publish("v1"), await executor(site, "e1")
    unreadable = await executor(site, "e2", journal_format=2)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(site.home / "notify"))
    manager.setblocking(False)
    pid = site.run(UNDER_A_LAUNCHER, site.environment() | {"NOTIFY_SOCKET": str(site.home / "notify")})
    await site.apply((1, 1), v1)
    async with Load(site.port) as load:
        done = await replace(site, 2, e1, None)
        assert (done.outcome, done.root) == (StepOutcome.DONE, e1.root)
        assert f"versions/{e1.root.removeprefix('sha256:')}/site" in code_of(pid)

        refused = await replace(site, 3, unreadable, e1)
        assert refused.outcome is StepOutcome.FAILED
        assert "expected a journal of format 2" in (refused.reason or "")

        assert (await replace(site, 4, None, e1)).outcome is StepOutcome.DONE
        assert "versions" not in code_of(pid)
        await load.until("v1")
    assert load.failures == []
    assert alive(site) == 1
    told = [word for word in _said(manager) if word.startswith("READY=1")]
    assert len(told) == 3, "the manager is told by every version"
    manager.close()
    await site.stop()


async def test_without_a_launcher_it_says_how_to_start_it(site: Site) -> None:
    e1 = await executor(site, "e1")
    site.start()
    failed = await replace(site, 1, e1, None)
    assert failed.outcome is StepOutcome.FAILED
    assert "bumpless.executor.launcher" in (failed.reason or "")


_GIVEN = """
import os, sys
fd, name = int(sys.argv[1]), sys.argv[2]
if fd != 3:
    os.dup2(fd, 3)
    os.close(fd)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": name}
os.execv(sys.executable, [sys.executable, "-m", "bumpless.executor.launcher"])
"""


async def test_a_connection_waits_in_the_manager_while_executor_and_service_are_dead(site: Site) -> None:
    v1 = await site.publish("v1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(site.home / "notify"))
        manager.settimeout(LIMIT_S)
        env = site.environment() | {"NOTIFY_SOCKET": str(site.home / "notify")}
        site.run(UNDER_A_LAUNCHER, env)
        await site.apply((1, 1), v1)
        said: list[str] = []
        stored = -1
        while stored < 0:
            data, fds, _, _ = await asyncio.to_thread(socket.recv_fds, manager, 4096, 1)
            said.append(data.decode())
            stored = fds[0] if fds else -1
        assert any(word.startswith("READY=1") for word in said)
        name = said[-1].partition("FDNAME=")[2]
        try:
            await site.stop(signal.SIGKILL)
            _kill_services(site)
            await eventually(lambda: asyncio.to_thread(alive, site), lambda left: left == 0, "no service")
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: probe\r\n\r\n")
            site.run(("-c", _GIVEN, str(stored), name), env, pass_fds=[stored])
        finally:
            os.close(stored)
        async with asyncio.timeout(LIMIT_S):
            assert b"200" in await reader.readline()
        writer.close()
    await site.stop()


def _said(manager: socket.socket) -> Iterator[str]:
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(manager, 4096, 4)
        except BlockingIOError:
            return
        for fd in fds:
            os.close(fd)
        yield data.decode()


def _kill_services(site: Site) -> None:
    prefix = f"BUMPLESS_STATE_DIR={site.component}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if prefix in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
