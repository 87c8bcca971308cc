"""Stops a process at the calls by which it changes the disk, and decides what becomes of each.

The process installs a seccomp filter that asks for a decision (seccomp_unotify(2)); whoever holds the listener
receives the calls of all its threads and children in one order, so that the k-th is the same one whichever thread made
it. Calls on anything outside the watched directory, and calls of other processes, go through uncounted.

Linux 5.8 or newer on x86-64, and the right to install a filter.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

_SECCOMP, _SET_MODE_FILTER = 317, 1
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_RET_ALLOW, _RET_NOTIFY = 0x7FFF0000, 0x7FC00000
_ARCH = 0xC000003E
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_NOTICE = struct.Struct("=QIIiIQ6Q")
_REPLY = struct.Struct("=QqiI")
_O_CREAT = 0o100
_FICLONE = 0x40049409
_AT_FDCWD = -100
_PATH_MAX = 4096

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class _Shape:
    """Where a call's arguments name files: descriptors, and paths as (argument of the directory, of the path)."""

    name: str
    descriptors: tuple[int, ...] = ()
    paths: tuple[tuple[int | None, int], ...] = ()


_SHAPES = {
    1: _Shape("write", (0,)),
    2: _Shape("open", (), ((None, 0),)),
    18: _Shape("pwrite64", (0,)),
    16: _Shape("ioctl", (0,)),
    20: _Shape("writev", (0,)),
    40: _Shape("sendfile", (0,)),
    74: _Shape("fsync", (0,)),
    75: _Shape("fdatasync", (0,)),
    76: _Shape("truncate", (), ((None, 0),)),
    77: _Shape("ftruncate", (0,)),
    82: _Shape("rename", (), ((None, 0), (None, 1))),
    83: _Shape("mkdir", (), ((None, 0),)),
    84: _Shape("rmdir", (), ((None, 0),)),
    85: _Shape("creat", (), ((None, 0),)),
    86: _Shape("link", (), ((None, 0), (None, 1))),
    87: _Shape("unlink", (), ((None, 0),)),
    88: _Shape("symlink", (), ((None, 1),)),
    90: _Shape("chmod", (), ((None, 0),)),
    91: _Shape("fchmod", (0,)),
    257: _Shape("openat", (), ((0, 1),)),
    258: _Shape("mkdirat", (), ((0, 1),)),
    263: _Shape("unlinkat", (), ((0, 1),)),
    264: _Shape("renameat", (), ((0, 1), (2, 3))),
    265: _Shape("linkat", (), ((0, 1), (2, 3))),
    266: _Shape("symlinkat", (), ((1, 2),)),
    268: _Shape("fchmodat", (), ((0, 1),)),
    277: _Shape("sync_file_range", (0,)),
    285: _Shape("fallocate", (0,)),
    296: _Shape("pwritev", (0,)),
    306: _Shape("syncfs", (0,)),
    316: _Shape("renameat2", (), ((0, 1), (2, 3))),
    326: _Shape("copy_file_range", (2,)),
}
FLUSHES = frozenset({"fsync", "fdatasync", "syncfs", "sync_file_range"})
ALLOCATES = frozenset({
    "write", "pwrite64", "writev", "pwritev", "fallocate", "open", "openat", "creat", "mkdir", "mkdirat", "link",
    "linkat", "symlink", "symlinkat", "rename", "renameat2", "sendfile", "copy_file_range", "ioctl", *FLUSHES,
})  # fmt: skip
"""What a full disk can refuse."""


@dataclass(frozen=True)
class Call:
    """`number` counts from 1; `paths` are those the call names, absolute; `thread` made it."""

    number: int
    name: str
    paths: tuple[str, ...]
    thread: int = field(compare=False)

    @property
    def flushes(self) -> bool:
        return self.name in FLUSHES


class Then(Enum):
    """What becomes of a call that is not answered with an error number."""

    PERFORM = "it goes through"
    PRETEND = "it returns 0 and is not performed"
    KILL = "the process is killed before it"


Decide = Callable[[Call], Then | int]
"""`int`: the call fails with that error number and is not performed."""


def unsupported() -> str | None:
    """Why processes cannot be stopped at their calls here; None if they can."""
    if platform.machine() != "x86_64":
        return f"calls are decoded for x86-64, this is {platform.machine()}"
    try:
        actions = Path("/proc/sys/kernel/seccomp/actions_avail").read_text().split()
    except OSError as error:
        return f"no seccomp here: {error}"
    if "user_notif" not in actions:
        return "this kernel's seccomp has no user notification"
    child = os.fork()
    if child == 0:
        try:
            os.close(install())
        except OSError:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return "seccomp refuses a listener; run as root, outside a container that forbids it" if status else None


