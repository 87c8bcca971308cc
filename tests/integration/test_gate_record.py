"""`bumpless gate record` as a process of its own, on a real broker: what a gate was told becomes a trace."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bumpless.common.contract.base import BatchId, MessageId, PlanHash, RolloutId
from bumpless.common.contract.commands import OpenGate
from bumpless.common.contract.events import RolloutPlanned, VerdictReached
from bumpless.common.model.plan import Direction
from bumpless.common.model.verdict import Verdict
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from bumpless.health_gate.offline.trace import read_trace
from unit.health_gate.scenes import OLD, T0, Load, Scene, reports, sample

BIN = Path(sys.executable).parent
PATIENCE_S = 120.0
ROLLOUT = RolloutId("rollout")


@pytest.fixture
async def connection(nats_url: str) -> AsyncIterator[Connection]:
    found = await Connection.connect(nats_url, name="test")
    await ensure_topology(found)
    yield found
    await found.close()


def shift() -> timedelta:
    """From the time of the scenes to a switch two minutes ago."""
    return clock.now() - timedelta(seconds=120) - T0


async def told(connection: Connection, by: timedelta, *, until: float = 60) -> OpenGate:
    """A rollout with an open gate over n1, which n2 is the peer of; both reported until then."""
    gate = Scene().gate
    gate = gate.model_copy(
        update={"at": gate.at + by, "switched_at": gate.switched_at + by, "deadline": gate.deadline + by}
    )
    planned = RolloutPlanned(
        id=MessageId("planned"),
        at=gate.at,
        rollout=ROLLOUT,
        product="shop",
        release_version="2",
        direction=Direction.FORWARD,
        plan_hash=PlanHash("sha256:" + "0" * 64),
        generation=1,
    )
    samples = [
        *reports("n1", -60, 0, Load(bad=1), root=OLD),
        *reports("n1", 5, 10, Load(), root=OLD, first=14, instance="n1-draining"),
        *reports("n1", 5, until, Load(requests=70, bad=2, slow=3)),
        *reports("n2", -60, until, root=OLD),
        sample("n3", 5, 1),
    ]
    for message in (planned, gate):
        await connection.publish(message, source="planner")
    for found in samples:
        await connection.publish(found.model_copy(update={"at": found.at + by}), source="executor")
    return gate


def verdict(gate: OpenGate, at: datetime) -> VerdictReached:
    return VerdictReached(
        id=MessageId("verdict"),
        at=at,
        gate=gate.gate,
        rollout=ROLLOUT,
        batch=gate.batch,
        verdict=Verdict.PASS,
        reason="passed",
        detail="",
        opened_at=gate.at,
    )


async def recording(nats_url: str, tmp_path: Path, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        str(BIN / "bumpless"), "--home", str(tmp_path), "--nats", nats_url, "gate", "record", *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def rows(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.decode().splitlines()]


async def test_a_gate_that_decided_is_recorded_from_what_the_broker_has(
    nats_url: str, connection: Connection, tmp_path: Path
) -> None:
    by = shift()
    gate = await told(connection, by)
    await connection.publish(verdict(gate, gate.switched_at + timedelta(seconds=50)), source="health-gate")
    running = await recording(nats_url, tmp_path, "rollout", "--batch", gate.batch)
    out, said = await asyncio.wait_for(running.communicate(), PATIENCE_S)
    assert (running.returncode, said) == (0, b"")
    found = rows(out)
    assert {(row["node"], row["group"]) for row in found} == {("n1", "canary"), ("n2", "control")}
    assert max(row["t"] for row in found) <= 50
    (last,) = [row for row in found if row["t"] == 50 and row["node"] == "n1"]
    assert (last["requests"], last["errors"]) == (700, 20)
    assert last["latency_buckets"]["+Inf"] == 700
    assert len({(row["t"], row["node"]) for row in found}) == len(
        found
    )  # the predecessor that drains is not in it
    assert read_trace(out.decode().splitlines(), "recorded").nodes("canary") == ("n1",)


async def test_a_live_gate_is_followed_until_it_decides(
    nats_url: str, connection: Connection, tmp_path: Path
) -> None:
    by = shift()
    gate = await told(connection, by)
    running = await recording(nats_url, tmp_path)
    try:
        assert running.stdout is not None
        seen = [json.loads(await asyncio.wait_for(running.stdout.readline(), PATIENCE_S)) for _ in range(10)]
        assert seen[0]["t"] == -60
        late = sample("n1", 65, 14, {'http_requests_total{status="200"}': 900.0})
        await connection.publish(late.model_copy(update={"at": late.at + by}), source="executor")
        await connection.publish(verdict(gate, late.at + by), source="health-gate")
        after = sample("n1", 70, 15, {'http_requests_total{status="200"}': 950.0})
        await connection.publish(after.model_copy(update={"at": after.at + by}), source="executor")
        out, said = await asyncio.wait_for(running.communicate(), PATIENCE_S)
        assert (running.returncode, said) == (0, b"")
        # What is told while the verdict is on its way may be in it as well.
        assert [row["requests"] for row in rows(out) if row["t"] == 65] == [900]
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def test_a_batch_that_nobody_judged_is_refused_with_those_that_were(
    nats_url: str, connection: Connection, tmp_path: Path
) -> None:
    await told(connection, shift())
    running = await recording(nats_url, tmp_path, "--batch", BatchId("other"))
    _, said = await asyncio.wait_for(running.communicate(), PATIENCE_S)
    assert running.returncode == 1
    assert said.decode() == "error: expected a gate of other, found none; judged: batch\n"
