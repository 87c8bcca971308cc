"""Switching versions under load: failed requests, gaps and latency, ours beside other ways to do it.

    make bench-switch

Go, Node.js, asyncio and uvicorn services are switched eight times each by the native driver, then taken back warm and
cold, while busy, slow, naive and fresh connections, long polls, event streams and WebSockets ask. Prints a table and
writes build/bench/switch.json.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from switch import ours, peers, units
from switch.figures import Row, table
from switch.load import GO, build_go
from switch.services import SERVICES

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "bench" / "switch.json"

Provider = Callable[[Path], Awaitable[list[Row]]]
"""Given the load's binary, the rows of one other way to switch. Raises `peers.Absent`, where it cannot be measured."""
PROVIDERS: dict[str, Provider] = {
    "stop-start": peers.stop_start,
    "gunicorn": peers.gunicorn_reload,
    "haproxy": peers.haproxy_drain,
    "systemd": units.rows,
}
"""Further ways to switch belong here: a name for the command line, and a provider of rows."""


async def main(services: list[str], providers: list[str]) -> int:
    if shutil.which("go") is None:
        print("expected go, which the load is written in, found none; on Debian: apt-get install golang-go")
        return 1
    task = asyncio.current_task()
    if task is not None:  # ended from outside: what was started is stopped first
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    load = await build_go(HERE / "switch", "load.go", GO / "bench-load")
    rows: list[Row] = []
    goals, absent = [], {}
    began = time.time()
    for service in (s for s in SERVICES if s.name in services):
        if service.missing:
            absent[service.name] = service.missing
            continue
        found = await ours.native(service, load)
        rows.append(found)
        goals += ours.goals(found)
        print(f"{service.name}: {json.dumps(dataclasses.asdict(found))}", flush=True)
    for name in providers:
        try:
            found_rows = await PROVIDERS[name](load)
        except peers.Absent as error:
            absent[name] = str(error)
            continue
        rows += found_rows
        goals += [one for row in found_rows if row.extra for one in ours.goals(row)]
    print(table(rows))
    for name, why in absent.items():
        print(f"left out: {name}, because {why}")
    for one in goals:
        print(
            f"{'holds' if one['holds'] else 'FAILS'}: {one['name']}: {one['measured']} {one['unit']} ({one['goal']})"
        )
    report = {
        "goals": goals,
        "rows": [dataclasses.asdict(r) for r in rows],
        "absent": absent,
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg(),
        "seconds": round(time.time() - began),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [s.name for s in SERVICES]
    parser.add_argument("--services", nargs="*", choices=names, default=names)
    parser.add_argument("--peers", nargs="*", choices=list(PROVIDERS), default=list(PROVIDERS))
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.services, given.peers)))
