"""The way out on a real broker: signed commands, whole batches, nothing older than what stands."""

from __future__ import annotations

import asyncio

import pytest

from bumpless.common.artifacts.errors import Untrusted
from bumpless.common.artifacts.signing import Role, SigningKey, TrustStore
from bumpless.common.contract import commands as c
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import RolloutId
from bumpless.common.contract.envelope import COMMAND_TYPE, Envelope
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Retryable
from bumpless.common.model.plan import Plan
from bumpless.common.shell.broker import Connection, Received, StaleSequence
from bumpless.common.shell.relay import Relay
from support.plans import batch, plan
from support.rollouts import Course, rolling
from support.waiting import LIMIT_S

KEY = SigningKey.generate()
TRUSTED = TrustStore.of(deploy=KEY.public)
PLAN = plan(batch("api-1", ["n1", "n2", "n3"]), batch("db-1", ["n1"], component="db"))


def relay(connection: Connection, *plans: Plan, key: SigningKey | None = KEY) -> Relay:
    known = {found.hash: found for found in plans or (PLAN,)}

    async def find(plan_hash: str) -> Plan:
        return known[plan_hash]

    return Relay(connection, "planner", key=key, plans=find)


def commands(items: list[Received]) -> dict[str, c.NodeCommand]:
    """What stands per subject, after its signature was verified."""
    found: dict[str, c.NodeCommand] = {}
    for item in items:
        envelope = Envelope.from_bytes(item.data)
        payload = TRUSTED.verify(envelope, payload_type=COMMAND_TYPE, role=Role.DEPLOY)
        command = wire.decode(payload)
        assert isinstance(command, c.NodeCommand)
        found[item.subject] = command
    return found


async def standing(connection: Connection) -> dict[str, c.NodeCommand]:
    return commands(await connection.last(Stream.CMD, "cmd.>"))


async def test_a_command_to_a_batch_is_one_signed_command_per_step(connection: Connection) -> None:
    await relay(connection).send(Course(PLAN).sent(c.StageArtifacts))
    found = await standing(connection)
    assert sorted(found) == ["cmd.n1.api", "cmd.n1.db", "cmd.n2.api", "cmd.n3.api"]
    for subject, command in found.items():
        assert isinstance(command, c.StageComponent)
        assert subjects.subject_of(command) == subject
        assert command.plan_hash == PLAN.hash


async def test_a_tampered_command_does_not_verify(connection: Connection) -> None:
    await relay(connection).send(Course(PLAN).sent(c.StageArtifacts))
    [item] = await connection.last(Stream.CMD, "cmd.n2.api")
    envelope = Envelope.from_bytes(item.data)
    payload = envelope.payload.replace(b'"sequence":1', b'"sequence":9')
    assert payload != envelope.payload
    spoilt = envelope.model_copy(update={"payload": payload}).to_bytes()
    with pytest.raises(Untrusted):
        commands([Received(subject=item.subject, data=spoilt)])


async def test_sending_again_changes_nothing(connection: Connection) -> None:
    messages = Course(PLAN).sent(c.StageArtifacts)
    await relay(connection).send(messages)
    before = await connection.last(Stream.CMD, "cmd.>")
    await relay(connection).send(messages)
    assert await connection.last(Stream.CMD, "cmd.>") == before


async def test_a_newer_command_replaces_and_an_older_one_is_skipped(connection: Connection) -> None:
    course = Course(PLAN)
    staging = list(course.out)
    course.stage_all()
    applying = [m for m in course.said if isinstance(m, c.ApplyBatch)]
    await relay(connection).send(applying[:1])
    await relay(connection).send(staging)
    found = await standing(connection)
    assert {subject: type(command) for subject, command in found.items()} == {
        "cmd.n1.api": c.ApplyComponent,
        "cmd.n2.api": c.ApplyComponent,
        "cmd.n3.api": c.ApplyComponent,
        "cmd.n1.db": c.StageComponent,
    }
    await relay(connection).send(applying)
    assert all(isinstance(x, c.ApplyComponent) for x in (await standing(connection)).values())


