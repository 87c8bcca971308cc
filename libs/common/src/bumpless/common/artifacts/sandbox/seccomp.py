"""The list of system calls that a locked-down patcher may make; any other kills it.

Invariants: nothing on the list opens, connects, starts, signals or writes to a file. Memory may only be private to
the process and never executable. Messages may only be ordinary: out-of-band data on Unix sockets, for one, has led out
of sandboxes before (CVE-2025-38236).

Only architectures with a table here get a filter. The numbers for aarch64 are from the kernel's table; they have not
been run.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from . import linux

# Offsets in struct seccomp_data, and what is used of classic BPF.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06

_ALLOW, _KILL_PROCESS = 0x7FFF_0000, 0x8000_0000

_FUTEX_WAKE, _FUTEX_COMMAND = 1, 0x7F
_MAP_SHARED = 1

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True)
class Argument:
    """The call is allowed where the low 32 bits of argument `index`, masked, equal `value`."""

    index: int
    mask: int
    value: int

    @classmethod
    def exactly(cls, index: int, value: int) -> Argument:
        return cls(index, 0xFFFF_FFFF, value)


_NOT_EXECUTABLE = Argument(2, mmap.PROT_EXEC, 0)
_PRIVATE_AND_ANONYMOUS = Argument(3, _MAP_SHARED | mmap.MAP_ANONYMOUS, mmap.MAP_ANONYMOUS)

ALLOWED: Mapping[str, tuple[Argument, ...]] = {
    "recvmsg": (Argument.exactly(2, socket.MSG_CMSG_CLOEXEC),),
    "sendmsg": (Argument.exactly(2, socket.MSG_NOSIGNAL),),
    "pread64": (),
    "close": (),
    "mmap": (_NOT_EXECUTABLE, _PRIVATE_AND_ANONYMOUS),
    "munmap": (),
    "mremap": (),
    "mprotect": (_NOT_EXECUTABLE,),
    "brk": (),
    "madvise": (),
    "clock_gettime": (),
    # There is one thread, so nobody to wait for: this is for wake-ups that libraries send without need.
    "futex": (Argument(1, _FUTEX_COMMAND, _FUTEX_WAKE),),
    "rt_sigreturn": (),
    "restart_syscall": (),
    "exit": (),
    "exit_group": (),
}
"""The calls and what their arguments must be."""

# Audit number of the architecture, and the numbers of the calls in the order of ALLOWED.
_ARCHITECTURES = {
    "x86_64": (0xC000_003E, (47, 46, 17, 3, 9, 11, 25, 10, 12, 28, 228, 202, 15, 219, 60, 231)),
    "aarch64": (0xC000_00B7, (212, 211, 67, 57, 222, 215, 216, 226, 214, 233, 113, 98, 139, 128, 93, 94)),
}


def program(machine: str) -> list[Instruction]:
    """The filter for a machine as `os.uname` calls it.

    Raises:
        OSError: ENOSYS, there is no table for this machine.
    """
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no list of system calls for {machine}")
    architecture, numbers = _ARCHITECTURES[machine]
    kill = (_RETURN, 0, 0, _KILL_PROCESS)
    # Without the check of the architecture, a 32-bit call would pass under the number of a harmless 64-bit one.
    # Calls of the x32 kind have a high bit in their number and match nothing here.
    filter_ = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        kill,
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number, arguments in zip(numbers, ALLOWED.values(), strict=True):
        block: list[Instruction] = []
        for a in arguments:
            block += [
                (_LOAD, 0, 0, _ARGUMENTS + 8 * a.index),
                (_AND, 0, 0, a.mask),
                (_JUMP_IF_EQUAL, 1, 0, a.value),
                kill,
            ]
        block.append((_RETURN, 0, 0, _ALLOW))
        filter_ += [(_JUMP_IF_EQUAL, 0, len(block), number), *block]
    return [*filter_, kill]


def install() -> None:
    """Filter the calling thread's system calls from here on, for ever.

    Raises:
        OSError: the kernel has no seccomp filters, or there is no table for this machine.
    """
    linux.install_filter(program(os.uname().machine))
