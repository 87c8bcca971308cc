"""`rollout replay --verify` over a real broker and a real Redis: what was run agrees; what is spoilt is named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from bumpless.cli import commands
from bumpless.cli.client import Client
from bumpless.cli.replaying import verified_by
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import Stream
from bumpless.common.render.agreement import Held
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.relay import Relay
from bumpless.common.shell.rollouts import Plans, RolloutKind
from bumpless.common.shell.run import Runner
from bumpless.common.shell.state import RedisState
from bumpless.common.shell.topology import ensure_topology
from bumpless.health_gate.handlers import GateKind
from support.plans import GATE, batch, plan
from support.rollouts import Course, rolling

PLAN = plan(batch("api-1", ["n1"], gate=GATE), batch("api-2", ["n2"], needs=["api-1"], gate=GATE))
KEY = f"bumpless:planner:value:{PLAN.rollout}"


@dataclass(frozen=True)
class Site:
    client: Client
    nats: str
    redis: str
    store: Redis

    async def look(self) -> dict[tuple[str, str], Held]:
        found = await verified_by(self.client, PLAN.rollout, self.redis)
        return {(one.subject, one.aggregate): one for one in found}

    async def cli(self, *words: str) -> int:
        return await asyncio.to_thread(
            commands.run,
            ["--nats", self.nats, *words, "rollout", "replay", "--redis", self.redis, "--verify"],
        )


def course() -> Course:
    """Two batches on their way: the first gate has passed, the second one judges."""
    found = rolling(PLAN)
    found.finish("api-1")
    found.feed(found.verdict("api-1"))
    found.finish("api-2")
    return found


@pytest.fixture
async def site(nats_url: str, redis_url: str) -> AsyncIterator[Site]:
    """A rollout that went through the runner, with both of its gates."""
    connection = await Connection.connect(nats_url, name="test")
    await ensure_topology(connection)
    plans = Plans(JetStreamBlobs(connection.js, subjects.PLAN_BUCKET))
    await plans.put(PLAN)
    states = [RedisState(redis_url, owner, "test") for owner in ("planner", "health-gate")]
    store: Redis = Redis.from_url(redis_url)
    try:
        for state in states:
            await state.acquire(600)
            await state.mark()
        relay = Relay(connection, "planner", key=SigningKey.generate(), plans=plans.get)
        runner = Runner(RolloutKind("planner", plans, connection), states[0], relay, clock.now)
        gates = Runner(GateKind(connection), states[1], Relay(connection, "health-gate"), clock.now)
        run = course()
        for message, _ in run.fed:
            if isinstance(message, e.VerdictReached):
                await connection.publish(message, source="health-gate")
            await runner.handle(PLAN.rollout, message)
        for message in run.said:
            if isinstance(message, c.OpenGate):
                await gates.handle(f"{PLAN.rollout}/{message.gate}", message)
        for message, _ in run.fed:
            if isinstance(message, e.VerdictReached):
                await gates.handle(f"{PLAN.rollout}/{message.gate}", message)
        await connection.nc.flush()
        yield Site(Client(connection), nats_url, redis_url, store)
    finally:
        for closing in (*(state.close() for state in states), store.aclose(), connection.close()):
            await closing


async def test_what_was_run_agrees(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert await site.cli("-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [part["kind"] for part in found["parts"]] == ["rollout", "gate", "gate"]
    assert [part["status"] for part in found["parts"]] == ["rolling", "decided", "open"]
    said = {one["subject"] for one in found["verified"]}
    assert said == {"store", "deadline", "events", "announced"}
    assert [one for one in found["verified"] if not one["agrees"]] == []


async def test_an_emptied_store_is_fine_and_said(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    await site.store.flushall()
    assert await site.cli() == 0
    text = capsys.readouterr().out
    assert "emptied" in text
    assert "builds it from the log" in text


async def test_a_tampered_store_is_named(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    state = json.loads(await site.store.hget(KEY, "state") or "")
    state["batches"]["api-2"]["status"] = "passed"
    await site.store.hset(KEY, "state", json.dumps(state))
    assert await site.cli() == 1
    text = capsys.readouterr().out
    assert "batches.api-2.status: expected baking, found passed" in text
    assert f"redis-cli DEL {KEY}" in text


async def test_a_deadline_that_is_lost_is_named(site: Site) -> None:
    await site.store.delete("bumpless:planner:deadlines")
    found = await site.look()
    assert not found["deadline", PLAN.rollout].agrees


async def test_a_gap_in_the_log_is_named(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    subject = subjects.subject_for(e.RolloutAdvanced, rollout=PLAN.rollout)
    entries = await site.client.connection.snapshot(Stream.RO, subject, history=True)
    assert await site.client.connection.js.delete_msg(Stream.RO.value, entries[2].sequence)
    assert await site.cli() == 1
    text = capsys.readouterr().out
    assert "expected version 3, found 4" in text
    assert "2 versions" in text
