"""What a process has started, wherever it went: its session, its descendants, and whoever carries its marks.

A program that forks twice and makes a session of its own leaves its parent, its group and its session behind, but not
its environment. One that also replaces its environment is found while its parent lives, and not after.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2)."""
ROUNDS = 20
"""Looks for processes that were forked while the ones before were killed. The second finds them, unless it races."""


@dataclass(frozen=True)
class _Row:
    parent: int
    session: int


def adopt_orphans() -> None:
    """Let processes whose parents died become children of this one, where they can be waited for."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")


def alive(leader: int, marks: Mapping[str, str]) -> set[int]:
    """The living processes that `leader` started, without itself. Every one of `marks` must be in the environment.

    `leader` must not have been reaped, or its number may be somebody else's by now.
    """
    table = _table()
    found = {pid for pid, row in table.items() if leader in (row.parent, row.session)}
    while grown := {pid for pid, row in table.items() if row.parent in found} - found:
        found |= grown
    if marks:
        wanted = {os.fsencode(f"{name}={value}") for name, value in marks.items()}
        found |= {pid for pid in table if pid not in found and wanted <= _environment(pid)}
    return found - {leader, os.getpid()}


def kill(leader: int, marks: Mapping[str, str]) -> int:
    """SIGKILL to everything `leader` started; how many processes there were. Call before `leader` is reaped."""
    killed: set[int] = set()
    for _ in range(ROUNDS):
        fresh = alive(leader, marks) - killed
        if not fresh:
            break
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= fresh
    return len(killed)


class Orphans:
    """Reaps what became a child of this process and that nobody here waits for."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def reap(self) -> int:
        """Collect every child that was dead at the last look already: one with an owner is collected at once."""
        dead = {pid for pid in children() if _state(pid) == "Z"}
        for pid in dead & self._seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        reaped = len(dead & self._seen)
        self._seen = dead - self._seen
        return reaped


def children() -> set[int]:
    """The direct children of this process, dead ones that nobody waited for included."""
    me = os.getpid()
    return {pid for pid, fields in _stats() if int(fields[1]) == me}


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return _fields(pid)[0]
    return ""


def _table() -> dict[int, _Row]:
    """Every living process by pid."""
    return {
        pid: _Row(int(fields[1]), int(fields[3])) for pid, fields in _stats() if fields[0] not in ("Z", "X")
    }


def _stats() -> list[tuple[int, list[str]]]:
    rows = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                rows.append((int(name), _fields(int(name))))
    return rows


def _fields(pid: int) -> list[str]:
    """/proc/PID/stat from field 3 on. The name before it, in parentheses, may hold spaces and parentheses."""
    text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    return text[text.rindex(")") + 2 :].split()


def _environment(pid: int) -> set[bytes]:
    with contextlib.suppress(OSError):
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    return set()