async def test_a_higher_generation_wins_over_every_sequence(connection: Connection) -> None:
    older, newer = plan(*PLAN.batches, generation=7, sequence_base=1 << 20), plan(*PLAN.batches, generation=8)
    way = relay(connection, older, newer)
    await way.send(rolling(older).sent(c.ApplyBatch))
    await way.send(Course(newer).sent(c.StageArtifacts))
    assert {x.generation for x in (await standing(connection)).values()} == {8}
    await way.send(rolling(older).sent(c.ApplyBatch))
    assert {x.generation for x in (await standing(connection)).values()} == {8}


async def test_a_batch_is_stored_as_a_whole_or_not_at_all(connection: Connection) -> None:
    stale = {"Nats-Expected-Last-Subject-Sequence": "99"}
    items = [
        ("cmd.n1.api", b"1", {wire.MSG_ID_HEADER: "1", "Nats-Expected-Last-Subject-Sequence": "0"}),
        ("cmd.n2.api", b"2", {wire.MSG_ID_HEADER: "2"}),
        ("cmd.n3.api", b"3", {wire.MSG_ID_HEADER: "3", **stale}),
    ]
    with pytest.raises(StaleSequence):
        await connection.publish_batch(items)
    assert await connection.last(Stream.CMD, "cmd.>") == []
    await connection.publish_batch(items[:2])
    assert [x.data for x in await connection.last(Stream.CMD, "cmd.>")] == [b"1", b"2"]
    with pytest.raises(StaleSequence):
        await connection.publish_batch(items[:1])


async def test_two_writers_at_once_end_with_the_newer_command(connection: Connection) -> None:
    older, newer = (plan(*PLAN.batches, generation=n, rollout=RolloutId(f"r{n}")) for n in (7, 8))
    way = relay(connection, older, newer)
    await asyncio.gather(
        *(way.send(Course(found).sent(c.StageArtifacts)) for found in (older, newer, older, newer))
    )
    assert {x.generation for x in (await standing(connection)).values()} == {8}


async def test_a_fleet_larger_than_one_batch(connection: Connection) -> None:
    large = plan(batch("api-1", [f"n{i}" for i in range(1100)]), max_unavailable=2000)
    await relay(connection, large).send(Course(large).sent(c.StageArtifacts))
    found = await connection.snapshot(Stream.CMD, "cmd.>")
    assert len(found) == 1100


async def test_nodes_hear_their_commands_live(connection: Connection) -> None:
    heard: asyncio.Queue[Received] = asyncio.Queue()
    await connection.subscribe(subjects.commands_live("n1"), heard.put)
    await relay(connection).send(Course(PLAN).sent(c.StageArtifacts))
    live = [await asyncio.wait_for(heard.get(), LIMIT_S) for _ in range(2)]
    assert sorted(item.subject for item in live) == ["live.n1.api", "live.n1.db"]
    assert {x.node for x in commands(live).values()} == {"n1"}


async def test_without_a_key_or_plans_nothing_is_sent(connection: Connection) -> None:
    messages = Course(PLAN).sent(c.StageArtifacts)
    with pytest.raises(Retryable, match="key"):
        await relay(connection, key=None).send(messages)
    with pytest.raises(Retryable, match="plans"):
        await Relay(connection, "planner", key=KEY).send(messages)


async def test_log_entries_follow_each_other(connection: Connection) -> None:
    course = Course(PLAN)
    way = relay(connection)
    entry = course.make(
        wire.TYPES["rollout-advanced"], owner="planner", version=1, inputs=(), status_before=None, status="x"
    )
    first = await way.log(entry, 0)
    assert await way.log(entry, 0) == first
    with pytest.raises(StaleSequence):
        await way.log(entry.model_copy(update={"id": "another"}), 0)
