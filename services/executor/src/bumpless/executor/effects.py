"""What the machine of one component wants done. Plain values; `steps` performs them, in their order.

The journal holds the state that ordered an effect before the effect begins, and every effect may be performed
again after a crash with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass

from bumpless.common.contract.base import Digest, Instant
from bumpless.common.contract.commands import StageComponent
from bumpless.common.contract.events import StepProgressed
from bumpless.common.model.plan import Target
from bumpless.executor.record import Command, Instance


@dataclass(frozen=True)
class Stage:
    """Bring the target's tree to this node, and those of later hops, verified and flushed.

    Answers Staged or StageFailed, once for all of them.
    """

    command: Command
    target: Target

    @property
    def targets(self) -> tuple[Target, ...]:
        """In the order in which they will run."""
        further = self.command.further if isinstance(self.command, StageComponent) else ()
        return self.target, *further


@dataclass(frozen=True)
class Start:
    """Start `instance` beside whatever serves, wait until it is ready, healthy and has outlived the soak.

    `reuse`: it is the warm instance; resume it instead. An instance with a pid was started by an earlier executor:
    only wait for it. A standby is proven when it is ready: it takes nothing yet. Answers Started, then Proven or
    StartFailed.
    """

    command: Command
    instance: Instance
    reuse: bool


@dataclass(frozen=True)
class CommitSwitch:
    """Let `current` and `previous` name these trees, and `current` take over. Answers Switched or SwitchFailed."""

    command: Command
    current: Digest
    previous: Digest | None


@dataclass(frozen=True)
class Install:
    """The node is drained: run the hook before the upgrade, and let `current` and `previous` name these trees.

    Nothing is started. Answers Switched or SwitchFailed.
    """

    command: Command
    current: Digest
    previous: Digest | None


@dataclass(frozen=True)
class StandDown:
    """The node is drained: pause `instance` and wait out its lame duck and its open work. Answers StoodDown, beside
    whatever else is under way.
    """

    instance: Instance


@dataclass(frozen=True)
class StayUp:
    """Give up the StandDown of `instance`, which works on."""

    instance: Instance


@dataclass(frozen=True)
class PauseOld:
    """Stop `instance` from taking new work; it serves what is open. It may be dead already."""

    instance: Instance


@dataclass(frozen=True)
class ResumeOld:
    """Let the warm `instance` take work while the serving one is down."""

    instance: Instance


@dataclass(frozen=True)
class DrainOld:
    """Pause `instance`, the old one, and wait out its lame duck and its open work, up to the deadline.

    Hooks run before and after it is paused. `instance` None: it is gone, and nothing is left to wait for. Answers
    Drained, or SwitchFailed where a hook failed.
    """

    command: Command
    instance: Instance | None


@dataclass(frozen=True)
class Vacate:
    """Pause, drain and stop `instance`, so that the standby `fresh` can follow. Answers Drained once it is gone, with
    what was cut, or ActivateFailed. `instance` None: nothing is left to stop.
    """

    command: Command
    instance: Instance | None
    fresh: Instance


@dataclass(frozen=True)
class Activate:
    """Once every one of `after` is gone, let `instance` work, with the state that one of `heirs_of` left.

    `after` are on their way out already. `heirs_of` None: it is known to have taken over what there was. `command` None:
    after a crash, beside other work. With `soak` it must stay healthy for a while. It may work already. Answers Activated
    or ActivateFailed.
    """

    instance: Instance
    after: tuple[Instance, ...]
    heirs_of: tuple[str, ...] | None
    command: Command | None
    soak: bool = False


@dataclass(frozen=True)
class Retire:
    """Run the hook, pause, drain and stop `instance`, then remove the `current` link; `previous` shall name this tree.

    `hold`: it is left paused, and not stopped. Answers Drained, with the moment the link went, or SwitchFailed.
    """

    command: Command
    instance: Instance | None
    previous: Digest | None
    hold: bool = False


@dataclass(frozen=True)
class Restore:
    """Undo: put the links back, resume `serving` or else start `target`. Answers Restored or RestoreFailed.

    `target` None: nothing ran before. `standby` is an id for a process that has to be started. `exclusive`: the one
    that is restored works only after an Activate; `serving` is stopped first unless it can still be resumed, which one
    that was never told to pause (`untouched`) can as long as it is healthy. `idle`: the node is drained, so only the
    links are put back.
    """

    command: Command
    serving: Instance | None
    target: Target | None
    previous: Digest | None
    standby: str
    exclusive: bool = False
    untouched: bool = False
    idle: bool = False


@dataclass(frozen=True)
class Abort:
    """Give up the work in progress and end what it started: by draining, because it may have taken requests."""

    end: Instance | None


@dataclass(frozen=True)
class KeepWarm:
    """Say Cooled at `until`."""

    instance: Instance
    until: Instant


@dataclass(frozen=True)
class StopOld:
    """Drain `instance` by SIGTERM, and kill it at the deadline. Answers Died."""

    instance: Instance


@dataclass(frozen=True)
class Revive:
    """Start `target` again under the id `standby`, after the delay that `attempt` earns. Answers Revived or ReviveFailed.

    `exclusive`: it waits for an Activate.
    """

    target: Target
    standby: str
    attempt: int
    exclusive: bool = False


@dataclass(frozen=True)
class StopReviving:
    """Give up a restart in progress: something else is about to serve."""


@dataclass(frozen=True)
class Report:
    """Publish what is in the outbox, and the node's observation."""


@dataclass(frozen=True)
class Progress:
    """For dashboards; losing it loses nothing."""

    message: StepProgressed


@dataclass(frozen=True)
class Collect:
    """Put the links where the record says, unless they are being moved; remove trees nothing names any more."""


@dataclass(frozen=True)
class Park:
    """Keep the command for a person: it is not for this node, or contradicts one that was taken."""

    command: Command
    reason: str


Effect = (
    Stage
    | Start
    | CommitSwitch
    | Install
    | StandDown
    | StayUp
    | PauseOld
    | ResumeOld
    | DrainOld
    | Vacate
    | Activate
    | Retire
    | Restore
    | Abort
    | KeepWarm
    | StopOld
    | Revive
    | StopReviving
    | Report
    | Progress
    | Collect
    | Park
)
