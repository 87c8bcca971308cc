"""What the executor needs from the world: processes that can be switched, artifacts, and somebody to tell.

Drivers implement these over the real machine, fakes in the tests over memory; one conformance suite runs over both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from bumpless.common.contract.base import Digest, Message
from bumpless.common.contract.stage_check import StageCheck
from bumpless.common.errors import ReleaseError
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Run
from bumpless.executor.layout import Layout
from bumpless.executor.record import Instance, Listener


class NotReady(ReleaseError):
    """A new instance did not become ready and healthy; the text says why, with its last words."""


class Unanswered(ReleaseError):
    """An instance did not answer on its private socket, or not with what was asked for."""


@dataclass(frozen=True)
class Launch:
    """One process to start. `target` of the instance has its placeholders filled in.

    `handover`: the file in which its state goes to the next one; None: it runs beside the next one.
    """

    component: str
    instance: Instance
    version_dir: Path
    state_dir: Path
    log_dir: Path
    handover: Path | None = None


@dataclass(frozen=True)
class Exit:
    """How a process ended, in words, and how many seconds it lived."""

    reason: str
    lived_s: float


class ProcessSwitch(Protocol):
    """Runs instances of components side by side on the same listening sockets.

    One that is started with the mark `standby` gets ready and takes nothing before it is activated.
    An instance is known by its id; every operation on an instance that is gone is harmless.
    """

    async def listen(self, component: str, run: Run) -> tuple[Listener, ...]:
        """The shared listening sockets of `run.listen`, bound now unless they are held already. Raises: Refused."""
        ...

    async def start(self, launch: Launch) -> Instance:
        """Start a process on the listeners of the instance; returns the instance with its process.

        Raises:
            Refused: it cannot be started here.
        """
        ...

    async def wait_ready(self, instance: Instance, timeout_s: float) -> None:
        """Until it says READY=1 and its health check answers 200; also a standby does. Raises: NotReady."""
        ...

    async def check(self, instance: Instance) -> None:
        """One health check. Raises: Unanswered."""
        ...

    async def take_over(self, run: Run, root: Digest | None) -> None:
        """The links name the tree `root`, or none: do what is left until it is what runs. Nothing, for most drivers.

        May be called again after a restart of the executor. Raises: NotReady, Refused.
        """
        ...

    async def pause(self, instance: Instance) -> None:
        """Let it take no new work; it serves what is open. Raises: Unanswered."""
        ...

    async def resume(self, instance: Instance) -> None:
        """Undo `pause`. Raises: Unanswered."""
        ...

    async def activate(self, instance: Instance, timeout_s: float) -> str:
        """Let a standby work; returns what became of the state that was left to it. Harmless when it works already.

        Raises: Unanswered, also when it refuses the state.
        """
        ...

    async def drained(self, instance: Instance, lame_duck_s: float, timeout_s: float) -> tuple[str, ...]:
        """Wait until a paused instance has nothing left to do: the lame duck is over (or no connection is open) and
        nothing is in flight or unacknowledged. At `timeout_s` return what is left, one sentence each."""
        ...

    async def stop(self, instance: Instance, timeout_s: float) -> None:
        """Ask it to drain and exit; kill it and its children after `timeout_s`. Returns when it is gone."""
        ...

    async def kill(self, instance: Instance, because: str = "") -> None:
        """Kill it and its children at once; returns when it is gone. `because` becomes the reason of its exit."""
        ...

    async def adopt(self, instance: Instance) -> Instance | None:
        """Take over what an earlier executor started, and its listening sockets; None: it is not alive."""
        ...

    async def exited(self, instance: Instance) -> Exit:
        """Return when it is gone."""
        ...

    async def scrape(self, instance: Instance) -> str:
        """Its metrics, in the Prometheus text format. Raises: Unanswered."""
        ...

    async def keep_only(self, component: str, runs: Iterable[Run]) -> None:
        """Let go of the component's listening sockets that none of `runs` listens on."""
        ...

    async def reap(self, known: Iterable[str]) -> tuple[str, ...]:
        """Kill processes of this node that no record knows (ids); returns theirs."""
        ...

    async def tidy(self) -> None:
        """Keep logs within their bounds."""
        ...

    def close(self) -> None:
        """Let go of everything without touching a process: the executor ends, the services stay."""
        ...


@dataclass(frozen=True)
class StagedTree:
    """How a tree came here: `full_bytes` is what the whole package would have cost."""

    used: Literal["present", "delta", "full"]
    bytes_fetched: int
    full_bytes: int
    note: str | None = None


class ArtifactSource(Protocol):
    """Where trees come from."""

    async def stage(self, target: Target, layout: Layout, in_use: frozenset[Digest]) -> StagedTree:
        """Bring `target.root` to `layout.version(target.root)`, verified and flushed. Changes nothing that runs.

        Raises:
            Refused: the artifact is not what the target says, or does not fit.
            ArtifactError: it is damaged, missing, untrusted, or its store does not answer.
            OSError: the disk failed; nothing is left behind.
        """
        ...

    async def changed(self, root: Digest, layout: Layout) -> tuple[str, ...]:
        """What is not as it was staged in the tree at `layout.version(root)`, one sentence each; empty: it is whole."""
        ...

    async def check(self, wanted: StageCheck, layout: Layout | None, in_use: frozenset[Digest]) -> StagedTree:
        """Do all that `stage` would, within `wanted.timeout_s` and in a place of its own, and remove the result.

        `layout` None: the component was never on this node. One at a time, and never in the way of a `stage`.

        Raises: as `stage`; and Refused, where it is not over in time or a `stage` came first.
        """
        ...


class Reports(Protocol):
    """Where the node's word goes."""

    async def publish(self, message: Message) -> None:
        """Raises: Retryable, if nobody acknowledged it."""
        ...
