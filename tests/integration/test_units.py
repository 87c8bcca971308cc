"""The units of deploy/systemd in a machine that systemd has booted: a whole control plane and one node."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bumpless.cli.control_commands import generate_keys
from bumpless.cli.home import Home
from bumpless.cli.units import SETTINGS, units
from bumpless.dashboard.one_time import secret_at
from support import booted
from support.fleet_lab import run_cli
from support.fleet_product import PORTS, write_release

pytestmark = [pytest.mark.booted, pytest.mark.timeout(280)]
HOME = Home(Path(SETTINGS))
UNITS = Path("/etc/systemd/system")
NATS = "nats://127.0.0.1:4222"
READY_S = 90
START_S = 100
NAMES = sorted(units())
EXECUTOR = "bumpless-executor.service"


def systemctl(*words: str) -> str:
    command = ["timeout", str(START_S), "systemctl", "--no-pager", *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"systemctl {' '.join(words)}: {run.stdout}{run.stderr}"
    return run.stdout.strip()


@pytest.fixture(autouse=True)
def journal() -> Iterator[None]:
    """What the units said is shown with a test that fails."""
    yield
    command = ["journalctl", "--no-pager", "--lines=300", "--output=short-monotonic", "--unit=bumpless-*"]
    print(subprocess.run(command, capture_output=True, text=True, check=False).stdout)


def _seen_by_units() -> str:
    """What the interpreter of these tests needs and the sandbox hides, where they lie in somebody's home."""
    paths = " ".join(str(path) for path in booted._outside_usr())
    return f"ProtectHome=tmpfs\nBindReadOnlyPaths={paths}\n" if paths else ""


def _write_settings() -> None:
    HOME.path.mkdir()
    generate_keys(HOME)
    (HOME.keys / "dashboard-users.json").write_text('{"users": {}}')
    secret_at(HOME.dashboard_secret, make=True)
    (HOME.path / "nats.conf").write_text(
        'server_name: nats\nlisten: "127.0.0.1:4222"\nmax_payload: 8MB\n'
        'jetstream { store_dir: "/var/lib/bumpless-nats", sync_interval: always, max_file_store: 64GB }\n'
    )
    (HOME.path / "redis.conf").write_text(
        "port 0\nunixsocket /run/bumpless-redis/redis.sock\nunixsocketperm 770\ndir /var/lib/bumpless-redis\n"
        'appendonly yes\nappendfsync always\nsave ""\n'
    )
    (HOME.path / "executor.env").write_text(
        "BUMPLESS_EXECUTOR_NODE=node-1\nBUMPLESS_EXECUTOR_DATA_DIR=/var/lib/bumpless\n"
        f"BUMPLESS_EXECUTOR_TRUST={HOME.trust}\n"
    )


@pytest.fixture(scope="module")
def plane() -> Iterator[None]:
    """Everything is installed and started, and has said that it is ready."""
    _write_settings()
    subprocess.run(["systemd-sysusers", "--inline", "g bumpless -"], check=True, capture_output=True)
    for name, text in units(Path(sys.prefix)).items():
        (UNITS / name).write_text(text)
        (UNITS / f"{name}.d").mkdir()
        (UNITS / f"{name}.d" / "test.conf").write_text(f"[Service]\n{_seen_by_units()}")
    with open(UNITS / "bumpless-rollback.service.d" / "test.conf", "a") as file:
        file.write("WatchdogSec=3\nTimeoutAbortSec=1\n")
    systemctl("daemon-reload")
    try:
        systemctl("start", *NAMES)
        yield
    finally:
        subprocess.run(["systemctl", "stop", *NAMES], check=False, timeout=120)
        for name in NAMES:
            (UNITS / name).unlink()
            shutil.rmtree(UNITS / f"{name}.d")


async def running(unit: str, after: int = 0) -> int:
    """The pid of an active unit, once it is another than `after`.

    Asked in one go: a unit that waits for its next start has the pid 0, and who signals that signals itself.
    """
    async with asyncio.timeout(READY_S):
        while True:
            shown = systemctl("show", "--property=ActiveState,MainPID", unit)
            found = dict(line.split("=", 1) for line in shown.splitlines())
            if found["ActiveState"] == "active" and int(found["MainPID"]) not in (0, after):
                return int(found["MainPID"])
            await asyncio.sleep(0.1)


async def test_a_release_is_rolled_out_by_confined_services(plane: None, tmp_path: Path) -> None:
    states = {name: systemctl("show", "--property=ActiveState", "--value", name) for name in NAMES}
    assert states == dict.fromkeys(NAMES, "active")
    path = write_release(tmp_path, "v1", core="v1", gate=None)
    ended = await run_cli(HOME, "--nats", NATS, "apply", str(path))
    assert ended.code == 0, f"{ended.out}{ended.err}"
    reader, writer = await asyncio.open_connection("127.0.0.1", PORTS["core"])
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert b" 200 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("unit", [name for name in NAMES if name != EXECUTOR])
async def test_what_is_killed_is_started_again(plane: None, unit: str) -> None:
    before = await running(unit)
    os.kill(before, signal.SIGKILL)
    await running(unit, after=before)


async def test_services_of_the_node_outlive_a_kill_and_a_restart_of_the_executor(plane: None) -> None:
    before = await running(EXECUTOR)
    serving = _children(before)
    assert serving, "expected services of the release"
    os.kill(before, signal.SIGKILL)
    killed = await running(EXECUTOR, after=before)
    systemctl("restart", EXECUTOR)
    await running(EXECUTOR, after=killed)
    assert set(serving) <= _alive()


async def test_a_service_that_hangs_is_started_again(plane: None) -> None:
    before = await running("bumpless-rollback.service")
    os.kill(before, signal.SIGSTOP)
    await running("bumpless-rollback.service", after=before)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive() -> set[int]:
    return {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}
