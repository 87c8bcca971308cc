"""Scrapes the instances that take traffic, at each one's own interval, and says so also when one does not answer.

What was tried beside an instance, and what it uses of the machine, is shipped with its scrape.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from datetime import datetime

from bumpless.common.contract.base import derive_id
from bumpless.common.contract.events import MetricsSampled
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Target
from bumpless.common.model.probe import Probe
from bumpless.common.shell.log import get_logger
from bumpless.executor.facts import ITEM_CALLS, item_calls
from bumpless.executor.ports import ProcessSwitch, Reports, Unanswered
from bumpless.executor.prober import Prober
from bumpless.executor.record import ComponentRecord, Instance

log = get_logger(__name__)

ALWAYS = ("release_info",)
ENDINGS = ("", "_bucket", "_sum", "_count", "_total")
MAX_SERIES = 2_000
"""Per scrape; with long labels about 300 KB, well below the broker's message limit."""


def keep(text: str, families: Iterable[str]) -> dict[str, float]:
    """The series of the named families in a Prometheus text exposition (format 0.0.4), as written -> value."""
    names = {family + ending for family in (*families, *ALWAYS) for ending in ENDINGS}
    found: dict[str, float] = {}
    for line in text.splitlines():
        series, value = _split(line)
        if series.partition("{")[0] in names and value is not None:
            found[series] = value
            if len(found) >= MAX_SERIES:
                break
    return found


def _split(line: str) -> tuple[str, float | None]:
    """`name{labels} value [timestamp]`; a label value may hold spaces and braces, so the last brace counts."""
    end = line.rfind("}") + 1
    if not end:
        end = line.find(" ")
    fields = line[end:].split()
    if line.startswith("#") or end < 1 or not fields:
        return "", None
    try:
        value = float(fields[0])
    except ValueError:
        return "", None
    # JSON has no NaN and no infinity, and neither is a measurement.
    return line[:end].strip(), value if math.isfinite(value) else None


class Sampler:
    """One loop per component. `record` returns its present record. `prober` has what is tried beside its instances;
    `used` tells, for the families named and a pid, what is used of the machine."""

    def __init__(
        self,
        record: Callable[[], ComponentRecord],
        switch: ProcessSwitch,
        reports: Reports,
        now: Callable[[], datetime],
        prober: Prober | None = None,
        used: Callable[[Iterable[str], int], dict[str, float]] = lambda families, pid: {},
    ) -> None:
        self._record, self._switch, self._reports, self._now = record, switch, reports, now
        self._prober, self._used = prober, used
        self._sequences: dict[str, int] = {}
        self._last: Instance | None = None
        self._calls: dict[str, dict[str, float]] = {}

    @property
    def item_calls(self) -> dict[str, float]:
        """Calls by lifecycle item, as the instances that take traffic counted them since they started."""
        found: dict[str, float] = {}
        for calls in self._calls.values():
            for item, count in calls.items():
                found[item] = found.get(item, 0.0) + count
        return found

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            if self._prober is not None:
                await self._prober.close()

    async def _run(self) -> None:
        while True:
            record = self._record()
            due = list(record.takes_traffic)
            if self._prober is not None:
                self._prober.keep((instance, probes_beside(record, instance)) for instance in due)
            if due:
                self._last = due[0]
            elif record.current is not None and self._last is not None:
                # It should run and does not: silence would look like a quiet service.
                due = [self._last]
            await asyncio.gather(*(self._sample(record, instance) for instance in due))
            interval = min((i.target.run.metrics_interval_s for i in due), default=1.0)
            await asyncio.sleep(interval)

    async def _sample(self, record: ComponentRecord, instance: Instance) -> None:
        samples: dict[str, float] = {}
        up = True
        try:
            text = await self._switch.scrape(instance)
            shipped = _shipped(record, instance)
            samples = keep(text, shipped) | self._used(shipped, instance.pid)
            if self._prober is not None:
                samples |= self._prober.take(instance.id)
            alive = {i.id for i in record.instances}
            self._calls = {i: calls for i, calls in self._calls.items() if i in alive}
            self._calls[instance.id] = item_calls(keep(text, (ITEM_CALLS,)))
        except Unanswered as error:
            up = False
            log.warning("metrics did not come", component=record.component, error=str(error))
        sequence = self._sequences.get(instance.id, 0) + 1
        self._sequences = {i.id: self._sequences.get(i.id, 0) for i in record.instances} | {
            instance.id: sequence
        }
        at = self._now()
        message = MetricsSampled(
            id=derive_id(instance.id, "metrics", at.isoformat()),
            at=at,
            node=record.node,
            component=record.component,
            instance=instance.id,
            version=instance.target.version,
            root=instance.target.root,
            sequence=sequence,
            up=up,
            restarts=record.restarts,
            samples=samples,
        )
        try:
            await self._reports.publish(message)
        except Retryable as error:
            log.info("a sample was lost", component=record.component, reason=str(error))


def _shipped(record: ComponentRecord, instance: Instance) -> tuple[str, ...]:
    """The families to ship."""
    return _described(record, instance).keep_metrics


def probes_beside(record: ComponentRecord, instance: Instance) -> tuple[Probe, ...]:
    """The instance's own, and those of the version that is to come here, so that old and new can be compared.

    Commands of that version are in its tree, and not tried before it runs.
    """
    own = _described(record, instance).probes
    coming = None if record.command is None else record.command.target
    if coming is None or coming.root == instance.target.root:
        return own
    known = {probe.name for probe in own}
    return (*own, *(one for one in coming.probes if one.command is None and one.name not in known))


def _described(record: ComponentRecord, instance: Instance) -> Target:
    """What the instance runs, in the words of the standing target, which may have been described anew since its start."""
    current = record.current
    return current if current is not None and current.root == instance.target.root else instance.target
