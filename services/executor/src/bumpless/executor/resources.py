"""What an instance and its node use of the machine, from /proc, as samples under `bumpless_process_` and `bumpless_node_`.

Read only when a gate asks for one of them. What the kernel does not tell is missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from bumpless.executor.facts import meminfo

PROCESS, NODE = "bumpless_process_", "bumpless_node_"
_STAT_UTIME = 11
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def samples(wanted: Iterable[str], pid: int, disk: Path, proc: Path = Path("/proc")) -> dict[str, float]:
    """Those of `wanted` that can be told, for the process `pid` with all its children and for the node."""
    names = set(wanted)
    found: dict[str, float] = {}
    if any(name.startswith(PROCESS) for name in names) and pid:
        found |= _of_processes(tuple(_family(pid, proc)), proc)
    if any(name.startswith(NODE) for name in names):
        found |= _of_node(disk, proc)
    return {name: value for name, value in found.items() if name in names}


def _of_processes(pids: tuple[int, ...], proc: Path) -> dict[str, float]:
    cpu = memory = files = 0.0
    seen = False
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = _stat(pid, proc)
            cpu += (int(fields[_STAT_UTIME]) + int(fields[_STAT_UTIME + 1])) / _TICKS
            memory += int((proc / str(pid) / "statm").read_text().split()[1]) * _PAGE
            files += len(os.listdir(proc / str(pid) / "fd"))
            seen = True
    if not seen:
        return {}
    return {
        PROCESS + "cpu_seconds_total": cpu,
        PROCESS + "resident_memory_bytes": memory,
        PROCESS + "open_fds": files,
        PROCESS + "count": float(len(pids)),
    }


def _of_node(disk: Path, proc: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    memory = meminfo(proc)
    for name, key in (("memory_available_bytes", "MemAvailable"), ("memory_total_bytes", "MemTotal")):
        if key in memory:
            found[NODE + name] = float(memory[key])
    with contextlib.suppress(OSError):
        space = shutil.disk_usage(disk)
        found[NODE + "disk_free_bytes"] = float(space.free)
        found[NODE + "disk_used_ratio"] = 1 - space.free / space.total
    with contextlib.suppress(OSError, ValueError, IndexError):
        found[NODE + "load1"] = float((proc / "loadavg").read_text().split()[0])
        first = (proc / "stat").read_text().split("\n", 1)[0].split()[1:]
        busy = sum(int(ticks) for ticks in first[:8]) - int(first[3]) - int(first[4])
        found[NODE + "cpu_seconds_total"] = busy / _TICKS
    with contextlib.suppress(OSError, ValueError, IndexError):
        used, free, limit = map(int, (proc / "sys" / "fs" / "file-nr").read_text().split())
        found[NODE + "open_files"] = float(used - free)
        found[NODE + "open_files_limit"] = float(limit)
    return found


def _stat(pid: int, proc: Path) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold spaces and brackets: state, parent, and so on."""
    return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _family(pid: int, proc: Path) -> Iterator[int]:
    """`pid` and everything that descends from it."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                children.setdefault(int(_stat(int(entry.name), proc)[1]), []).append(int(entry.name))
    left = [pid]
    while left:
        one = left.pop()
        yield one
        left += children.get(one, [])
