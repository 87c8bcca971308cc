"""Holds one program: the process that stands for an instance whose program may fork, daemonise or replace itself.

    python -I -m bumpless.executor.drivers.hooks.keeper DIRECTORY COMMAND...

It outlives the executor, keeps the listening sockets open at the descriptors it was given them, becomes the parent of
whatever daemonises, hands on the signals it is sent, and hears READY=1. What the next executor must know stands in
DIRECTORY/status.json. It exits as the program did, once nothing that the program started is left; a program that
exits with 0 and leaves processes behind has daemonised and is held through them.

Standard library only, and everything is imported at the start: its own files may be gone before it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from bumpless.executor.drivers import kin

MARK = "BUMPLESS_KEEPER"
"""In the environment of keepers, and not of what they hold."""
HANDED_ON = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH),
)
_DATAGRAM = 4096
_NOT_STARTED = 127
_CREDENTIALS = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""


class Keeper:
    def __init__(self, directory: Path, command: Sequence[str]) -> None:
        self._file = directory / "status.json"
        self._command = command
        self._status: dict[str, object] = {"program": 0, "ready": False, "said": "", "exit": None}
        self._notify = _notify_socket(os.environ.get("NOTIFY_SOCKET", ""))
        self._wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (*HANDED_ON, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._program = self._exit = 0
        self._program_lives = True

    def run(self) -> int:
        """Until nothing is left; returns the program's exit code, minus the signal that killed it."""
        self._program = self._spawn()
        self._tell(program=self._program)
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ, self._signalled)
            if self._notify is not None:
                selector.register(self._notify, selectors.EVENT_READ, self._said)
            while self._reap():
                for key, _ in selector.select():
                    key.data()
        self._tell(exit=self._exit)
        return self._exit

    def _spawn(self) -> int:
        # No signal may meet the child between fork and exec, where it would be handled as ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            return pid
        try:
            signal.set_wakeup_fd(-1)
            for number in (*HANDED_ON, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            env = {name: value for name, value in os.environ.items() if name != MARK}
            env["LISTEN_PID"] = str(os.getpid())
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvpe(self._command[0], list(self._command), env)
        except (OSError, ValueError) as error:
            os.write(2, f"{self._command[0]} could not be started: {error}\n".encode())
        finally:
            os._exit(_NOT_STARTED)

    def _signalled(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._wake, 256):
                if number != signal.SIGCHLD:
                    self._hand_on(number)

    def _hand_on(self, number: int) -> None:
        for pid in (self._program,) if self._program_lives else kin.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _reap(self) -> bool:
        """Collect the dead; False: there are no others."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return True
                if pid == self._program:
                    self._program_lives = False
                    self._exit = os.waitstatus_to_exitcode(status)
                    if self._exit:
                        # It failed, so it has not daemonised: nothing it left may go on accepting.
                        kin.kill(os.getpid(), {})
        except ChildProcessError:
            return False

    def _said(self) -> None:
        assert self._notify is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = self._notify.recvmsg(_DATAGRAM, socket.CMSG_SPACE(_CREDENTIALS.size))
                if not _is_ours(ancillary):
                    continue
                for line in data.decode(errors="replace").splitlines():
                    name, _, value = line.partition("=")
                    if (name, value) == ("READY", "1"):
                        self._tell(ready=True)
                    elif name == "STATUS":
                        self._tell(said=value[:200])

    def _tell(self, **changes: object) -> None:
        self._status |= changes
        fresh = self._file.with_suffix(".new")
        # A full disk must not end the program; whoever waits for the word then waits until its deadline.
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(self._status))
            os.replace(fresh, self._file)


def _notify_socket(address: str) -> socket.socket | None:
    """The abstract datagram socket that the program will write to; None: the name is taken, or there is none."""
    if not address.startswith("@"):
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    try:
        sock.bind("\0" + address[1:])
    except OSError as error:
        os.write(2, f"the notify socket {address} cannot be had: {error}\n".encode())
        sock.close()
        return None
    return sock


def _is_ours(ancillary: list[tuple[int, int, bytes]]) -> bool:
    """Anybody on the host can send. A program that gave up its rights still belongs to this session."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid, uid, _ = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
            with contextlib.suppress(OSError):
                return uid in (os.getuid(), 0) or os.getsid(pid) == os.getsid(0)
    return False


def main() -> None:
    kin.adopt_orphans()
    code = Keeper(Path(sys.argv[1]), sys.argv[2:]).run()
    if code < 0:
        # Whoever waits for this process shall see the same signal; the core, if any, is the program's.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
