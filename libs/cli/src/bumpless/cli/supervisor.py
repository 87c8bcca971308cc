"""The parent of an embedded control plane: starts every part, restarts what dies, stops all of it in order.

Runs as `python -m bumpless.cli.supervisor HOME`, under a lock on the home directory. What it runs stands in
`HOME/wanted.json`; process ids and addresses in `HOME/cluster.json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from bumpless.cli import embedded
from bumpless.cli.embedded import NodeSpec, Part
from bumpless.cli.home import Home
from bumpless.common.errors import Refused

RESTART_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits between restarts of a part that keeps dying; the count starts over after a minute of life."""
STOP_S = 40.0
"""Executors drain the services they stop."""
PR_SET_PDEATHSIG = 1


class Supervisor:
    def __init__(self, home: Home) -> None:
        self._home = home
        wanted = json.loads((home.path / "wanted.json").read_text())
        nodes = [NodeSpec(node["name"], node["labels"]) for node in wanted["nodes"]]
        self._where = embedded.layout(
            home, [*embedded.SERVICES, embedded.DASHBOARD, *(node.name for node in nodes)]
        )
        self._parts: list[Part] = [
            embedded.nats_part(home, self._where, [node.name for node in nodes]),
            embedded.redis_part(home, self._where),
            *(embedded.service_part(home, self._where, name) for name in embedded.SERVICES),
            embedded.dashboard_part(home, self._where),
            *(
                embedded.executor_part(home, self._where, node, number, drills=wanted["drills"])
                for number, node in enumerate(nodes, start=1)
            ),
        ]
        self._nodes = nodes
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        keepers = {part.name: asyncio.create_task(self._keep(part)) for part in self._parts}
        await self._stopping.wait()
        for names in (
            [n.name for n in self._nodes],
            [embedded.DASHBOARD, *embedded.SERVICES],
            ["redis", "nats"],
        ):
            await self._stop(names)
        for keeper in keepers.values():
            keeper.cancel()
        with contextlib.suppress(FileNotFoundError):
            self._home.cluster_file.unlink()

    async def _keep(self, part: Part) -> None:
        died = 0
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            process = await self._spawn(part)
            self._running[part.name] = process
            self._write_cluster()
            await process.wait()
            if self._stopping.is_set():
                return
            if asyncio.get_running_loop().time() - began > 60:
                died = 0
            wait = RESTART_S[min(died, len(RESTART_S) - 1)]
            died += 1
            print(f"{part.name} ended with {process.returncode}; starting it again in {wait:g} s", flush=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    async def _spawn(self, part: Part) -> asyncio.subprocess.Process:
        log = os.open(
            self._home.path / "logs" / f"{part.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        try:
            return await asyncio.create_subprocess_exec(
                *part.command,
                env=embedded.child_env(part),
                cwd=self._home.path,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=part.apart,
                process_group=None if part.apart else 0,  # what a terminal says to us is not for them
                preexec_fn=_die_with_parent(part.orphan_signal),
            )
        finally:
            os.close(log)

    async def _stop(self, names: list[str]) -> None:
        going = [self._running[name] for name in names if name in self._running]
        for process in going:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            await asyncio.wait_for(asyncio.gather(*(process.wait() for process in going)), STOP_S)
        except TimeoutError:
            for process in going:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    def _write_cluster(self) -> None:
        part = self._home.cluster_file.with_suffix(".part")
        part.write_text(
            json.dumps(
                {
                    "pid": os.getpid(),
                    "nats_url": self._where.nats_url,
                    "redis_url": self._where.redis_url,
                    "dashboard": self._where.dashboard_url,
                    "alerts_webhook": f"http://127.0.0.1:{self._where.webhook_port}",
                    "events_webhook": f"http://127.0.0.1:{self._where.events_port}/api/v1/events",
                    "ops": {name: f"http://127.0.0.1:{port}" for name, port in self._where.ops_ports.items()},
                    "nodes": [node.name for node in self._nodes],
                    "parts": {name: process.pid for name, process in self._running.items()},
                },
                indent=2,
            )
        )
        part.chmod(0o600)
        part.rename(self._home.cluster_file)


def _die_with_parent(number: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)

    def arrange() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def lock(home: Home) -> IO[str]:
    """Hold the home directory for this process.

    Raises:
        Refused: another control plane runs from it.
    """
    file = open(home.path / "lock", "a+")  # noqa: SIM115 - held for the life of the process
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise Refused(
            f"{home.path} to be free", "a control plane that runs from it", "stop it with `bumpless down`"
        ) from error
    return file


def main() -> None:
    home = Home(Path(sys.argv[1]))
    (home.path / "logs").mkdir(parents=True, exist_ok=True)
    held = lock(home)
    try:
        asyncio.run(Supervisor(home).run())
    finally:
        held.close()


if __name__ == "__main__":
    main()
