"""`pytest -n 2`: tests that wait for real processes run one after the other, all others beside them.

What waits has deadlines, and leaves half of the processors idle; whoever runs the others gets what is left.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.scheduler.protocol import Scheduling

WAITING = ("containers", "contract", "contract_services", "drivers", "e2e", "integration")
"""Folders of tests/ whose tests wait for real processes."""

WITH_PROCESSES = (*WAITING, "disk")
"""Folders whose tests run real processes; those of disk/ have minutes for every step."""

AUTOGROUP = Path("/proc/self/autogroup")


def with_processes(path: PurePath) -> bool:
    """Whether tests of this file have some; `path` is from the root of the repository on."""
    return path.parts[1] in WITH_PROCESSES


def _waits(nodeid: str) -> bool:
    return PurePath(nodeid).parts[1] in WAITING


class Beside(LoadScopeScheduling):
    """All tests that wait are one piece of work, the largest, so it is given out first; else each file is one."""

    def _split_scope(self, nodeid: str) -> str:
        return "waiting" if _waits(nodeid) else nodeid.partition("::")[0]


class Controller:
    """Of the process that hands out the work."""

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> Scheduling:
        return Beside(config, log)


class Worker:
    """Of a worker: gives way once it has begun with tests that do not wait, because it will get no others."""

    def __init__(self) -> None:
        self._gave_way = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if not self._gave_way and not _waits(nodeid):
            self._gave_way = True
            give_way()


def give_way() -> None:
    """Lowest priority for this process and its children, also against sessions of others where Linux groups by them."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    with contextlib.suppress(OSError):  # leads a group already, or a kernel without autogroups
        os.setsid()
        AUTOGROUP.write_text("19")


def register(config: pytest.Config) -> None:
    """What this process needs; nothing where there are no workers."""
    worker: dict[str, int] | None = getattr(config, "workerinput", None)
    if worker is None and config.getoption("numprocesses", None):
        config.pluginmanager.register(Controller(), "bumpless-beside")
    elif worker is not None and worker["workercount"] > 1:
        config.pluginmanager.register(Worker(), "bumpless-beside")
