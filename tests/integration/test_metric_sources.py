"""Every source of samples against one suite: the fake, the nodes' events and pushed ones on a real broker, and a real
Prometheus."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from bumpless.common.contract import wire
from bumpless.common.contract.events import MetricsPushed
from bumpless.common.contract.subjects import subject_for
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from bumpless.health_gate.ports import MetricSource
from support.prometheus import Exporter, PrometheusServer, Scraped, Wire, needs_prometheus
from support.servers import NatsServer
from support.source_stages import (
    COUNTER,
    MEMBER,
    SERIES,
    AgentStage,
    MemoryStage,
    PrometheusStage,
    PushedStage,
    Stage,
    readings,
    values,
)
from support.waiting import comes_true

HOUR = timedelta(hours=1)
TARGETS = 9


@dataclass
class Scene:
    """A Prometheus, and targets that no test has used yet: it takes five seconds to learn of new ones."""

    server: PrometheusServer
    left: list[tuple[Exporter, str]]

    def stage(self, port: int | None = None) -> tuple[PrometheusStage, Exporter]:
        exporter, target = self.left.pop()
        return PrometheusStage(self.server, exporter, target, port), exporter


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        left = [(stack.enter_context(Exporter()), f"t{number}") for number in range(TARGETS)]
        targets = [
            Scraped(exporter.address, {"node": "n1", "component": "api", "target": target})
            for exporter, target in left
        ]
        directory = tmp_path_factory.mktemp("prometheus") / "here"
        yield Scene(stack.enter_context(PrometheusServer(directory, targets)), left)


@pytest.fixture(params=["memory", "agent", "pushed", pytest.param("prometheus", marks=needs_prometheus)])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        match request.param:
            case "memory":
                yield MemoryStage()
            case "agent" | "pushed":
                server = stack.enter_context(NatsServer(tmp_path / "nats"))
                connection = await Connection.connect(server.url, name="test")
                stack.push_async_callback(connection.close)
                await ensure_topology(connection)
                yield AgentStage(connection) if request.param == "agent" else PushedStage(connection)
            case _:
                yield request.getfixturevalue("scene").stage()[0]


async def test_a_source_with_nothing_to_read_is_ready(stage: Stage) -> None:
    source = stage.source()
    assert not source.ready
    await source.start(clock.now() - HOUR)
    await comes_true(lambda: source.ready, "the source to be ready")
    assert values(source) == []
    await source.stop()


async def test_the_past_is_read_and_what_comes_is_followed_and_both_can_be_read_again(stage: Stage) -> None:
    since = clock.now() - HOUR
    for value in (1.0, 5.0):
        await stage.offer(value)
    source = stage.source()
    await source.start(since)
    await comes_true(lambda: source.ready, "the source to be ready")
    assert values(source) == [1.0, 5.0]
    await stage.offer(9.0)
    await stage.offer(2.0)  # the counter was reset, which is for the judge to understand
    await comes_true(lambda: values(source) == [1.0, 5.0, 9.0, 2.0], "the present")
    seen = readings(source)
    again = stage.source()
    await again.start(since)
    await comes_true(lambda: again.ready, "the other source to be ready")
    assert readings(again, until=seen[-1][0]) == seen
    await source.stop()
    await again.stop()


async def test_what_is_older_than_asked_for_is_not_read(stage: Stage) -> None:
    await stage.offer(1.0)
    since = clock.now()
    await stage.offer(2.0)
    await stage.offer(3.0)
    source = stage.source()
    await source.start(since)
    await comes_true(lambda: source.ready and values(source)[-1:] == [3.0], "what is newer")
    assert 1.0 not in values(source) or min(at for at, _ in readings(source)) >= since
    await source.stop()


async def test_no_number_is_missing_and_never_zero(stage: Stage) -> None:
    source = stage.source()
    await source.start(clock.now() - HOUR)
    await stage.offer(7.0)
    await stage.offer(math.nan)
    await stage.offer(8.0)
    await comes_true(lambda: values(source) == [7.0, 8.0], "the numbers")
    assert None in [value for _, value in readings(source)]
    await source.stop()


async def test_a_stopped_source_is_not_ready_and_changes_no_more(stage: Stage) -> None:
    source = stage.source()
    await source.start(clock.now() - HOUR)
    await comes_true(lambda: source.ready, "the source to be ready")
    await source.stop()
    await stage.offer(1.0)
    assert not source.ready
    assert values(source) == []


async def test_what_names_another_node_than_its_subject_is_left_out(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server:
        connection = await Connection.connect(server.url, name="test")
        await ensure_topology(connection)
        stage = PushedStage(connection)
        source = stage.source()
        await source.start(clock.now() - HOUR)
        lie = MetricsPushed(
            id=clock.fresh_id(), at=clock.now(), node="n1", component="api", samples={SERIES: 666.0}
        )
        subject = subject_for(MetricsPushed, node="n2")
        await connection.js.publish(subject, wire.encode(lie))
        await stage.offer(1.0)
        await comes_true(lambda: values(source) == [1.0], "what is told under its own subject")
        await source.stop()
        await connection.close()


# what only a Prometheus does


@needs_prometheus
async def test_what_was_missed_is_read_when_the_prometheus_is_back(scene: Scene) -> None:
    async with Wire(scene.server.port) as wire:
        stage, _ = scene.stage(wire.port)
        source = stage.source()
        await source.start(clock.now() - HOUR)
        await stage.offer(1.0)
        await comes_true(lambda: values(source) == [1.0], "the first value")
        await wire.cut()
        await comes_true(lambda: source.trouble, "the source to notice")
        for value in (2.0, 3.0):
            await stage.offer(value)
        assert values(source) == [1.0]
        await wire.mend()
        await comes_true(lambda: values(source) == [1.0, 2.0, 3.0], "what was missed")
        await comes_true(lambda: not source.trouble, "the trouble to be over")
        await source.stop()


@needs_prometheus
async def test_a_target_without_the_metric_is_told_from_one_that_does_not_answer(
    scene: Scene,
) -> None:
    stage, exporter = scene.stage()
    await stage.offer(1.0)
    source = stage.source(families=("http_request_total",))
    await source.start(clock.now() - HOUR)
    await comes_true(lambda: any(up(source)), "the target to be up")
    assert values(source) == []
    await exporter.say("this is no exposition {\n")
    await comes_true(lambda: not up(source)[-1], "the target to be down")
    await source.stop()


@needs_prometheus
async def test_too_many_series_are_refused_by_name(scene: Scene) -> None:
    stage, exporter = scene.stage()
    await exporter.say("".join(f'{COUNTER}{{user="{number}"}} 1\n' for number in range(12_000)))
    source = stage.source()
    await source.start(clock.now() - HOUR)
    await comes_true(lambda: "series" in source.trouble, "the source to refuse")
    assert source.trouble.startswith("n1: ")
    assert values(source) == []
    await source.stop()


def up(source: MetricSource) -> list[bool]:
    found = source.window.instances(MEMBER, clock.now() - HOUR, clock.now(), lambda _: True)
    return [reading.up for instance in found for reading in instance]
