"""The bounded runner of commands: time, output, and what a command leaves behind."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from bumpless.common.errors import Refused
from bumpless.executor.drivers import hook_commands, kin
from bumpless.executor.drivers.hook_commands import run_command
from support.waiting import comes_true

LONG = 60.0
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1] + ".part", "w").write(str(os.getpid()))
        os.rename(sys.argv[1] + ".part", sys.argv[1])
        time.sleep(300)
    os._exit(0)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
"""


def python(text: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", text, *arguments]


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or kin._state(pid) in ("Z", "")


async def test_what_it_wrote_is_returned_and_its_environment_is_what_was_given(tmp_path: Path) -> None:
    log = tmp_path / "log"
    said = await run_command(
        python("import os; print(os.getcwd(), os.environ['WORD'], 'HOME' in os.environ)"),
        {"WORD": "given"},
        tmp_path,
        LONG,
        log,
    )
    assert said == f"{tmp_path} given False"
    assert log.read_text() == said + "\n"


async def test_a_status_other_than_0_is_refused_with_the_last_words(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"status 7 after .* its last words: no database"):
        await run_command(
            python("import sys; print('no database', file=sys.stderr); sys.exit(7)"),
            {},
            tmp_path,
            LONG,
            tmp_path / "log",
        )


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no-such-program"):
        await run_command(["./no-such-program"], {}, tmp_path, LONG, tmp_path / "log")


async def test_output_without_end_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(Refused, match="to end within 1 s"):
        await run_command(["yes", "x" * 1000], {}, tmp_path, 1, log)
    assert log.stat().st_size <= hook_commands.LOG_BYTES + hook_commands.TAIL_BYTES + 200


async def test_everything_it_started_ends_with_it(tmp_path: Path) -> None:
    there = tmp_path / "pid"
    await run_command(python(DAEMON, str(there)), {}, tmp_path, LONG, tmp_path / "log")
    await comes_true(lambda: gone(int(there.read_text())), "everything to be gone")


async def test_what_it_was_to_leave_behind_stays(tmp_path: Path) -> None:
    there = tmp_path / "pid"
    await run_command(python(DAEMON, str(there)), {}, tmp_path, LONG, tmp_path / "log", leaves=True)
    pid = int(there.read_text())
    try:
        assert not gone(pid)
    finally:
        os.kill(pid, 9)


async def test_at_the_timeout_everything_is_killed(tmp_path: Path) -> None:
    there = tmp_path / "pid"
    with pytest.raises(Refused, match="it still running"):
        await run_command(
            python(DAEMON + "\ntime.sleep(300)", str(there)), {}, tmp_path, 3, tmp_path / "log", leaves=True
        )
    if there.exists():
        await comes_true(lambda: gone(int(there.read_text())), "everything to be gone")


async def test_a_cancelled_one_is_killed(tmp_path: Path) -> None:
    there = tmp_path / "pid"
    running = asyncio.create_task(
        run_command(python(DAEMON + "\ntime.sleep(300)", str(there)), {}, tmp_path, LONG, tmp_path / "log")
    )
    await comes_true(there.exists, "it to run")
    running.cancel()
    await asyncio.wait((running,))
    await comes_true(lambda: gone(int(there.read_text())), "everything to be gone")
