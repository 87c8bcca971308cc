"""Stages for every source of samples: one node with one counter, read by as many sources as a test wants.

What a stage is offered is stored before `offer` returns, also while no source looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from bumpless.common.contract.events import MetricsPushed, MetricsSampled
from bumpless.common.model.metric_source import PrometheusFrom
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.health_gate.ports import MetricSource
from bumpless.health_gate.sources.agent import AgentSource
from bumpless.health_gate.sources.prometheus.client import Prometheus, PrometheusAccess
from bumpless.health_gate.sources.prometheus.source import PrometheusSource
from bumpless.health_gate.sources.pushed import PushedSource
from bumpless.health_gate.window import Member
from support.memory_source import MemorySource
from support.prometheus import SCRAPE_S, Exporter, PrometheusServer
from unit.health_gate.scenes import sample

MEMBER = Member("n1", "api")
COUNTER = "http_requests_total"
SERIES = COUNTER + '{status="200"}'
AGES = timedelta(days=36_500)


class Stage(Protocol):
    """`source` makes another one over the same past."""

    def source(self) -> MetricSource: ...
    async def offer(self, value: float) -> None: ...


class _Numbered:
    """Samples with the moment at which they are offered."""

    def __init__(self) -> None:
        self._sequence = 0

    def next(self, value: float) -> MetricsSampled:
        self._sequence += 1
        made = sample("n1", 0, self._sequence, {SERIES: value})
        return made.model_copy(update={"at": clock.now(), "id": f"{clock.fresh_id()}"})


class MemoryStage:
    def __init__(self) -> None:
        self._made: list[MemorySource] = []
        self._past: list[MetricsSampled] = []
        self._samples = _Numbered()

    def source(self) -> MetricSource:
        made = MemorySource()
        made.stored.extend(self._past)
        self._made.append(made)
        return made

    async def offer(self, value: float) -> None:
        self._past.append(self._samples.next(value))
        for source in self._made:
            await source.offer(self._past[-1])


class AgentStage:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._samples = _Numbered()

    def source(self) -> MetricSource:
        return AgentSource(self._connection, clock.now, AGES)

    async def offer(self, value: float) -> None:
        await self._connection.publish(self._samples.next(value), source="executor")


class PushedStage:
    """What somebody on the node publishes, of this component and of another."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def source(self) -> MetricSource:
        return PushedSource(self._connection, [MEMBER], clock.now)

    async def offer(self, value: float) -> None:
        for component in ("api", "other"):
            message = MetricsPushed(
                id=clock.fresh_id(),
                at=clock.now(),
                node="n1",
                component=component,
                samples={SERIES: value, "up": 1.0},
            )
            await self._connection.publish(message, source="test")


class PrometheusStage:
    """One of the targets of a Prometheus, known as `target`; `port` is where the sources find the Prometheus."""

    def __init__(
        self, server: PrometheusServer, exporter: Exporter, target: str, port: int | None = None
    ) -> None:
        self._exporter = exporter
        self._labels = {"node": "{node}", "component": "{component}", "target": target}
        self._url = f"http://127.0.0.1:{port or server.port}"

    def source(self, families: tuple[str, ...] = (COUNTER,)) -> PrometheusSource:
        spec = PrometheusFrom(url=self._url, labels=self._labels, scrape_interval_s=SCRAPE_S)
        access = PrometheusAccess(url=self._url, timeout_s=30)
        return PrometheusSource(Prometheus(access), spec, [MEMBER], families, SCRAPE_S, clock.now)

    async def offer(self, value: float) -> None:
        text = "NaN" if math.isnan(value) else repr(value)
        await self._exporter.say(f"{SERIES} {text}\n")


def readings(source: MetricSource, until: datetime | None = None) -> list[tuple[datetime, float | None]]:
    """What the source has of the counter, by time; None: it is missing."""
    wanted: Callable[[object], bool] = lambda _: True  # noqa: E731
    found = source.window.instances(MEMBER, clock.now() - AGES, until or clock.now(), wanted)
    return sorted(
        (r.at, sum(r.families[COUNTER].values()) if COUNTER in r.families else None)
        for instance in found
        for r in instance
    )


def values(source: MetricSource) -> list[float]:
    """What the counter was, one after the other: repeated and missing values left out."""
    found: list[float] = []
    for _, value in readings(source):
        if value is not None and value not in found[-1:]:
            found.append(value)
    return found
