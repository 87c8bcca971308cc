"""The processes of a patcher as their parent sees them: started with little, watched, and ended together.

Invariants: both are children of this process and alone in one process group, so all of them are found by it, whatever
they did; the group is not waited for in any other way, so its number is nobody else's before `end`.

It imports little, so that the interpreter of the patcher starts while that of its parent still imports.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ..lanes import LANES, WINDOW

COMMAND = (sys.executable, "-P", "-s", "-B", "-c", f"from {__package__}.patcher import main; main()")
MEMORY = 64 << 20
"""Bytes for each process."""
STALL_S = 30.0
"""The longest wait for the processes to start, and for a frame if nothing else is said."""

CPU_S = 2 * 3600
"""For the largest tree at the slowest rate."""

_ENVIRONMENT = {
    # Without it, numpy starts a thread for each processor; a process with threads cannot lock itself down.
    "OPENBLAS_NUM_THREADS": "1",
    # The child must run the code of its parent's version, wherever that lies.
    **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
}

_LAST_WORDS_S = 1.0


class Processes:
    """One interpreter that becomes as many processes as there are lanes, each with a socket to here."""

    def __init__(
        self,
        codecs: Iterable[str],
        *,
        memory: int = MEMORY,
        cpu_s: int = CPU_S,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """`memory` is bytes for each process, `cpu_s` seconds of processor time for each.

        Raises:
            OSError: no process can be started.
        """
        self.codecs = tuple(sorted(codecs))
        pairs = [socket.socketpair() for _ in range(LANES)]
        self.sockets = [ours for ours, _ in pairs]
        self._ended = False
        self.wait_at_most(STALL_S)
        try:
            for _, theirs in pairs:
                # How far a lane can decode ahead; the kernel takes less without a word.
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * WINDOW)
            self._first = subprocess.Popen(
                [*command, str(memory), str(cpu_s), *self.codecs],
                stdin=pairs[0][1].fileno(),
                stdout=pairs[1][1].fileno(),
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            for ours in self.sockets:
                ours.close()
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()

    def wait_at_most(self, seconds: float) -> None:
        """How long a socket waits from now on."""
        for ours in self.sockets:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, option, _timeval(seconds))

    def last_words(self, pid: int | None = None) -> tuple[int | None, str]:
        """How the process `pid`, else the first one, ended: its status, negative for a signal, None where it does not end
        soon; and the last line that any wrote before it was locked down. Ends all."""
        if self._ended:
            return None, ""
        status = _status(pid or self._first.pid)
        os.killpg(self._first.pid, signal.SIGKILL)
        assert self._first.stderr is not None
        said = self._first.stderr.read()
        self.end()
        return status, said.decode(errors="replace").rstrip().rpartition("\n")[2]

    def end(self) -> None:
        """Whatever they are doing. Idempotent."""
        for each in self.sockets:
            each.close()
        if self._ended:
            return
        self._ended = True
        os.killpg(self._first.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-self._first.pid, 0)
        self._first.returncode = -signal.SIGKILL  # it was waited for
        assert self._first.stderr is not None
        self._first.stderr.close()


def _status(pid: int) -> int | None:
    """Of a child that is ending; it stays to be waited for."""
    with suppress(OSError):
        fd = os.pidfd_open(pid)
        try:
            select.select([fd], [], [], _LAST_WORDS_S)
        finally:
            os.close(fd)
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
    return None


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
