"""The health gate against a real broker and a real Redis."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import redis

from bumpless.cli.embedded import free_port
from bumpless.common.contract import wire
from bumpless.common.contract.base import BatchId, Message, MessageId, RolloutId
from bumpless.common.contract.commands import CloseGate, GateMember, OpenGate
from bumpless.common.contract.events import GateProgressed, VerdictReached
from bumpless.common.contract.subjects import Stream, subject_for
from bumpless.common.model.gate import GateSpec
from bumpless.common.model.verdict import Verdict
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from bumpless.health_gate.ports import MetricSource
from bumpless.health_gate.sources.agent import AgentSource
from bumpless.health_gate.window import Member
from unit.health_gate.scenes import NEW, OLD, T0, Load, reports, sample

BIN = Path(sys.executable).parent
PATIENCE_S = 40.0


@contextmanager
def process(*command: str, ready: str | None = None, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A process, from the line that says it is ready (if any) until the end of the block."""
    output = subprocess.DEVNULL if ready is None else subprocess.PIPE
    running = subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT if ready else None,
        text=True,
        env={**os.environ, **env},
    )
    try:
        if ready is not None:
            assert running.stdout is not None
            lines = []
            for line in running.stdout:
                lines.append(line)
                if ready in line:
                    break
            else:
                raise AssertionError(f"{command[0]} did not start: {''.join(lines)}")
        yield running
    finally:
        running.kill()
        running.wait()
        if running.stdout is not None:
            running.stdout.close()


@contextmanager
def nats_server(port: int, store: Path) -> Iterator[subprocess.Popen[str]]:
    with process(
        str(BIN / "nats-server"),
        "-js",
        "-a",
        "127.0.0.1",
        "-p",
        str(port),
        "-sd",
        str(store),
        ready="Server is ready",
    ) as running:
        yield running


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    found = free_port()
    with nats_server(found, tmp_path / "nats"):
        yield found


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    found = free_port()
    with process(
        str(BIN / "redis-server"),
        "--port",
        str(found),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
        "--dir",
        str(tmp_path),
        ready="eady to accept",
    ):
        yield f"redis://127.0.0.1:{found}/0"


@pytest.fixture
async def connection(port: int) -> AsyncIterator[Connection]:
    found = await Connection.connect(f"nats://127.0.0.1:{port}", name="test")
    await ensure_topology(found)
    yield found
    await found.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - a window tells nobody that it grew
            await asyncio.sleep(0)


def sequences(source: MetricSource) -> list[int]:
    found = source.window.instances(Member("n1", "api"), T0, T0 + timedelta(hours=1), lambda _: True)
    return [reading.sequence for instance in found for reading in instance]


async def test_the_agent_follows_through_a_restart_of_the_broker(tmp_path: Path) -> None:
    port, store = free_port(), tmp_path / "nats"
    with nats_server(port, store) as first:
        connection = await Connection.connect(f"nats://127.0.0.1:{port}", name="test")
        await ensure_topology(connection)
        agent = AgentSource(connection, clock.now, timedelta(days=36_500))
        await connection.publish(sample("n1", 1, 1), source="executor")
        await agent.start(T0)
        await until(lambda: sequences(agent) == [1])
        first.terminate()
        first.wait()
    with nats_server(port, store):
        other = await Connection.connect(f"nats://127.0.0.1:{port}", name="executor")
        await other.publish(sample("n1", 2, 2), source="executor")
        await until(lambda: sequences(agent) == [1, 2])
        await agent.stop()
        await other.close()
        await connection.close()


# --- the service ---


@contextmanager
def health_gate(port: int, redis_url: str) -> Iterator[subprocess.Popen[str]]:
    with process(
        sys.executable,
        "-m",
        "bumpless.health_gate.app",
        BUMPLESS_HEALTH_GATE_NATS_URL=f"nats://127.0.0.1:{port}",
        BUMPLESS_HEALTH_GATE_REDIS_URL=redis_url,
        BUMPLESS_HEALTH_GATE_LOG_LEVEL="warning",
    ) as running:
        yield running


