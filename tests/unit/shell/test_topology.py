"""Streams, consumers and buckets on a real broker: declared, and brought back when somebody changed them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import STREAM_SUBJECTS, Stream
from bumpless.common.errors import Refused, Retryable
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import DURABLES, MAX_DELIVER, ensure_topology


async def configs(connection: Connection) -> dict[str, object]:
    found: dict[str, object] = {}
    for info in await connection.js.streams_info():
        found[str(info.config.name)] = info.config
    return found


async def test_everything_stands(connection: Connection) -> None:
    found = await configs(connection)
    wanted = {stream.value for stream in STREAM_SUBJECTS}
    wanted_buckets = (subjects.ARTIFACT_BUCKET, subjects.PLAN_BUCKET, subjects.SHOWN_BUCKET)
    buckets = {"OBJ_" + name for name in wanted_buckets}
    assert set(found) == wanted | buckets
    for stream, filters in STREAM_SUBJECTS.items():
        info = await connection.js.stream_info(stream.value)
        assert tuple(info.config.subjects or ()) == filters
    commands = (await connection.js.stream_info(Stream.CMD.value)).config
    assert commands.allow_atomic
    assert commands.max_msgs_per_subject == 1
    assert commands.max_age in (0, None)


async def test_every_consumer_waits_as_long_as_it_takes(connection: Connection) -> None:
    for durable in DURABLES:
        info = await connection.js.consumer_info(durable.stream.value, durable.name)
        assert info.config.max_deliver == MAX_DELIVER
        assert info.config.ack_wait == durable.ack_wait_s
        single = [info.config.filter_subject] if info.config.filter_subject else []
        assert tuple(info.config.filter_subjects or single) == durable.filters


async def test_a_second_time_changes_nothing(connection: Connection) -> None:
    before = await configs(connection)
    await ensure_topology(connection)
    assert await configs(connection) == before


async def test_what_was_tampered_with_is_brought_back(connection: Connection) -> None:
    before = await configs(connection)
    for name, changes in {
        Stream.RO: {"max_age": 60.0, "duplicate_window": 1.0},
        Stream.INV: {"max_msgs_per_subject": 9},
        Stream.OPS: {"subjects": ["op.>"]},
        Stream.DLQ: {"max_bytes": 1 << 20},
    }.items():
        config = (await connection.js.stream_info(name.value)).config
        await connection.js.update_stream(config.evolve(**changes))
    assert await configs(connection) != before
    await ensure_topology(connection)
    assert await configs(connection) == before


async def test_what_was_found_of_a_tampered_stream_is_said(connection: Connection) -> None:
    config = (await connection.js.stream_info(Stream.CMD.value)).config
    await connection.js.update_stream(config.evolve(max_msgs_per_subject=9, republish=None))
    with capture_logs() as said:
        await ensure_topology(connection)
    (found,) = [str(line["found"]) for line in said if line.get("stream") == Stream.CMD.value]
    assert "max_msgs_per_subject=9 (declared: 1)" in found
    assert "republish=none" in found


async def test_others_than_the_keeper_wait_for_it(connection: Connection) -> None:
    config = (await connection.js.stream_info(Stream.DLQ.value)).config
    await connection.js.update_stream(config.evolve(max_bytes=1 << 20))
    with pytest.raises(Retryable, match="max_bytes=1048576"):
        await ensure_topology(connection, "rollback")
    await connection.js.delete_stream(Stream.DLQ.value)
    with pytest.raises(Retryable, match="stream DLQ is not there; waiting for planner"):
        await ensure_topology(connection, "rollback")
    await ensure_topology(connection)
    await connection.js.delete_stream(Stream.PROG.value)
    await ensure_topology(connection, "rollback")  # held in memory: whoever comes first makes it


async def test_replicas_are_refused_where_a_server_is_alone(connection: Connection) -> None:
    await connection.js.delete_stream(Stream.REL.value)
    with pytest.raises(Refused, match="a cluster of nats-servers for 3 replicas"):
        await ensure_topology(connection, replicas=3)
    await ensure_topology(connection)
    await ensure_topology(connection, "rollback", replicas=3)  # how many there are is the keeper's affair


async def test_a_consumer_that_was_changed_or_removed_is_brought_back(connection: Connection) -> None:
    changed, removed = DURABLES[0], DURABLES[-1]
    info = await connection.js.consumer_info(changed.stream.value, changed.name)
    await connection.js.add_consumer(changed.stream.value, info.config.evolve(ack_wait=1.0, max_deliver=2))
    await connection.js.delete_consumer(removed.stream.value, removed.name)
    await ensure_topology(connection)
    for durable in (changed, removed):
        info = await connection.js.consumer_info(durable.stream.value, durable.name)
        assert (info.config.ack_wait, info.config.max_deliver) == (durable.ack_wait_s, MAX_DELIVER)


async def test_an_old_server_is_refused() -> None:
    version = SimpleNamespace(major=2, minor=9, patch=10)
    old = SimpleNamespace(nc=SimpleNamespace(connected_server_version=version))
    with pytest.raises(Refused, match=r"2\.9\.10"):
        await ensure_topology(old)  # type: ignore[arg-type]
