"""The control plane as `bumpless up` starts it, the dashboard apart from it, and processors that are never idle."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bumpless.cli import embedded
from bumpless.cli.control_commands import generate_keys
from bumpless.cli.embedded import Layout, Part
from bumpless.cli.home import Home

SERVICES = ("planner", "health-gate", "rollback")
START_S = 60.0
TICKS = os.sysconf("SC_CLK_TCK")
SESSION = int(os.environ.get("BENCH_SESSION_NICE", "0"))
"""Below 0 (root only) all parts go before what else the machine does."""
IDLE_SESSION = 19


def last_in_line(pid: int) -> None:
    """Idle priority, within its session and among sessions."""
    os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    nice_session(pid, IDLE_SESSION)


def hurry(pid: int) -> None:
    """No longer at idle priority."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
    nice_session(pid, SESSION)


def nice_session(pid: int, nice: int) -> None:
    """What `nice` is among processes, among sessions, of which each part has one of its own."""
    with contextlib.suppress(FileNotFoundError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def _session_nice(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def no_processor_idles() -> Iterator[None]:
    """Processes of idle priority that use what nobody else wants."""
    burning = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        for process in burning:
            last_in_line(process.pid)
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


@contextlib.contextmanager
def parts(home: Home) -> Iterator[tuple[Layout, dict[str, int]]]:
    """The control plane; gives where everything is and the process ids by part."""
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
            running[part.name] = _started(home, part)
        yield where, {name: process.pid for name, process in running.items()}
    finally:
        for process in reversed(running.values()):
            process.send_signal(signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def dashboard(home: Home, where: Layout, *, idle: bool) -> Iterator[int]:
    """The dashboard, from when it listens and gives way; gives its process id.

    `idle`: at idle priority, as if it were on another machine.
    """
    process = _started(home, embedded.dashboard_part(home, where))
    try:
        deadline = time.monotonic() + START_S
        while not (_listens(where.dashboard_port) and os.getpriority(os.PRIO_PROCESS, process.pid) > 0):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"expected the dashboard to listen, see {home.path / 'logs' / 'dashboard'}")
            threading.Event().wait(0.1)
        if idle:
            last_in_line(process.pid)
        else:
            nice_session(process.pid, SESSION + _session_nice(process.pid))
        yield process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _started(home: Home, part: Part) -> subprocess.Popen[bytes]:
    with open(home.path / "logs" / part.name, "ab") as log:
        process = subprocess.Popen(
            part.command,
            env=embedded.child_env(part),
            cwd=home.path,
            stdout=log,
            stderr=log,
            start_new_session=True,  # as `bumpless up` does
        )
    nice_session(process.pid, SESSION)
    return process


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
