"""Whether trees that serve are as they were staged, for the planner: it should know before it sends a delta.

Looked at `SETTLE_S` seconds after the executor started or another tree serves, and every `EVERY_S` seconds: one tree at
a time, in a thread, and only files whose change time moved are read (`sound`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

from bumpless.common.contract.base import Digest
from bumpless.common.model.fleet import ComponentState
from bumpless.common.shell.log import get_logger
from bumpless.executor.actor import ComponentActor
from bumpless.executor.ports import ArtifactSource

log = get_logger(__name__)

EVERY_S = 600.0
SETTLE_S = 10.0
"""Not in the middle of a switch, when the node has other things to do."""


class TreeWatch:
    """`report` is called when something else is found than before."""

    def __init__(
        self,
        source: ArtifactSource,
        actors: Callable[[], Iterable[ComponentActor]],
        report: Callable[[], None],
    ) -> None:
        self._source, self._actors, self._report = source, actors, report
        self._looked: dict[str, tuple[Digest, float]] = {}
        """Component -> the tree that was looked at, and when."""
        self._moved = asyncio.Event()
        self.changed: dict[str, tuple[str, ...]] = {}

    def moved(self) -> None:
        """Something may serve from another tree."""
        self._moved.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(SETTLE_S)
            self._moved.clear()
            before = dict(self.changed)
            for actor, root in tuple(self._due()):
                await self._look(actor, root)
            serving = {actor.record.component for actor in self._actors() if _serves(actor) is not None}
            self.changed = {name: told for name, told in self.changed.items() if name in serving}
            if self.changed != before:
                self._report()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), EVERY_S)

    def _due(self) -> Iterator[tuple[ComponentActor, Digest]]:
        now = time.monotonic()
        for actor in self._actors():
            root = _serves(actor)
            looked = self._looked.get(actor.record.component)
            if root is None:
                continue
            # What differs is looked at at every turn: the tree may have been made again.
            is_known = looked is not None and looked[0] == root and now - looked[1] < EVERY_S
            if not is_known or actor.record.component in self.changed:
                yield actor, root

    async def _look(self, actor: ComponentActor, root: Digest) -> None:
        name = actor.record.component
        try:
            found = await self._source.changed(root, actor.layout)
        except OSError as error:
            log.warning("a tree that serves was not looked at", component=name, tree=root, reason=str(error))
            return
        if _serves(actor) != root:
            return  # it may be going already; what serves now is looked at next
        self._looked[name] = root, time.monotonic()
        if found and found != self.changed.get(name):
            log.warning("a tree that serves is not what it was", component=name, tree=root, differs=found)
        self.changed.pop(name, None)
        if found:
            self.changed[name] = found


def _serves(actor: ComponentActor) -> Digest | None:
    record = actor.record
    if record.state is not ComponentState.SERVING or record.current is None:
        return None
    return record.current.root
