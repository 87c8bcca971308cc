"""Processes by pidfd: started in their own session, watched, signalled and reaped without ever meeting a reused pid.

They are not tied to the life of the executor: whoever runs the executor next finds them by pid and start time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bumpless.common.errors import Refused
from bumpless.executor.drivers import kin

GONE_S = 10.0
"""A killed process is gone in milliseconds, unless the kernel holds it (a dead disk)."""
SUCCESS = "exited with status 0"
FIRST_FD = 3
"""sd_listen_fds(3)."""
_LAUNCHER = 'cd "$0" && LISTEN_PID=$$ exec "$@"'
"""The pid must be known before the program runs, and only the new process knows it. The directory is the resolved
version: a program that imports late through a link would load the other version's code."""
_RESET = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
"""Python ignores the first two; a child would inherit that."""


def spawn(
    command: Sequence[str], env: Mapping[str, str], directory: Path, given: Sequence[int], log: Path | int
) -> int:
    """Start `command` in its own session with the descriptors `given` from 3 on; returns its pid. Raises: Refused.

    `log`: a file that its output is appended to, or an open descriptor above 2.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1)
        if isinstance(log, int)
        else (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    actions += [(os.POSIX_SPAWN_DUP2, fd, FIRST_FD + at) for at, fd in enumerate(given)]
    try:
        return os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _LAUNCHER, str(directory), *command],
            dict(env),
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=_RESET,
        )
    except (OSError, ValueError) as error:
        raise Refused(f"{command[0]} to start", str(error), "check run.command of the release") from error


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None: there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name before it, in parentheses, may hold spaces and parentheses. What follows begins with field 3.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] == "Z" else int(fields[22 - 3])


def started_by(
    variable: str, prefix: str, *, everyone: bool = False
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """(pid, environment) of every session leader in whose environment `variable` begins with `prefix`.

    `everyone`: of every process.
    """
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            env = _environment(Path(f"/proc/{name}/environ").read_bytes())
            leads = everyone or os.getsid(int(name)) == int(name)
        except OSError:
            continue
        if leads and env.get(variable, "").startswith(prefix):
            yield int(name), env


def _environment(data: bytes) -> dict[str, str]:
    pairs = (row.partition(b"=") for row in data.split(b"\0") if row)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


class Process:
    """One process, ours or an earlier executor's. `ended` is done when it is gone, with how it ended.

    What it started ends with it, unless it `leaves` that behind on purpose; `marks` is what only that carries in its
    environment, see `kin`.
    """

    def __init__(self, pid: int, marks: Mapping[str, str] | None = None, *, leaves: bool = False) -> None:
        self.pid = pid
        self._marks, self._leaves = dict(marks or {}), leaves
        self.fd = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self._loop.add_reader(self.fd, self._gone)

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.fd, number)

    def kill(self) -> None:
        """The process and what it started."""
        self._leaves = False
        self.signal(signal.SIGKILL)

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Until it is gone; False: it is still there after `timeout_s`."""
        await asyncio.wait((self.ended,), timeout=timeout_s)
        return self.ended.done()

    def close(self) -> None:
        """Stop watching; the process is left alone."""
        if self.fd >= 0:
            self._loop.remove_reader(self.fd)
            os.close(self.fd)
            self.fd = -1

    def _gone(self) -> None:
        # Children it left would go on accepting on the shared socket. Killed before it is reaped: until then its
        # session cannot be anybody else's.
        left = 0 if self._leaves else kin.kill(self.pid, self._marks)
        try:
            _, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            how = "exited (an earlier executor had started it, so its status is unknown)"
        else:
            how = _describe(status)
        if left and how == SUCCESS:
            how += (
                f" and left {left} processes behind, which were ended with it: it must stay in the foreground"
            )
        self.close()
        if not self.ended.done():
            self.ended.set_result(how)


def _describe(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with status {code}" if code else SUCCESS
