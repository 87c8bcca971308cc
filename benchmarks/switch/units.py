"""Switching under systemd, in a machine that is booted for it: our units, and a plain `systemctl restart`.

What needs a compiler or a writable checkout is prepared outside. Inside, this module is the program that measures:

    python benchmarks/switch/units.py FOLDER

FOLDER holds the binary of the load and a tree for every service; the rows are left there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import structlog

from bumpless.common.model.release import Driver
from switch import ours, peers
from switch.figures import Row, Span, row
from switch.load import ROOT, Load
from switch.services import SERVICES, Service

UNIT = Path("/run/systemd/system/bench-peer.service")
PORT = 8080
"""Where the samples listen when nobody gives them a socket; inside nobody else does."""
RESTARTS = 3
STEADY_S = 1.5
ALL_S = 900
LOAD, ROWS = "load", "rows.json"


async def rows(load_binary: Path) -> list[Row]:
    """Raises: Absent, where no machine can be booted."""
    sys.path.insert(0, str(ROOT / "tests"))
    import support.booted as booted

    if reason := booted.lacking():
        raise peers.Absent(reason)
    with tempfile.TemporaryDirectory(prefix="bench-switch-") as text:
        folder = Path(text)
        shutil.copy2(load_binary, folder / LOAD)
        for service in (s for s in SERVICES if not s.missing):
            await service.prepare(folder / service.name)
        command = [sys.executable, "benchmarks/switch/units.py", str(booted.SHARED)]
        try:
            done = await asyncio.to_thread(booted.run, command, shared=folder, timeout_s=ALL_S, env={})
        except booted.CannotBootError as error:
            raise peers.Absent(str(error)) from error
        if done.status != 0:
            raise peers.Absent(f"the run inside ended with {done.status}: {done.output[-2000:]}")
        return [Row(**found) for found in json.loads((folder / ROWS).read_text())]


async def _measure(folder: Path) -> None:
    there = [s for s in SERVICES if (folder / s.name).is_dir()]
    found = [await ours.switched(s, folder / s.name, folder / LOAD, Driver.SYSTEMD) for s in there]
    found += [await _restarted(s, folder) for s in there if s.name in ("go", "asyncio")]
    (folder / ROWS).write_text(json.dumps([dataclasses.asdict(r) for r in found]))


async def _restarted(service: Service, folder: Path) -> Row:
    """The service binds its own port, and systemd restarts it: what most people do."""
    program = shutil.which(service.command[0], path=str(Path(sys.executable).parent)) or str(
        folder / service.name / service.command[0]
    )
    UNIT.write_text(
        f"[Service]\nWorkingDirectory={folder / service.name}\nEnvironment=BUMPLESS_LAME_DUCK_MS=0 BUMPLESS_DRAIN_TIMEOUT_MS=4000\n"
        f"ExecStart={' '.join((program, *service.command[1:]))}\n"
    )
    _systemctl("daemon-reload")
    _systemctl("start", UNIT.name)
    await _listens()
    load = Load(folder / LOAD, PORT)
    await load.start()
    await asyncio.sleep(STEADY_S)
    spans = []
    for _ in range(RESTARTS):
        began = time.time()
        await asyncio.to_thread(_systemctl, "restart", UNIT.name)
        await _listens()
        await asyncio.sleep(0.5)
        spans.append(Span(began, time.time()))
        await asyncio.sleep(STEADY_S)
    answers = await load.stop()
    _systemctl("stop", UNIT.name)
    UNIT.unlink()
    return row("systemctl restart", service.name, answers, spans)


def _systemctl(*arguments: str) -> None:
    subprocess.run(["systemctl", *arguments], check=True, timeout=peers.READY_S)


async def _listens() -> None:
    async with asyncio.timeout(peers.READY_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", PORT)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(_measure(Path(sys.argv[1])))
