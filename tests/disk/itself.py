"""The executor as a component of the disk tests' node: launched as on a node, and replaced by its launcher.

Every version is the code under test; what differs is a folder in front of it, which makes `bumpless.executor.app` of it
that runs one step of the disk tests. It needs no broker: who started the first of them hears the reports.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bumpless.executor import launch, launcher
from bumpless.executor.app import ENDING, Origin, check_start
from bumpless.executor.drivers.choose import switch_of_node
from bumpless.executor.executor import Executor, NodeConfig
from bumpless.executor.ports import ProcessSwitch
from bumpless.executor.settings import ExecutorSettings
from disk.site import INSTALLED, NODE

Say = Callable[[dict[str, Any]], object]
STEP = "BUMPLESS_DISK_TEST"
"""What `node.main` was told, and the descriptor on which it says what it does."""


def begin(argument: dict[str, Any], say: Say, line: int) -> dict[str, Any]:
    """This process becomes the launcher, and what that starts. `line` is where its words go.

    Where the launcher would write nothing, this process goes on as what it would start, and saves starting Python.
    """
    os.set_inheritable(line, True)
    home = Path(argument["site"])
    path = (home / INSTALLED / "site", Path(__file__).parents[1])
    os.environ |= {
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "BUMPLESS_EXECUTOR_NODE": NODE,
        "BUMPLESS_EXECUTOR_DATA_DIR": argument["data"],
        "BUMPLESS_EXECUTOR_TRUST": str(home / "trust.json"),
        STEP: json.dumps({"argument": argument, "line": line}),
    }
    command = (sys.executable, "-P", launcher.__file__)
    choice = _choice(Path(argument["data"]))
    if choice.trial is not None or choice.fell_back:
        os.execve(command[0], list(command), os.environ)
    told = launcher.Told(choice.root, command=command, path=os.environ["PYTHONPATH"])
    os.environ[launcher.LAUNCHED] = json.dumps(asdict(told))
    return _run(ExecutorSettings.read(), argument, say)


def _choice(data_dir: Path) -> launcher.Choice:
    home = launcher.home_of(data_dir)
    current, previous = (
        os.path.basename(os.readlink(link)) if (link := home / name).is_symlink() else launcher.INSTALLED
        for name in ("current", "previous")
    )
    return launcher.choose(current, previous, launcher.read_state(data_dir), time.monotonic())


def main() -> None:
    settings = ExecutorSettings.read()
    if "--check" in sys.argv[1:]:
        check_start(settings)
        return
    told = json.loads(os.environ[STEP])
    with socket.socket(fileno=told["line"]) as line:

        def say(words: dict[str, Any]) -> None:
            line.send(json.dumps(words).encode())

        try:
            say({"answer": _run(settings, told["argument"], say)})
        except Exception:  # noqa: BLE001
            say({"fault": traceback.format_exc()[-4000:]})
            sys.exit(1)


def _run(settings: ExecutorSettings, argument: dict[str, Any], say: Say) -> dict[str, Any]:
    """The answer, if this version stays."""
    from disk import node  # which starts this

    origin = Origin.of_this_process(settings)
    say_launches(say, settings.data_dir)
    answer = node.main(argument, say, origin)
    if origin.launch.leaving.is_set():
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        say({"flushing": "launcher.write_state", "thread": os.getpid()})
        origin.launch.leave({})
    return answer


def say_launches(say: Say, data_dir: Path) -> None:
    """What `launch.json` promises. The launcher itself has flushed what it found or wrote."""
    write_state = launch.write_state

    def written(where: Path, state: launcher.State) -> None:
        say({"launching": shown(state)})
        write_state(where, state)
        say({"launched": shown(state)})

    launch.write_state = written
    say({"launched": shown(launcher.read_state(data_dir))})


def shown(state: launcher.State) -> list[Any]:
    """Which version is confirmed, which is tried, and how often that was started."""
    return [state.confirmed, state.trial and state.trial.root, state.trial.starts if state.trial else 0]


def switch(config: NodeConfig, origin: Origin) -> ProcessSwitch:
    return switch_of_node(
        config.node,
        config.run_dir,
        config.components_dir,
        origin.kept,
        origin.launch,
        config.data_dir / "units",
    )


async def until_left(executor: Executor, launched: launch.Launch, work: Coroutine[Any, Any, bool]) -> bool:
    """Do the work, and say that this version works; false if another one shall take the place of this process."""

    async def confirm() -> None:
        await executor.reported()
        await launched.confirm()

    leaving = asyncio.ensure_future(launched.leaving.wait())
    working = asyncio.gather(work, confirm())
    await asyncio.wait((leaving, working), return_when=asyncio.FIRST_COMPLETED)
    if launched.leaving.is_set():
        working.cancel()
        await asyncio.wait((working,))
        return False
    leaving.cancel()
    over, _ = await working
    return over
