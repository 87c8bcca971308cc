"""The connection on a real broker: what is stored once, what is refused, what is read back, what is followed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import RolloutId, derive_id
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Retryable
from bumpless.common.shell.broker import Connection, Received, StaleSequence
from bumpless.common.shell.topology import ensure_topology
from support.plans import T0, node
from support.servers import NatsServer
from support.tcp_proxy import Proxies
from support.waiting import LIMIT_S, eventually

R1 = RolloutId("r1")


def cancelled(number: int, rollout: str = "r1") -> e.RolloutCancelled:
    return e.RolloutCancelled(
        id=derive_id("cancelled", rollout, str(number)), at=T0, rollout=RolloutId(rollout), reason=str(number)
    )


def observed(name: str, free: int) -> e.NodeObserved:
    found = node(name, {}).model_copy(update={"free_bytes": free})
    return e.NodeObserved(id=derive_id(name, str(free)), at=T0, node=found)


async def publish(connection: Connection, *messages: e.RolloutCancelled | e.NodeObserved) -> list[int]:
    return [await connection.publish(message, source="test") for message in messages]


def reasons(items: list[Received]) -> list[str]:
    found = [wire.decode(item.data) for item in items]
    return [m.reason for m in found if isinstance(m, e.RolloutCancelled)]


async def test_the_same_message_is_stored_once(connection: Connection) -> None:
    first = await publish(connection, cancelled(1))
    assert await publish(connection, cancelled(1)) == first
    found = await connection.snapshot(Stream.RO, subjects.rollout_subjects("r1"), history=True)
    assert reasons(found) == ["1"]
    assert found[0].headers["ce-type"] == "io.bumpless.rollout-cancelled"
    assert found[0].headers["ce-source"] == "/bumpless/test"


async def test_progress_is_not_waited_for(connection: Connection) -> None:
    progress = e.StepProgressed(
        id=derive_id("p"), at=T0, rollout=R1, node="n1", component="api", state="staging"
    )
    assert await connection.publish(progress, source="test") == 0
    found = await eventually(
        lambda: connection.last(Stream.PROG, subjects.progress_subjects("r1")), bool, "the progress"
    )
    assert wire.decode(found[0].data) == progress


async def test_a_message_that_must_follow_another(connection: Connection) -> None:
    first = await connection.publish(cancelled(1), source="test", expect_last=0)
    second = await connection.publish(cancelled(2), source="test", expect_last=first)
    assert second > first
    with pytest.raises(StaleSequence):
        await connection.publish(cancelled(3), source="test", expect_last=first)
    with pytest.raises(StaleSequence):
        await connection.publish(cancelled(4), source="test", expect_last=0)
    other = await connection.publish(cancelled(1, "r2"), source="test", expect_last=0)
    assert other > second


async def test_a_message_that_must_follow_all_of_its_kind(connection: Connection) -> None:
    every = subjects.subject_for(e.RolloutCancelled)

    async def publish(rollout: str, after: int) -> int:
        return await connection.publish(cancelled(1, rollout), source="test", expect_last=after, among=every)

    first = await publish("r1", 0)
    with pytest.raises(StaleSequence):
        await publish("r2", 0)
    assert await publish("r2", first) > first
    with pytest.raises(StaleSequence):
        await publish("r3", first)


async def test_publishing_again_what_is_there_already_is_no_conflict(connection: Connection) -> None:
    first = await connection.publish(cancelled(1), source="test", expect_last=0)
    assert await connection.publish(cancelled(1), source="test", expect_last=0) == first


async def test_it_is_recognized_without_the_brokers_memory_of_ids(connection: Connection) -> None:
    first = await connection.publish(cancelled(1), source="test", expect_last=0)
    config = (await connection.js.stream_info(Stream.RO.value)).config
    config.duplicate_window = 0.1
    await connection.js.update_stream(config)
    second = await connection.publish(cancelled(2), source="test", expect_last=first)

    async def again() -> int | None:
        try:
            return await connection.publish(cancelled(2), source="test", expect_last=first)
        except StaleSequence:
            return None

    assert await again() == second
    with pytest.raises(StaleSequence):
        await connection.publish(cancelled(3), source="test", expect_last=first)


async def test_last_values(connection: Connection) -> None:
    await publish(connection, observed("n1", 1), observed("n2", 2), observed("n1", 3))
    found = await connection.last(Stream.INV, subjects.subject_for(e.NodeObserved))
    assert [item.subject for item in found] == ["inv.n2", "inv.n1"]
    assert [item.sequence for item in found] == [2, 3]
    nodes = [wire.decode(item.data) for item in found]
    assert [m.node.free_bytes for m in nodes if isinstance(m, e.NodeObserved)] == [2, 3]
    assert await connection.last(Stream.INV, ["inv.n9", "inv.n8"]) == []


async def test_a_snapshot_is_the_last_values_or_the_whole_history(connection: Connection) -> None:
    assert await connection.snapshot(Stream.RO, subjects.rollout_subjects()) == []
    numbers = range(1, 1201)
    await asyncio.gather(*(publish(connection, cancelled(n)) for n in numbers))
    await publish(connection, cancelled(1, "r2"))
    whole = await connection.snapshot(Stream.RO, subjects.rollout_subjects("r1"), history=True)
    assert sorted(map(int, reasons(whole))) == list(numbers)
    assert [item.sequence for item in whole] == sorted(item.sequence for item in whole)
    last = await connection.snapshot(Stream.RO, subjects.rollout_subjects())
    assert [item.subject for item in last] == ["ro.r1.rollout-cancelled", "ro.r2.rollout-cancelled"]
    assert last[0].at is not None


class Follower:
    """Collects the reasons of what is followed, until the test is over."""

    def __init__(self, connection: Connection, **how: object) -> None:
        self.seen: list[str] = []
        self._source = connection.follow(Stream.RO, subjects.rollout_subjects(), **how)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for item in self._source:
            self.seen += reasons([item])

    async def until(self, *wanted: str) -> None:
        async def read() -> list[str]:
            return list(self.seen)

        await eventually(read, lambda seen: len(seen) >= len(wanted), f"{wanted}")
        assert self.seen == list(wanted)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def consumers(connection: Connection) -> int:
    info = await connection.js.stream_info(Stream.RO.value)
    return info.state.consumer_count


async def connected(connection: Connection) -> bool:
    return bool(connection.nc.is_connected)


async def waiting_pulls(connection: Connection) -> int:
    infos = await connection.js.consumers_info(Stream.RO.value)
    return sum(info.num_waiting or 0 for info in infos)


async def follower(connection: Connection, **how: object) -> Follower:
    """A follower that waits for what comes next."""
    before = await waiting_pulls(connection)
    found = Follower(connection, **how)
    await eventually(lambda: waiting_pulls(connection), lambda n: n > before, "a follower that waits")
    return found


async def test_following_from_now_on(connection: Connection) -> None:
    await publish(connection, cancelled(1))
    before = await consumers(connection)
    found = await follower(connection)
    await publish(connection, cancelled(2), cancelled(3), cancelled(1, "r2"))
    await found.until("2", "3", "1")
    assert await consumers(connection) == before + 1
    await found.stop()
    await eventually(lambda: consumers(connection), lambda n: n == before, "its consumer to be gone")


async def test_a_follower_ends_when_it_is_cancelled_as_an_answer_comes(connection: Connection) -> None:
    for asked in (1, 3, 5, 7):
        for answered in range(8):
            found = Follower(connection, last_values=True)
            await _steps(asked)
            threading.Event().wait(0.01)  # the answer comes while the loop stands still
            await _steps(answered)
            async with asyncio.timeout(LIMIT_S):
                await found.stop()
            assert found.task.cancelled()


async def _steps(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_following_from_the_last_values_and_from_a_moment(connection: Connection) -> None:
    await publish(connection, cancelled(1), cancelled(2), cancelled(7, "r2"))
    lasts = await follower(connection, last_values=True)
    whole = await follower(connection, since=T0.replace(year=2000))
    await lasts.until("2", "7")
    await whole.until("1", "2", "7")
    await publish(connection, cancelled(3))
    await lasts.until("2", "7", "3")
    await whole.until("1", "2", "7", "3")
    await lasts.stop()
    await whole.stop()


@pytest.mark.parametrize("seen_before", [True, False])
async def test_following_goes_on_after_a_restart_without_gap_or_repeat(
    connection: Connection, nats_server: NatsServer, seen_before: bool
) -> None:
    await publish(connection, cancelled(1))
    found = await follower(connection)
    wanted = []
    if seen_before:
        await publish(connection, cancelled(2))
        wanted = ["2"]
        await found.until(*wanted)
    nats_server.stop()
    await eventually(lambda: connected(connection), lambda up: not up, "the loss to be noticed")
    with pytest.raises(Retryable):
        await connection.publish(cancelled(3), source="test")
    nats_server.start()
    second = await Connection.connect(nats_server.url, name="second")
    await publish(second, cancelled(3), cancelled(4))
    await second.close()
    await found.until(*wanted, "3", "4")
    await eventually(lambda: connected(connection), bool, "the connection to come back")
    await publish(connection, cancelled(5))
    await found.until(*wanted, "3", "4", "5")
    await found.stop()


async def test_questions_are_answered_or_retryable(connection: Connection) -> None:
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(item: Received) -> None:
        await asked.put(item.data)

    await connection.subscribe("test.questions", take)
    with pytest.raises(Retryable, match="expected an answer on"):
        await connection.request("test.nobody", b"?", timeout_s=1)
    await connection.nc.publish("test.questions", b"!")
    assert await asyncio.wait_for(asked.get(), LIMIT_S) == b"!"


async def test_a_broker_that_is_not_there(nats_server: NatsServer) -> None:
    nats_server.stop()
    with pytest.raises(Retryable, match="found none within"):
        await Connection.connect(nats_server.url, name="test", connect_timeout_s=0.2)


async def test_every_read_of_a_broker_that_is_away_is_retryable(
    connection: Connection, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bumpless.common.shell.broker.ACK_TIMEOUT_S", 0.5)
    nats_server.stop()
    for attempt in (
        connection.last(Stream.INV, "inv.*"),
        connection.snapshot(Stream.INV, "inv.*"),
        connection.publish(observed("n1", 1), source="test"),
        connection.publish_batch([("cmd.n1.api", b"x", {wire.MSG_ID_HEADER: "1"})]),
        connection.request("test.nobody", b"?", timeout_s=0.5),
    ):
        with pytest.raises(Retryable):
            await attempt


async def test_a_closed_connection_ends_what_follows(connection: Connection) -> None:
    found = await follower(connection)
    await connection.close()
    await asyncio.wait_for(found.task, LIMIT_S)


async def test_core_messages_reach_who_listens(connection: Connection) -> None:
    heard: asyncio.Queue[Received] = asyncio.Queue()
    await connection.subscribe(subjects.subject_for(c.RequestReport), heard.put)
    ask = c.RequestReport(id=derive_id("ask"), at=T0)
    await connection.publish(ask, source="test")
    item = await asyncio.wait_for(heard.get(), LIMIT_S)
    assert wire.decode(item.data) == ask


async def test_a_connection_that_carries_nothing_any_more_is_given_up_for_another(nats_url: str) -> None:
    with Proxies() as proxies:
        link = proxies.open(nats_url)
        connection = await Connection.connect(link.url, name="test", ping_s=1)
        try:
            await ensure_topology(connection)
            link.silence()
            for _ in range(12):  # more than the kernel holds
                await connection.nc.publish("nobody", bytes(1 << 20))
            link.heal(forget=True)
            await eventually(
                lambda: _is_stored(connection), bool, "a message to be stored over another connection"
            )
        finally:
            await connection.close()


async def _is_stored(connection: Connection) -> bool:
    try:
        await connection.publish(cancelled(1), source="test")
    except Retryable:
        return False
    return True