def gate(name: str, switched_at: datetime, **spec: float) -> OpenGate:
    member = GateMember(node="n1", component="api", version="2", root=NEW)
    return OpenGate(
        id=MessageId(f"open-{name}"),
        at=switched_at,
        gate=MessageId(name),
        rollout=RolloutId("rollout"),
        batch=BatchId(name),
        spec=GateSpec.model_validate({"interval_s": 5.0, **spec}),
        canary=(member,),
        control=(GateMember(node="n2", component="api", version="1", root=OLD),),
        switched_at=switched_at,
        deadline=switched_at + timedelta(hours=1),
    )


async def feed(connection: Connection, switched_at: datetime, canary: Load) -> None:
    """A minute before the switch and ten after it, in the nodes' own time."""
    shift = switched_at - T0
    for found in (
        *reports("n1", -60, -5, root=OLD),
        *reports("n1", -2, 600, canary),
        *reports("n2", -60, 600, root=OLD),
    ):
        moved = found.model_copy(update={"at": found.at + shift})
        await connection.publish(moved, source="executor")


async def first(
    connection: Connection, kind: type[Message], stream: Stream, since: datetime, batch: str
) -> Message:
    """The first message of its kind about `batch`, stored after `since`."""
    async with asyncio.timeout(PATIENCE_S):
        async for item in connection.follow(stream, subject_for(kind), since=since):
            message = wire.decode(item.data)
            if getattr(message, "batch", None) == batch:
                return message
    raise AssertionError("the stream ended")


async def verdicts(connection: Connection) -> list[VerdictReached]:
    stored = await connection.snapshot(Stream.RO, subject_for(VerdictReached), history=True)
    return [message for item in stored if isinstance(message := wire.decode(item.data), VerdictReached)]


@pytest.mark.parametrize(("canary", "expected"), [(Load(), Verdict.PASS), (Load(bad=20), Verdict.FAIL)])
async def test_a_gate_is_opened_and_judged(
    port: int, redis_url: str, connection: Connection, canary: Load, expected: Verdict
) -> None:
    began = clock.now()
    switched_at = began - timedelta(seconds=100)
    await feed(connection, switched_at, canary)
    await connection.publish(gate("g1", switched_at), source="planner")
    with health_gate(port, redis_url):
        found = await first(connection, VerdictReached, Stream.RO, began, "g1")
    assert isinstance(found, VerdictReached)
    assert (found.verdict, found.gate, found.cause) == (expected, "g1", "open-g1")
    assert found.evidence


@pytest.mark.parametrize("emptied", [False, True], ids=["redis kept", "redis emptied"])
async def test_killed_in_the_middle_it_gives_one_verdict(
    port: int, redis_url: str, connection: Connection, emptied: bool
) -> None:
    began = clock.now()
    switched_at = began - timedelta(seconds=100)
    await feed(connection, switched_at, Load())
    slow = gate("g1", switched_at, interval_s=5.0, window_s=83.0)
    await connection.publish(slow, source="planner")
    with health_gate(port, redis_url) as running:
        seen = await first(connection, GateProgressed, Stream.PROG, began, "g1")
        assert isinstance(seen, GateProgressed)
        assert seen.verdict is None
        running.kill()
    assert await verdicts(connection) == []
    if emptied:
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
    with health_gate(port, redis_url):
        found = await first(connection, VerdictReached, Stream.RO, began, "g1")
        again = slow.model_copy(update={"id": MessageId("open-again")})
        await connection.publish(again, source="planner")
        await connection.publish(gate("g2", switched_at), source="planner")
        await first(connection, VerdictReached, Stream.RO, began, "g2")
    assert isinstance(found, VerdictReached)
    assert found.verdict is Verdict.PASS
    assert [verdict.gate for verdict in await verdicts(connection)] == ["g1", "g2"]


async def test_a_closed_gate_says_nothing(port: int, redis_url: str, connection: Connection) -> None:
    began = clock.now()
    switched_at = began - timedelta(seconds=100)
    await feed(connection, switched_at, Load())
    await connection.publish(gate("g1", switched_at), source="planner")
    close = CloseGate(
        id=MessageId("close-g1"),
        at=began,
        gate=MessageId("g1"),
        rollout=RolloutId("rollout"),
        batch=BatchId("g1"),
    )
    await connection.publish(close, source="planner")
    with health_gate(port, redis_url):
        await connection.publish(gate("g2", switched_at), source="planner")
        await first(connection, VerdictReached, Stream.RO, began, "g2")
    assert [verdict.gate for verdict in await verdicts(connection)] == ["g2"]
