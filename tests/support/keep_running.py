"""Starts a command again whenever it ends, as a service manager does with Restart=always.

    python tests/support/keep_running.py STARTS COMMAND...

Appends the pid of every start to the file STARTS. SIGTERM is passed on, and then nothing is started any more. The
command gets SIGTERM too, should this process be killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG = 1
PAUSE_S = 0.2


def main() -> None:
    starts, *command = sys.argv[1:]
    child = 0
    ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        ending = True
        if child:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    while not ending:
        child = os.posix_spawnp(sys.executable, [sys.executable, __file__, "--child", *command], os.environ)
        with open(starts, "a") as file:
            file.write(f"{child}\n")
        if ending:
            os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        child = 0
        if not ending:
            time.sleep(PAUSE_S)  # noqa: TID251 - this is the pause between restarts, in a process of its own


def become(command: list[str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    os.execvp(command[0], command)


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        become(sys.argv[2:])
    main()