def install() -> int:
    """Have this process and all it starts ask before they change the disk; the listener.

    Raises:
        OSError: the kernel refuses.
    """
    numbers = sorted(set(_SHAPES) - {257})
    code = [_op(0x20, 4), _op(0x15, _ARCH, 0, len(numbers) + 4), _op(0x20, 0)]
    # Jumps count instructions from the next one: to the last, which asks.
    code += [_op(0x15, n, len(numbers) - i + 3, 0) for i, n in enumerate(numbers)]
    code += [_op(0x15, 257, 0, 2), _op(0x20, 16 + 8 * 2), _op(0x45, _O_CREAT, 1, 0)]
    code += [_op(0x06, _RET_ALLOW), _op(0x06, _RET_NOTIFY)]
    program = ctypes.create_string_buffer(b"".join(code))
    header = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(code), ctypes.addressof(program)))
    for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER):
        listener = _libc.syscall(_SECCOMP, _SET_MODE_FILTER, flags, header)
        if listener >= 0 or ctypes.get_errno() != errno.EINVAL:
            break
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp: " + os.strerror(ctypes.get_errno()))
    return int(listener)


class Supervisor:
    """Answers for the process `pid`, whose listener it owns. Use it from one thread."""

    def __init__(self, listener: int, pid: int, below: Path) -> None:
        self._listener, self._pid = listener, pid
        self._processes = {pid: os.pidfd_open(pid)}
        self._below = os.path.realpath(below)
        self._mine: dict[int, bool] = {}
        self._killed = False
        self.calls: list[Call] = []

    def run(self, decide: Decide, *, outlived: bool = False) -> None:
        """Answer until the process and everything it started have ended; if it is `outlived`, until itself has.

        `decide` is asked about every call of the process that names something below the directory. What outlives it
        is to be answered by another `run`.
        """
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        if outlived:
            poll.register(self._processes[self._pid], select.POLLIN)
        while True:
            events = dict(poll.poll())
            heard = events.get(self._listener, 0)
            if heard & select.POLLIN:
                self._answer(decide)
            elif heard & select.POLLHUP:
                break
            elif self._processes[self._pid] in events:
                return
        # A process lets go of its filter before it closes its files and leaves its mounts.
        for process in self._processes.values():
            gone = select.poll()
            gone.register(process, select.POLLIN)
            gone.poll()

    def close(self) -> None:
        os.close(self._listener)
        for process in self._processes.values():
            os.close(process)

    def _answer(self, decide: Decide) -> None:
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, notice)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return  # it was killed meanwhile
            raise
        identity, thread, _, number, _, _, *arguments = _NOTICE.unpack(notice)
        call = self._read(thread, number, arguments)
        verdict: Then | int = Then.PERFORM
        if call is not None and self._killed:
            return  # another thread's, which dies with it
        if call is not None:
            self.calls.append(call)
            verdict = decide(call)
        if verdict is Then.KILL:
            self._killed = True
            os.kill(self._pid, signal.SIGKILL)
            return
        failed = verdict if isinstance(verdict, int) else 0
        flags = _CONTINUE if verdict is Then.PERFORM else 0
        try:
            fcntl.ioctl(self._listener, _SEND, _REPLY.pack(identity, 0, -failed, flags))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def _read(self, thread: int, number: int, arguments: list[int]) -> Call | None:
        """The call, if it counts. Its memory is stable: the thread waits."""
        shape = _SHAPES[number]
        if shape.name == "ioctl" and arguments[1] != _FICLONE:
            return None
        if shape.name == "open" and not arguments[1] & _O_CREAT:
            return None
        try:
            if not self._is_mine(thread):
                return None
            named = [os.readlink(f"/proc/{thread}/fd/{arguments[i]}") for i in shape.descriptors]
            named += [
                _path(thread, None if d is None else arguments[d], arguments[p]) for d, p in shape.paths
            ]
        except (FileNotFoundError, ProcessLookupError):
            return None  # a descriptor that is not open; a process that was killed meanwhile
        if not any(path == self._below or path.startswith(self._below + "/") for path in named):
            return None
        return Call(len(self.calls) + 1, shape.name, tuple(named), thread)

    def _is_mine(self, thread: int) -> bool:
        if thread not in self._mine:
            status = Path(f"/proc/{thread}/status").read_text()
            pid = int(status.partition("\nTgid:")[2].split()[0])
            self._mine[thread] = pid == self._pid
            if pid not in self._processes:
                self._processes[pid] = os.pidfd_open(pid)
        return self._mine[thread]


def _op(code: int, k: int, then: int = 0, otherwise: int = 0) -> bytes:
    """One instruction of a classic BPF program (<linux/filter.h>)."""
    return struct.pack("=HBBI", code, then, otherwise, k)


def _path(thread: int, directory: int | None, at: int) -> str:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(at)
        text = b""
        while b"\0" not in text and len(text) < _PATH_MAX:
            # To the end of a page at most: the next one need not be there.
            piece = memory.read(4096 - (at + len(text)) % 4096)
            if not piece:
                break
            text += piece
    path = os.fsdecode(text.partition(b"\0")[0])
    if path.startswith("/"):
        return path
    signed = None if directory is None else ctypes.c_int32(directory & 0xFFFFFFFF).value
    above = os.readlink(
        f"/proc/{thread}/cwd" if signed in (None, _AT_FDCWD) else f"/proc/{thread}/fd/{signed}"
    )
    return os.path.join(above, path)
