"""One node's hardware: its disk, its links, its processes. What an executor finds when it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from bumpless.common.contract.base import Digest
from bumpless.common.contract.commands import SetAvailability
from bumpless.common.model.plan import Target
from bumpless.executor.record import ComponentRecord, Instance


@dataclass
class Process:
    """`mode`: coming, standby, working or paused. `hurt`: a fault killed it."""

    instance: str
    component: str
    target: Target
    pid: int
    born: float
    mode: str = "coming"
    alive: bool = True
    reason: str = ""
    gone: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Disk:
    """What survives. `links` are `current` and `previous`; `trees` those that are complete."""

    records: dict[str, ComponentRecord] = field(default_factory=dict)
    links: dict[str, tuple[Digest | None, Digest | None]] = field(default_factory=dict)
    trees: dict[str, frozenset[Digest]] = field(default_factory=dict)
    word: SetAvailability | None = None

    def copy(self) -> Disk:
        return replace(self, records=dict(self.records), links=dict(self.links), trees=dict(self.trees))


class Machine:
    """`changed` is told what moved."""

    def __init__(self, name: str, time: Callable[[], float], changed: Callable[[str, str], None]) -> None:
        self.name = name
        self.disk = Disk()
        self.processes: dict[str, Process] = {}
        self._pids = count(100)
        self._time, self.changed = time, changed
        self.up = True

    def spawn(self, component: str, instance: Instance) -> Process:
        process = Process(instance.id, component, instance.target, next(self._pids), self._time())
        self.processes[instance.id] = process
        self.changed(component, f"process {process.pid} of {instance.target.version} is born")
        return process

    def mode(self, instance: str, mode: str) -> bool:
        """Let it be in `mode`; False: it is gone."""
        process = self.processes.get(instance)
        if process is None or not process.alive:
            return False
        if process.mode != mode:
            process.mode = mode
            self.changed(process.component, f"process {process.pid} of {process.target.version} is {mode}")
        return True

    def end(self, instance: str, reason: str) -> None:
        process = self.processes.get(instance)
        if process is not None and process.alive:
            process.alive, process.reason = False, reason
            process.gone.set()
            self.changed(process.component, f"process {process.pid} of {process.target.version} {reason}")

    def alive(self, component: str) -> list[Process]:
        return [p for p in self.processes.values() if p.alive and p.component == component]

    def working(self, component: str) -> list[Process]:
        return [p for p in self.alive(component) if p.mode == "working"]

    def comes_up(self, instance: str) -> bool:
        """Whether it lives and is on its way to work."""
        process = self.processes.get(instance)
        return process is not None and process.alive and process.mode in ("coming", "standby")

    def lose_power(self) -> None:
        self.up = False
        for process in list(self.processes.values()):
            self.end(process.instance, "lost power")
        self.processes.clear()

    def link(self, component: str, current: Digest | None, previous: Digest | None) -> None:
        self.disk.links[component] = (current, previous)
        self.changed(component, f"links {_short(current)} {_short(previous)}")

    def staged(self, component: str, root: Digest) -> None:
        self.disk.trees[component] = self.disk.trees.get(component, frozenset()) | {root}
        self.changed(component, f"tree {_short(root)}")

    def keep_only(self, component: str, roots: frozenset[Digest]) -> None:
        gone = self.disk.trees.get(component, frozenset()) - roots
        if gone:
            self.disk.trees[component] = self.disk.trees[component] & roots
            self.changed(component, f"{len(gone)} trees removed")


def _short(root: Digest | None) -> str:
    return "-" if root is None else root[7:13]
