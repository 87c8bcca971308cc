"""The control plane of a benchmark: a real nats-server, a real Redis, the services as processes, simulated nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bumpless.cli import embedded
from bumpless.cli.control_commands import generate_keys
from bumpless.cli.home import Home
from bumpless.common.access.entry import Entry
from bumpless.common.access.rights import ADMIN
from bumpless.common.model.plan import Target
from scale.nodes import name_of

SERVICES = ("planner", "rollback", "health-gate")
NODE_PROCESSES = 2
START_S = 300.0
TICKS = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Plane:
    """What runs: how the benchmark gets to the broker, the home with the keys, and the processes by their part."""

    home: Home
    entry: Entry
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def cpu_s(self) -> dict[str, float]:
        """User and system seconds of every part so far."""
        return {name: _cpu_s(process.pid) for name, process in self.processes.items()}

    def peak_mb(self) -> dict[str, float]:
        """The most memory that every part had resident, in MB (10^6 bytes)."""
        return {name: _peak_mb(process.pid) for name, process in self.processes.items()}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


@contextmanager
def running(folder: Path, nodes: int, target: Target) -> Iterator[Plane]:
    """Everything up, every node's inventory written; all of it ends with the block."""
    home = Home(folder)
    generate_keys(home)
    where = embedded.layout(home, list(SERVICES))
    plane = Plane(home, Entry(where.nats_url, home.seed(ADMIN)))
    with ExitStack() as stack:
        for part in (
            embedded.nats_part(home, where, map(name_of, range(nodes))),
            embedded.redis_part(home, where),
            *(embedded.service_part(home, where, name) for name in SERVICES),
        ):
            plane.processes[part.name] = stack.enter_context(_process(folder, part))
        for name in SERVICES:
            _until_ready(f"http://127.0.0.1:{where.ops_ports[name]}/healthz", plane.processes[name])
        file = folder / "target.json"
        file.write_text(target.model_dump_json())
        each = -(-nodes // NODE_PROCESSES)
        starting = []
        for number, first in enumerate(range(0, nodes, each)):
            command = [sys.executable, "-m", "scale.nodes", plane.entry.url, str(home.path), str(first)]
            process = stack.enter_context(
                _child([*command, str(min(each, nodes - first)), str(file)], f"nodes-{number}", folder)
            )
            plane.processes[f"nodes-{number}"] = process
            starting.append(process)
        for process in starting:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                logs = "".join(file.read_text()[-2000:] for file in sorted(folder.glob("nodes-*.log")))
                raise SystemExit(f"expected the simulated nodes to be ready, found that they ended:\n{logs}")
        yield plane


@contextmanager
def _process(folder: Path, part: embedded.Part) -> Iterator[subprocess.Popen[bytes]]:
    command = list(part.command)
    if os.environ.get("BENCH_PROFILE") == part.name:
        command[1:1] = ["-m", "cProfile", "-o", f"/tmp/scale/{part.name}.prof"]
    with (folder / f"{part.name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=embedded.child_env(part),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
        )
        try:
            yield process
        finally:
            _end(process)


@contextmanager
def _child(command: list[str], name: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM if os.environ.get("BENCH_PROFILE") else signal.SIGKILL)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
    raise SystemExit(f"expected {url} to be ready within {START_S:g} s, found that it is not")
