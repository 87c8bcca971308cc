"""Brings one instance from nothing to ready: fills in what only the node knows, binds, starts, waits.

What never became ready is killed on the spot. What was ready once is never killed here: it may hold requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.contract.base import Digest
from bumpless.common.errors import Refused, ReleaseError
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Run
from bumpless.common.shell.log import get_logger
from bumpless.executor import handover
from bumpless.executor.configs import SHARED, Configs
from bumpless.executor.layout import Layout
from bumpless.executor.ports import ArtifactSource, Launch, NotReady, ProcessSwitch, Unanswered
from bumpless.executor.record import Instance

log = get_logger(__name__)


class Starter:
    """For one component of one node."""

    def __init__(
        self,
        component: str,
        node: str,
        address: str,
        layout: Layout,
        switch: ProcessSwitch,
        source: ArtifactSource,
        in_use: Callable[[], frozenset[Digest]],
        living: Callable[[], tuple[Target, ...]] = tuple,
    ) -> None:
        self._component, self._layout, self._switch = component, layout, switch
        self._source, self._in_use, self._living = source, in_use, living
        self.configs = Configs(layout.home)
        self._words = {"{node.name}": node, "{node.address}": address, "{state}": str(layout.state.resolve())}

    async def start(self, instance: Instance, born: Callable[[Instance], None] | None = None) -> Instance:
        """The instance, running, ready and healthy. `born` is called as soon as its process exists.

        Raises:
            NotReady, Refused: it could not be started, or did not become ready in time. It is gone.
            ArtifactError: its tree was changed by somebody, and cannot be made again.
        """
        await self._make_whole(instance.target)
        await asyncio.to_thread(self._configure, instance.target)
        run = self.filled(instance.target.run)
        listeners = await self._switch.listen(self._component, run)
        ready = instance.model_copy(
            update={"listeners": listeners, "target": instance.target.model_copy(update={"run": run})}
        )
        launch = Launch(
            component=self._component,
            instance=ready,
            version_dir=self._layout.version(instance.target.root),
            state_dir=self._layout.state,
            log_dir=self._layout.log,
            handover=None if run.overlap else self._layout.state / handover.NAME,
        )
        # What is recorded keeps the target as it was commanded, so that targets can be compared.
        started = (await self._switch.start(launch)).model_copy(update={"target": instance.target})
        if born is not None:
            born(started)
        await self.wait(started)
        return started

    async def _make_whole(self, target: Target) -> None:
        """Nothing is started from a tree that is not what was staged: it is made again, unless something runs from it."""
        differs = await self._source.changed(target.root, self._layout)
        if not differs:
            return
        log.error("a tree was changed", component=self._component, version=target.version, differs=differs)
        try:
            await self._source.stage(target, self._layout, self._in_use())
        except (ReleaseError, ArtifactError, OSError) as error:
            raise Refused(
                f"the tree of {target.version} as it was staged",
                "; ".join(differs),
                f"it could not be made again: {error}",
            ) from error

    def _configure(self, target: Target) -> None:
        self.configs.put(target.run)
        try:
            self.configs.share((target, *self._living()))
        except OSError as error:
            if target.run.names_word(SHARED):
                raise
            log.warning("the shared configuration stays", component=self._component, error=str(error))

    async def wait(self, instance: Instance) -> None:
        """Until it is ready and healthy, for as long as its run spec allows.

        Raises:
            NotReady: it is not, and is gone.
        """
        try:
            await self._switch.wait_ready(instance, instance.target.run.timing.ready_timeout_s)
        except (NotReady, asyncio.CancelledError) as error:
            # It has not accepted anything: whatever is not ready does not.
            await self._switch.kill(instance, str(error))
            raise

    async def soak(self, instance: Instance) -> None:
        """Let it take work beside the old one for a while. Whoever asked ends it if this fails: it may hold requests.

        Raises:
            NotReady: it died or fell ill.
        """
        try:
            soak_s = instance.target.run.timing.soak_s
            ended = await asyncio.wait_for(self._switch.exited(instance), soak_s)
        except TimeoutError:
            pass
        else:
            raise NotReady(f"it {ended.reason}, soon after it was ready")
        try:
            await self._switch.check(instance)
        except Unanswered as error:
            raise NotReady(f"it was ready and is not healthy any more: {error}") from error

    def filled(self, run: Run) -> Run:
        """The run spec with the node's own words in place of the placeholders."""
        return run.model_copy(
            update={
                "command": self.fill(run.command, run),
                "env": {name: self._fill(value, self.configs.words(run)) for name, value in run.env.items()},
                "listen": {name: self._fill(address) for name, address in run.listen.items()},
                "switch_hooks": run.switch_hooks and run.switch_hooks.filled(self._fill),
            }
        )

    def fill(self, argv: tuple[str, ...], run: Run) -> tuple[str, ...]:
        """Program and arguments with the node's own words in place of the placeholders; `run` has the configuration."""
        return tuple(self._fill(part, self.configs.words(run)) for part in argv)

    def _fill(self, text: str, more: Mapping[str, str] = {}) -> str:
        for word, value in {**self._words, **more}.items():
            text = text.replace(word, value)
        return text
