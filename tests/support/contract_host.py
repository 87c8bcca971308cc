"""Processes under the service contract on shared sockets, started as the executor starts them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bumpless.service import Client

DEADLINE_S = 45.0


def listener(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """Bound and listening, with the executor's backlog."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    made = socket.create_server((host, 0), family=family, backlog=4096)
    made.setblocking(False)
    return made


class Process:
    """One managed process and its private channels: admin requests, notifications by socket and by pipe."""

    def __init__(self, folder: Path, name: str, version: str) -> None:
        self.address = f"unix:{folder / f'{name}.admin'}"
        self._log = folder / f"{name}.log"
        self._admin = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._admin.bind(self.address.removeprefix("unix:"))
        self._admin.listen(64)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(folder / f"{name}.notify"))
        self._notify.setblocking(False)
        self._pipe, self._pipe_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self._pipe_in, True)
        self._folder, self.version = folder, version
        self._client = Client(timeout_s=DEADLINE_S)
        self._news = asyncio.Event()
        self.pid = 0
        self.states: list[str] = []
        loop = asyncio.get_running_loop()
        loop.add_reader(self._notify, self._hear)
        loop.add_reader(self._pipe, self._hear_pipe)

    def spawn(
        self, argv: list[str], shared: Mapping[str, socket.socket], env: Mapping[str, str | None]
    ) -> None:
        """`env` None takes a variable away. What follows a `#` in a name of `shared` is not part of it."""
        sockets = {**shared, "admin": self._admin}
        given = [*(one.fileno() for one in sockets.values()), self._pipe_in]
        # Away from the targets first: dup2 onto a source that is still needed would lose it.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in given]
        actions: list[Any] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self._log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        actions += [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(high, 3)]
        contract: dict[str, str | None] = {
            "PATH": os.environ["PATH"],
            "LISTEN_FDS": str(len(sockets)),
            "LISTEN_FDNAMES": ":".join(name.partition("#")[0] for name in sockets),
            "NOTIFY_SOCKET": self._notify.getsockname(),
            "NOTIFY_FD": str(3 + len(sockets)),
            "BUMPLESS_NODE": "node-1",
            "BUMPLESS_VERSION": self.version,
            "BUMPLESS_DIGEST": f"digest-{self.version}",
            "BUMPLESS_STATE_DIR": str(self._folder),
            "BUMPLESS_LAME_DUCK_MS": "600",
            "BUMPLESS_DRAIN_TIMEOUT_MS": "5000",
            **env,
        }
        command = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *argv]
        kept = {name: value for name, value in contract.items() if value is not None}
        self.pid = os.posix_spawn(
            "/bin/sh", command, kept, file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE]
        )
        for fd in (*high, self._pipe_in):
            os.close(fd)
        self._pipe_in = -1

    def close_pipe(self) -> None:
        """As if the executor that reads it had died."""
        if self._pipe >= 0:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    async def told(self, state: str) -> None:
        """Until the process has sent `state`."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not any(state in seen for seen in self.states):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"expected {state}, found {self.states}; log: {self.log()}") from None

    def silent(self) -> bool:
        """Whether nothing was sent that has not been received."""
        before = len(self.states)
        self._hear()
        self._hear_pipe()
        return len(self.states) == before

    async def admin(self, method: str, path: str) -> Any:
        return await self._client.request(method, self.address, path)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    async def exit_code(self) -> int:
        pidfd = os.pidfd_open(self.pid)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(pidfd, ended.set)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
        return self._reap()

    def log(self) -> str:
        return self._log.read_text()

    def end(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._notify)
        self.close_pipe()
        if self._pipe_in >= 0:
            os.close(self._pipe_in)
        self._client.close()
        self._admin.close()
        self._notify.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
                self._reap()

    def _reap(self) -> int:
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._add(self._notify.recv(4096))

    def _hear_pipe(self) -> None:
        if self._pipe < 0:
            return
        try:
            data = os.read(self._pipe, 4096)
        except BlockingIOError:
            return
        if not data:
            self.close_pipe()
        self._add(data)

    def _add(self, data: bytes) -> None:
        self.states += [line for line in data.decode().split("\n") if line]
        self._news.set()


async def until(process: Process, **expected: object) -> dict[str, Any]:
    """Until GET /drain shows `expected`."""
    progress: dict[str, Any] = {}
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                progress = (await process.admin("GET", "/drain")).json()
                if all(progress[name] == value for name, value in expected.items()):
                    return progress
    except TimeoutError:
        raise AssertionError(f"expected {expected}, found {progress}; log: {process.log()}") from None
