"""The Linux calls with which a process gives up rights, where Python's library has no function for them.

Every function raises OSError, with ENOSYS or EINVAL where the kernel does not know the call. None decides anything:
what is given up, and in which order, is up to `confine`.
"""

from __future__ import annotations

import ctypes
import os
import signal

CLONE_NEWNS = 0x0002_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 1 << 14, 1 << 18

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2

_CAPABILITY_VERSION_3 = 0x2008_0522

# One number on every architecture, as for all calls since Linux 5.1.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1

CLONE_PARENT = 0x0000_8000
_CLONE = {"x86_64": 56, "aarch64": 220}

_LIBC = ctypes.CDLL(None, use_errno=True)
_HOLDING = ctypes.PyDLL(None, use_errno=True)
"""The same, called as Python itself calls fork: without other threads of Python meanwhile."""


def _call(name: str, *arguments: object) -> int:
    # Integers go as longs: some of these functions are variadic, and a 32-bit value would leave garbage above it.
    result: int = getattr(_LIBC, name)(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def fork_sibling() -> int:
    """As `os.fork`, but the new process is another child of this one's parent, which can thus wait for both.

    On machines whose number for the call is not known here, an ordinary child.
    """
    number = _CLONE.get(os.uname().machine)
    if number is None:
        return os.fork()
    _HOLDING.PyOS_BeforeFork()
    pid: int = _HOLDING.syscall(
        ctypes.c_long(number), *map(ctypes.c_long, (CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0))
    )
    if pid == 0:
        _HOLDING.PyOS_AfterFork_Child()
        return 0
    error = ctypes.get_errno()
    _HOLDING.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(error, os.strerror(error), "clone")
    return pid


def unshare(flags: int) -> None:
    """New namespaces for the calling process."""
    _call("unshare", flags)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode(), flags, options.encode())


def set_no_new_privileges() -> None:
    """No program this process might start gains anything by it; also what lets others than root install filters."""
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_death_signal(number: int) -> None:
    """The signal this process gets when the thread that started it ends. A change of user clears it again."""
    _call("prctl", PR_SET_PDEATHSIG, number, 0, 0, 0)


def drop_capabilities() -> None:
    """Permitted, effective and inheritable capabilities become none."""
    _call("capset", (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)())


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def install_filter(program: list[tuple[int, int, int, int]]) -> None:
    """A seccomp filter of BPF instructions (code, jump if true, jump if false, constant) for the calling thread."""
    instructions = (_Instruction * len(program))(*(_Instruction(*i) for i in program))
    _call("prctl", PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(program), instructions)))


class LandlockRuleset(ctypes.Structure):
    """What a ruleset handles, and thereby refuses unless a rule allows it."""

    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


def landlock_abi() -> int:
    """The kernel's Landlock version, from 1."""
    return _call("syscall", _LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)


def landlock_restrict(ruleset: LandlockRuleset) -> None:
    """Enforce a ruleset without a single rule on the calling thread."""
    fd = _call("syscall", _LANDLOCK_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    try:
        _call("syscall", _LANDLOCK_RESTRICT_SELF, fd, 0)
    finally:
        os.close(fd)
