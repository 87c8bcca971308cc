"""Locks the calling process down, for ever, with what this kernel and this user's rights allow.

Invariants: every measure stands alone, and one that is refused leaves the others in force; the result says which ones
hold and why the others do not. Nothing here judges whether that is enough: who started the process does.

What it does not do: a PID namespace, because a process cannot move into one (signals are stopped by `landlock` and
`seccomp`), and limits on the machine's total, which are the service manager's.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from . import linux, seccomp

NOBODY = 65534

_DESCRIPTORS = 8
"""Standard input, output and error, a blob and a base, the ruleset while it is made; and two to spare."""

# Rights that Landlock can refuse, by the first version that knows them.
_LANDLOCK_FILES = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_LANDLOCK_TCP = {4: 0b11}
_LANDLOCK_SCOPES = {6: 0b11}


class Measure(StrEnum):
    """One way in which the process is locked down, in the order in which they are taken.

    The order matters: the limits are read off /proc, which the empty root covers; the rights to make namespaces go
    with the user; a change of user forgets the signal at the parent's death; and the filter ends all of this.
    """

    RESOURCE_LIMITS = "resource-limits"
    """Memory, processor time, no file growth, no new process, few descriptors, no core file."""
    NETWORK = "network-namespace"
    """No network interface but a loopback of its own, which is down."""
    IPC = "ipc-namespace"
    """No System V or POSIX message queue, semaphore or shared memory of others."""
    EMPTY_ROOT = "empty-root"
    """The root directory is an empty, read-only file system of its own."""
    UNPRIVILEGED = "unprivileged"
    """Neither root's user nor a capability."""
    NO_NEW_PRIVILEGES = "no-new-privileges"
    """No set-user-id program helps."""
    DIES_WITH_PARENT = "dies-with-parent"
    LANDLOCK = "landlock"
    """No file can be opened; no TCP, abstract Unix socket or signal to others where the kernel's version has that."""
    SECCOMP = "seccomp"
    """Few system calls are left; any other kills the process."""


_NAMESPACES = frozenset((Measure.NETWORK, Measure.IPC, Measure.EMPTY_ROOT))


@dataclass(frozen=True)
class Budget:
    """`memory` is bytes, with what the process already has. `cpu_s` is seconds of processor time."""

    memory: int
    cpu_s: int


@dataclass(frozen=True)
class Confinement:
    """What holds a process, and for each other measure why it does not."""

    active: frozenset[Measure]
    missing: Mapping[Measure, str]

    def __str__(self) -> str:
        held = ", ".join(m for m in Measure if m in self.active) or "nothing"
        lost = "; ".join(f"{m} ({self.missing[m]})" for m in Measure if m in self.missing)
        return f"confined by {held}" + (f"; not by {lost}" if lost else "")


def confine(budget: Budget, measures: Iterable[Measure] = Measure) -> Confinement:
    """Take these measures, and close all descriptors but standard input and output; standard error joins the latter.

    Raises:
        RuntimeError: the process has several threads, of which some measures would hold only the calling one, or has
            more memory than the budget.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError(
            "expected one thread when locking down, found several; a library started them on import"
        )
    _, resident = _memory()
    if resident > budget.memory:
        raise RuntimeError(f"expected to start in {budget.memory} bytes of memory, found {resident} in use")
    os.dup2(1, 2)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    wanted = frozenset(measures)
    if wanted & _NAMESPACES and os.geteuid() != 0:
        # Gives the right to make the other namespaces. Where it is refused, they are too, and say so.
        with suppress(OSError):
            linux.unshare(linux.CLONE_NEWUSER)
    missing: dict[Measure, str] = {}
    for measure in (m for m in Measure if m in wanted):
        try:
            _STEPS[measure](budget)
        except OSError as error:
            missing[measure] = error.strerror or str(error)
    return Confinement(wanted - missing.keys(), missing)


def _network(budget: Budget) -> None:
    linux.unshare(linux.CLONE_NEWNET)


def _ipc(budget: Budget) -> None:
    linux.unshare(linux.CLONE_NEWIPC)


def _empty_root(budget: Budget) -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", "none", linux.MS_REC | linux.MS_PRIVATE)
    # /proc is merely a directory that every system has; nothing below needs what was there.
    bare = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("none", "/proc", "tmpfs", bare, "size=4k,mode=111")
    os.chroot("/proc")
    os.chdir("/")


def _unprivileged(budget: Budget) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    linux.drop_capabilities()


def _no_new_privileges(budget: Budget) -> None:
    linux.set_no_new_privileges()


def _dies_with_parent(budget: Budget) -> None:
    linux.set_death_signal(signal.SIGKILL)


def _resource_limits(budget: Budget) -> None:
    mapped, resident = _memory()
    wanted = {
        # The kernel has no limit on resident memory, but only what is mapped can become resident: so much more may be
        # mapped as is left of the budget now.
        resource.RLIMIT_AS: mapped + budget.memory - resident,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_CPU: budget.cpu_s,
    }
    for limit, most in wanted.items():
        _, hard = resource.getrlimit(limit)
        # Only the soft limit on time: it kills by a signal that names the cause. Whoever could raise it again is past
        # `seccomp`, and the parent has a clock too.
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (soft, hard if limit == resource.RLIMIT_CPU else soft))


def _memory() -> tuple[int, int]:
    """Bytes mapped and bytes resident."""
    with open("/proc/self/statm") as file:
        mapped, resident, *_ = (int(pages) * resource.getpagesize() for pages in file.read().split())
    return mapped, resident


def _landlock(budget: Budget) -> None:
    abi = linux.landlock_abi()

    def known(rights: Mapping[int, int]) -> int:
        return sum(bits for since, bits in rights.items() if since <= abi)

    linux.landlock_restrict(
        linux.LandlockRuleset(known(_LANDLOCK_FILES), known(_LANDLOCK_TCP), known(_LANDLOCK_SCOPES))
    )


def _seccomp(budget: Budget) -> None:
    seccomp.install()


_STEPS: Mapping[Measure, Callable[[Budget], None]] = {
    Measure.RESOURCE_LIMITS: _resource_limits,
    Measure.NETWORK: _network,
    Measure.IPC: _ipc,
    Measure.EMPTY_ROOT: _empty_root,
    Measure.UNPRIVILEGED: _unprivileged,
    Measure.NO_NEW_PRIVILEGES: _no_new_privileges,
    Measure.DIES_WITH_PARENT: _dies_with_parent,
    Measure.LANDLOCK: _landlock,
    Measure.SECCOMP: _seccomp,
}
