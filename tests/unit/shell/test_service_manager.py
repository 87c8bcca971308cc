"""What a service manager hears of a process, and how often."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from bumpless.common.shell.service_manager import ServiceManager

LIMIT_S = 30.0


async def _heard(store: socket.socket) -> str:
    async with asyncio.timeout(LIMIT_S):
        return (await asyncio.get_running_loop().sock_recv(store, 4096)).decode()


async def test_signs_of_life_come_while_the_loop_turns(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as store:
        store.bind(str(tmp_path / "notify"))
        store.setblocking(False)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000"}
        manager = ServiceManager.of_this_process(env)
        async with manager.watched():
            assert [await _heard(store) for _ in range(3)] == ["WATCHDOG=1"] * 3
        while True:
            try:
                store.recv(4096)
            except BlockingIOError:
                break
        manager.ready("works")
        assert await _heard(store) == "READY=1\nSTATUS=works"


async def test_a_watchdog_of_another_process_is_none_of_ours(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as store:
        store.bind(str(tmp_path / "notify"))
        store.setblocking(False)
        env = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "30000",
            "WATCHDOG_PID": str(os.getpid() + 1),
        }
        manager = ServiceManager.of_this_process(env)
        async with manager.watched():
            manager.status("first")
            assert await _heard(store) == "STATUS=first"


async def test_without_a_manager_nothing_is_said() -> None:
    manager = ServiceManager.of_this_process({})
    async with manager.watched():
        manager.ready()
        manager.stopping()
