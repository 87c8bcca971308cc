"""The control plane as `bumpless up` starts it on a processor of its own, the dashboard beside it or on another one."""

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
"""Below 0 (root only) all parts go before what else the machine does, if this is started in a session of its own."""
IDLE_SESSION = 19


@contextlib.contextmanager
def on(processor: int) -> Iterator[None]:
    """What is started in here runs on that processor alone, with all its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def two_processors() -> tuple[int, int]:
    """One for the machine of the control plane, one for the other machines. Raises SystemExit where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit(
            "expected two processors, one of them for browsers, found one; run it where there are two"
        )
    return allowed[0], allowed[1]


def nice_session(pid: int, nice: int) -> None:
    """What `nice` is among processes, among sessions, of which each part has one of its own."""
    with contextlib.suppress(FileNotFoundError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


LIKE_BROWSERS = """
import json
page = [{"node": f"node-{number}", "state": "serving", "share": number / 7} for number in range(20_000)]
while True:
    json.loads(json.dumps(page))
"""


@contextlib.contextmanager
def no_processor_idles(ours: int, others: int) -> Iterator[None]:
    """On each a process of idle priority that uses what nobody else wants.

    The one on `others` stands for another machine. Its load uses caches and memory as browsers and a dashboard do, so
    that whether those run makes no difference to what the two processors share and two machines would not.
    """
    burning = []
    try:
        for processor, load in ((ours, "while True: pass"), (others, LIKE_BROWSERS)):
            with on(processor):
                process = subprocess.Popen([sys.executable, "-c", load], start_new_session=True)
            burning.append(process)
            os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
            nice_session(process.pid, IDLE_SESSION)
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
def dashboard(home: Home, where: Layout) -> Iterator[int]:
    """The dashboard, from when it listens and gives way; gives its process id."""
    process = _started(home, embedded.dashboard_part(home, where))
    try:
        deadline = time.monotonic() + START_S
        while not (_listens(where.dashboard_port) and os.getpriority(os.PRIO_PROCESS, process.pid) > 0):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"expected the dashboard to listen, see {home.path / 'logs' / 'dashboard'}")
            threading.Event().wait(0.1)
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
        return subprocess.Popen(
            part.command,
            env=embedded.child_env(part),
            cwd=home.path,
            stdout=log,
            stderr=log,
            process_group=0,  # in one session, as under `bumpless up`
        )


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
