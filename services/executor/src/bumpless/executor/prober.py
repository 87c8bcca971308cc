"""Tries the probes of the instances that take traffic, each in its own time, and keeps what came of it as samples.

An outcome is shipped once, so that what is shipped counts tries; the success of a probe that is not repeated is shipped
with every scrape, because a lost sample would not come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from bumpless.common.model import probe as model
from bumpless.common.model.probe import Probe
from bumpless.common.shell.log import get_logger
from bumpless.executor.drivers.probing import Outcome
from bumpless.executor.record import Instance

log = get_logger(__name__)

Key = tuple[str, str]
"""An instance's id, and one of its probes as JSON."""


class Tries(Protocol):
    """Tries a probe beside an instance, once, within its time: outcome by address for links, else by the empty text."""

    async def __call__(self, probe: Probe, instance: Instance) -> Mapping[str, Outcome]: ...


class Prober:
    """For one component of the node named `node`. Give it the instances with `keep`, now and then."""

    def __init__(self, node: str, tries: Tries) -> None:
        self._node, self._tries = node, tries
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._fresh: dict[Key, dict[str, float]] = {}
        self._lasting: dict[Key, dict[str, float]] = {}

    def keep(self, wanted_of: Iterable[tuple[Instance, Iterable[Probe]]]) -> None:
        """Probe beside these from now on, and beside no others."""
        wanted = {
            (instance.id, probe.model_dump_json()): (probe, instance)
            for instance, probes in wanted_of
            for probe in probes
            if probe.node in (None, self._node)
        }
        for key in [key for key in self._tasks if key not in wanted]:
            self._tasks.pop(key).cancel()
            self._fresh.pop(key, None)
            self._lasting.pop(key, None)
        for key, (probe, instance) in wanted.items():
            if key not in self._tasks:
                self._tasks[key] = asyncio.create_task(self._probe(key, probe, instance))

    def take(self, instance: str) -> dict[str, float]:
        """The samples of what ended since they were last taken."""
        found: dict[str, float] = {}
        for key in [key for key in (*self._lasting, *self._fresh) if key[0] == instance]:
            found |= self._lasting.get(key, {}) | self._fresh.pop(key, {})
        return found

    async def close(self) -> None:
        """Stop; returns when nothing runs any more."""
        tasks = tuple(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(self, key: Key, probe: Probe, instance: Instance) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            outcomes = await self._tries(probe, instance)
            taken = loop.time() - began
            samples = as_samples(probe, outcomes, taken)
            failed = [outcome.detail for outcome in outcomes.values() if not outcome.ok]
            if failed:
                log.warning("a probe failed", probe=probe.name, instance=instance.id, detail=failed[0])
            if not probe.repeat and not failed:
                self._lasting[key] = samples
                return
            self._fresh[key] = samples
            await asyncio.sleep(max(0.0, probe.interval_s - taken))


def as_samples(probe: Probe, outcomes: Mapping[str, Outcome], seconds: float) -> dict[str, float]:
    """Series, as text, to value."""
    if probe.links is not None:
        return {
            _series(model.LINK, dependency=probe.name, address=address, detail=outcome.detail): float(
                outcome.ok
            )
            for address, outcome in outcomes.items()
        }
    (outcome,) = outcomes.values()
    found = {
        _series(model.SUCCESS, probe=probe.name, detail=outcome.detail): float(outcome.ok),
        _series(model.DURATION, probe=probe.name): seconds,
    }
    if outcome.value is not None:
        found[_series(model.VALUE, probe=probe.name)] = outcome.value
    return found


def _series(name: str, **labels: str) -> str:
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items() if text)
    return f"{name}{{{pairs}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
