"""The life of a machine that systemd runs, told from inside: installed, upgraded, rebooted. One part for each boot.

    python -m support.machine_life FOLDER

FOLDER is kept over boots. The first part ends in a reboot; the second ends with what was seen, in FOLDER/seen.json.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from bumpless.cli.control_commands import generate_keys
from bumpless.cli.home import Home
from bumpless.cli.identities import Identities
from bumpless.cli.installing import PARTS, UNITS
from bumpless.cli.units import SETTINGS
from bumpless.dashboard.one_time import secret_at
from support import booted
from support.fleet_lab import run_cli
from support.fleet_product import PORTS, write_release

HOME = Home(Path(SETTINGS))
NATS = "nats://127.0.0.1:4222"
NEXT = Path("/opt/next")
EXECUTOR = "bumpless-executor.service"
NAMES = [f"bumpless-{part}.service" for part in (*PARTS, "executor")]
READY_S = 120


def systemctl(*words: str) -> str:
    run = subprocess.run(
        ["systemctl", "--no-pager", *words], capture_output=True, text=True, check=False, timeout=READY_S
    )
    if run.returncode != 0:
        raise SystemExit(f"systemctl {' '.join(words)}: {run.stdout}{run.stderr}")
    return run.stdout.strip()


async def bumpless(*words: str) -> str:
    ended = await run_cli(HOME, *words, limit_s=READY_S)
    if ended.code != 0:
        raise SystemExit(f"bumpless {' '.join(words)}: {ended.code}\n{ended.out}{ended.err}\n{journal()}")
    return ended.out


def journal() -> str:
    command = ["journalctl", "--no-pager", "--lines=200", "--unit=bumpless-*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


async def install(prefix: Path) -> None:
    parts = [word for part in PARTS for word in ("--part", part)]
    key = str(Identities(HOME.access).seed("node-1", "nodes"))
    given = ("--trust", str(HOME.trust), "--access", str(HOME.access), "--key", key, "--prefix", str(prefix))
    await bumpless("node", "install", "node-1", *parts, *given)


async def answer() -> str:
    """The product's status line, once it serves."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", PORTS["core"])
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                line = await reader.readline()
                writer.close()
            except ConnectionError:
                line = b""
            if line:
                return line.decode().strip()
            await asyncio.sleep(0.1)


async def apply(folder: Path, version: str) -> None:
    (folder / version).mkdir()
    path = write_release(folder / version, version, core=version, front=None, gate=None)
    await bumpless("--nats", NATS, "apply", str(path))


def states() -> dict[str, str]:
    return {name: systemctl("show", "--property=ActiveState", "--value", name) for name in NAMES}


def children() -> list[int]:
    pid = systemctl("show", "--property=MainPID", "--value", EXECUTOR)
    return sorted(int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def alive(pids: list[int]) -> bool:
    return all(Path(f"/proc/{pid}").exists() for pid in pids)


def prepare() -> None:
    """What a site brings along: keys, and identities. And where the interpreter of these tests lies in somebody's home, the way to it."""
    HOME.path.mkdir()
    generate_keys(HOME)
    Identities(HOME.access).ensure(["node-1"])
    (HOME.keys / "dashboard-users.json").write_text('{"users": {}}')
    secret_at(HOME.dashboard_secret, make=True)
    NEXT.parent.mkdir(exist_ok=True)
    NEXT.symlink_to(sys.prefix)
    paths = " ".join(str(path) for path in booted._outside_usr())
    for name in NAMES:
        (UNITS / f"{name}.d").mkdir(parents=True)
        text = f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={paths}\n" if paths else ""
        (UNITS / f"{name}.d" / "test.conf").write_text(text)


async def first(folder: Path) -> dict[str, Any]:
    prepare()
    await install(Path(sys.prefix))
    seen: dict[str, Any] = {"installed": states()}
    await apply(folder, "v1")
    seen["answered"] = await answer()
    before, served_by = systemctl("show", "--property=MainPID", "--value", EXECUTOR), children()
    await install(NEXT)
    seen["upgraded"] = states()
    seen["another executor"] = systemctl("show", "--property=MainPID", "--value", EXECUTOR) != before
    seen["services went on"] = bool(served_by) and alive(served_by)
    await apply(folder, "v2")
    seen["answered after the upgrade"] = await answer()
    return seen


async def second(folder: Path) -> dict[str, Any]:
    systemctl("start", "multi-user.target")
    seen: dict[str, Any] = {"answered after the reboot": await answer()}
    async with asyncio.timeout(READY_S):
        while set(states().values()) != {"active"}:  # noqa: ASYNC110 - systemd starts them
            await asyncio.sleep(0.2)
    seen["runs"] = [
        row["version"]
        for row in json.loads(await bumpless("--nats", NATS, "--output", "json", "fleet", "list"))
    ]
    await apply(folder, "v3")
    seen["answered at the end"] = await answer()
    return seen


def main() -> None:
    folder = Path(sys.argv[1])
    kept = folder / "first.json"
    if not kept.exists():
        kept.write_text(json.dumps(asyncio.run(first(folder))))
        os.sync()
        systemctl("reboot", "--force")
        while True:
            signal.pause()
    (folder / "seen.json").write_text(json.dumps(json.loads(kept.read_text()) | asyncio.run(second(folder))))


if __name__ == "__main__":
    main()
