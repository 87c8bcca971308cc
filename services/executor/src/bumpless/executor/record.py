"""What the executor knows about one component: the state of its machine, and exactly what its journal holds.

Everything that must survive a SIGKILL is a field here. Nothing here is derived from a clock or from the disk.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bumpless.common.contract.base import Digest, Instant, Model, PlanHash, Token
from bumpless.common.contract.commands import ApplyComponent, StageComponent
from bumpless.common.contract.events import (
    ComponentCrashLooping,
    ReturnedToPrevious,
    StepFinished,
    StepStaged,
)
from bumpless.common.model.fleet import ComponentObserved, ComponentState
from bumpless.common.model.plan import Target

Command = Annotated[StageComponent | ApplyComponent, Field(discriminator="type")]
Result = Annotated[StepStaged | StepFinished, Field(discriminator="type")]
Said = Annotated[
    StepStaged | StepFinished | ComponentCrashLooping | ReturnedToPrevious, Field(discriminator="type")
]

RESTING = (ComponentState.ABSENT, ComponentState.SERVING, ComponentState.STUCK)


class Listener(Model):
    """A shared listening socket: its name and address in the run spec, and its inode, which outlives descriptors."""

    name: Token
    address: str
    inode: int


class Instance(Model):
    """One process of one version. `pid` 0: about to be started. (`pid`, `started_ticks`) names a process for ever.

    `started_ticks` is field 22 of /proc/PID/stat: clock ticks from boot to the start of the process. `admin` is the
    path of its private socket, where it has one. `standby`: it was started to wait, and nobody has ordered it to work
    yet. `given_up`: nobody wants it any more, but it may have work and may still take some until it has ended.
    """

    id: str
    target: Target
    pid: int = 0
    started_ticks: int = 0
    listeners: tuple[Listener, ...] = ()
    admin: str = ""
    since: Instant | None = None
    standby: bool = False
    given_up: bool = False


class ComponentRecord(Model):
    """One component on this node.

    `command` is the highest one taken, whole; `waiting` a higher one that came while the switch could not be left.
    `serving` runs `current`; `fresh` runs the command's target until it takes over; `warm` is the replaced or
    removed instance, paused; `stopping` are on their way out. `rest` is the state to return to if the transition fails; `failing` why
    it does. `alone`: this transition began as one in which two must not work at once, and ends as one. `lineage` are
    the instances whose state the next one may take over, the newest first: those that were ordered to work since one of
    them was known to work, and that one. `cut` is what this transition has cut so far. `outbox` is what the broker has
    not acknowledged, `result` the last answer, `unsaid` the answer to `command` that is not true yet: it waits for the
    end of what was given up. `crashed_at` are the latest crashes that may be part of a loop.
    `may_return`: the version before may be returned to if this one crashes again and again; `returned_from`: that was
    done. `out`: the node is drained, and nothing of this shall run; `leaving` is the serving instance that was told so,
    `back_at` when the node came back last. `brought_by` is the plan whose command made `current` what it is.
    """

    node: Token
    component: Token
    state: ComponentState = ComponentState.ABSENT
    rest: ComponentState = ComponentState.ABSENT
    current: Target | None = None
    previous: Target | None = None
    command: Command | None = None
    waiting: Command | None = None
    serving: Instance | None = None
    fresh: Instance | None = None
    warm: Instance | None = None
    warm_until: Instant | None = None
    stopping: tuple[Instance, ...] = ()
    failing: str | None = None
    alone: bool = False
    lineage: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    switched_at: Instant | None = None
    marks: dict[str, Instant] = {}
    restarts: int = 0
    crashes: int = 0
    crashed_at: tuple[Instant, ...] = ()
    may_return: bool = False
    returned_from: Target | None = None
    out: bool = False
    leaving: str | None = None
    back_at: Instant | None = None
    brought_by: PlanHash | None = None
    reason: str | None = None
    result: Result | None = None
    unsaid: Result | None = None
    outbox: tuple[Said, ...] = ()

    @property
    def number(self) -> tuple[int, int]:
        """The highest (generation, sequence) taken or waiting; lower ones are refused."""
        standing = self.waiting or self.command
        return (standing.generation, standing.sequence) if standing else (0, -1)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Every process of this component that may be alive."""
        named = (self.serving, self.fresh, self.warm)
        return tuple(i for i in named if i is not None) + self.stopping

    @property
    def exclusive(self) -> bool:
        """Whether another instance must not work beside those that may: one of the versions says so."""
        command = None if self.state in RESTING else self.command
        coming = command.target if isinstance(command, ApplyComponent) else None
        working = [i.target for i in self.instances if not i.standby]
        alone = any(t is not None and not t.run.overlap for t in (self.current, coming, *working))
        return alone or (self.alone and self.state not in RESTING)

    @property
    def takes_traffic(self) -> tuple[Instance, ...]:
        """The instances whose metrics count: the serving one, and the new one once it may answer requests."""
        switching = self.state in (ComponentState.SWITCHING, ComponentState.DRAINING)
        fresh = self.fresh if switching else None
        return tuple(i for i in (self.serving, fresh) if i is not None and i.pid and not i.standby)

    def observed(self, staged: tuple[Digest, ...] = ()) -> ComponentObserved:
        """This component as the inventory shows it. While the old instance drains, the new one is what runs."""
        runs, before = self.current, self.previous
        if self.state is ComponentState.DRAINING and self.fresh is not None and not self.fresh.standby:
            runs, before = self.fresh.target, self.current
        if self.state is ComponentState.STUCK:
            runs = None
        held = self.warm if self.current is None else None
        return ComponentObserved(
            component=self.component,
            state=self.state,
            target=runs,
            root=runs.root if runs else None,
            previous=before.root if before else None,
            staged=staged,
            generation=max(0, self.number[0]),
            sequence=max(0, self.number[1]),
            # Of a drained node: whatever is still there.
            instances=len([i for i in self.instances if i.pid]) if self.out else len(self.takes_traffic),
            restarts=self.restarts,
            brought_by=self.brought_by if runs is self.current else None,
            returned_from=self.returned_from.version if self.returned_from else None,
            held=held.target.version if held else None,
            held_until=self.warm_until if held else None,
            reason=self.failing or self.reason,
        )
