"""From the broker to a handler and back: acknowledged, handed back, or parked, and nothing behind it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bumpless.common.contract import events as e
from bumpless.common.contract import wire
from bumpless.common.contract.base import Message, RolloutId, derive_id
from bumpless.common.contract.commands import Pause, Resume
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Refused, Retryable
from bumpless.common.model.alerting import AlertmanagerChannel, AppriseChannel, WebhookChannel
from bumpless.common.shell import settle
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.consume import (
    make_broker,
    on_durable,
    on_durable_together,
    start_subscribers,
    stop_subscribers,
)
from bumpless.common.shell.topology import PLANNER_OPERATORS, PLANNER_RELEASES
from support.plans import T0
from support.tcp_proxy import Proxies
from support.waiting import comes_true, eventually

Handler = Callable[[Message, int], Awaitable[None]]


def pause(name: str) -> Pause:
    return Pause(id=derive_id("pause", name), at=T0, rollout=RolloutId(name), by="ann")


class Service:
    """A service with one handler on the operators' stream; `seen` lists what the handler was given."""

    together = False

    def __init__(self, url: str, connection: Connection, handler: Handler | None = None) -> None:
        self.seen: list[str] = []
        self.connection = connection
        self.broker = make_broker(url, "planner", connection)

        async def handle(message: Pause) -> None:
            self.seen.append(message.rollout)
            if handler is not None:
                await handler(message, self.seen.count(message.rollout))

        if self.together:
            on_durable_together(self.broker, PLANNER_OPERATORS, (Pause,), title="test")(handle)
        else:
            on_durable(self.broker, PLANNER_OPERATORS, title="test")(handle)

    async def __aenter__(self) -> Service:
        await self.broker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.broker.stop()

    async def settled(self) -> list[e.MessageParked]:
        """Wait until every message is acknowledged; what was parked on the way."""

        async def left() -> int:
            info = await self.connection.js.consumer_info(Stream.OPS.value, PLANNER_OPERATORS.name)
            return (info.num_pending or 0) + (info.num_ack_pending or 0)

        await eventually(left, lambda n: n == 0, "every message to be settled")
        items = await self.connection.snapshot(Stream.DLQ, "dlq.>", history=True)
        found = [wire.decode(item.data) for item in items]
        return [m for m in found if isinstance(m, e.MessageParked)]

    async def handled(self, *names: str) -> None:
        async def read() -> list[str]:
            return list(self.seen)

        await eventually(read, lambda seen: set(names) <= set(seen), f"{names} to be handled")


@pytest.fixture(autouse=True, params=[False, True], ids=["one by one", "together"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "together", request.param)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "AGAIN_S", 0.05)


async def test_a_handled_message_is_acknowledged(nats_url: str, connection: Connection) -> None:
    async with Service(nats_url, connection) as service:
        for name in ("r1", "r2", "r3"):
            await connection.publish(pause(name), source="test")
        await service.handled("r1", "r2", "r3")
        assert await service.settled() == []
    assert sorted(service.seen) == ["r1", "r2", "r3"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xff no JSON", "expected a JSON message"),
        (b'{"type":"no-such-type"}', "no-such-type"),
        (b'{"type":"pause","id":"1","rollout":"bad"}', "pause: field at"),
        (b"[]", "found type None"),
    ],
)
async def test_what_cannot_be_read_is_parked_once_and_holds_nothing_up(
    nats_url: str, connection: Connection, body: bytes, words: str
) -> None:
    await connection.js.publish("op.planner.bad.pause", body, headers={"x": "y"})
    await connection.publish(pause("good"), source="test")
    async with Service(nats_url, connection) as service:
        await service.handled("good")
        [parked] = await service.settled()
    assert service.seen == ["good"]
    assert parked.body == body
    assert words in parked.reason
    assert (parked.service, parked.stream, parked.subject) == ("planner", "OPS", "op.planner.bad.pause")
    assert parked.stream_sequence == 1
    assert parked.headers["x"] == "y"


async def test_a_message_of_the_wrong_type_is_parked(nats_url: str, connection: Connection) -> None:
    resume = Resume(id=derive_id("resume"), at=T0, rollout=RolloutId("r1"), by="ann")
    await connection.publish(resume, source="test")
    await connection.publish(pause("good"), source="test")
    async with Service(nats_url, connection) as service:
        await service.handled("good")
        [parked] = await service.settled()
    assert service.seen == ["good"]
    assert wire.decode(parked.body) == resume


async def test_a_message_on_the_subject_of_another_is_parked(nats_url: str, connection: Connection) -> None:
    await connection.js.publish("op.planner.r2.pause", wire.encode(pause("r1")))
    await connection.publish(pause("good"), source="test")
    async with Service(nats_url, connection) as service:
        await service.handled("good")
        [parked] = await service.settled()
    assert service.seen == ["good"]
    assert "expected it on op.planner.r1.pause" in parked.reason


async def test_what_is_refused_is_parked_at_once(nats_url: str, connection: Connection) -> None:
    async def refuse(message: Message, attempt: int) -> None:
        raise Refused("something else", "this")

    await connection.publish(pause("r1"), source="test")
    async with Service(nats_url, connection, refuse) as service:
        await service.handled("r1")
        [parked] = await service.settled()
    assert service.seen == ["r1"]
    assert "expected something else, found this" in parked.reason


async def test_what_a_handler_cannot_handle_is_parked_after_its_tries(
    nats_url: str, connection: Connection
) -> None:
    async def fail(message: Message, attempt: int) -> None:
        if isinstance(message, Pause) and message.rollout == "r1":
            raise RuntimeError("a fault of ours")

    await connection.publish(pause("r1"), source="test")
    await connection.publish(pause("r2"), source="test")
    async with Service(nats_url, connection, fail) as service:
        await service.handled("r1", "r2")
        [parked] = await service.settled()
    assert service.seen.count("r1") == settle.TRIES
    assert service.seen.count("r2") == 1
    assert "a fault of ours" in parked.reason


async def test_what_may_work_later_is_handed_out_again_as_often_as_it_takes(
    nats_url: str, connection: Connection
) -> None:
    async def later(message: Message, attempt: int) -> None:
        if attempt <= settle.TRIES + 2:
            raise Retryable("away", after_s=0.01)

    await connection.publish(pause("r1"), source="test")
    async with Service(nats_url, connection, later) as service:
        await service.handled("r1")
        assert await service.settled() == []
    assert service.seen == ["r1"] * (settle.TRIES + 3)


async def test_a_slow_message_holds_up_no_other(nats_url: str, connection: Connection) -> None:
    release = asyncio.Event()

    async def slow(message: Message, attempt: int) -> None:
        if isinstance(message, Pause) and message.rollout == "slow":
            await release.wait()

    await connection.publish(pause("slow"), source="test")
    await connection.publish(pause("r2"), source="test")
    async with Service(nats_url, connection, slow) as service:
        await service.handled("slow", "r2")
        release.set()
        assert await service.settled() == []


async def test_what_was_not_acknowledged_comes_to_the_next_process(
    nats_url: str, connection: Connection
) -> None:
    async def away(message: Message, attempt: int) -> None:
        raise Retryable("away", after_s=0.01)

    await connection.publish(pause("r1"), source="test")
    async with Service(nats_url, connection, away) as service:
        await service.handled("r1")
    async with Service(nats_url, connection) as service:
        await service.handled("r1")
        assert await service.settled() == []


async def test_a_message_that_is_worked_on_does_not_come_again(
    connection: Connection, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "HELD_EVERY_S", 0.2)
    info = await connection.js.consumer_info(Stream.OPS.value, PLANNER_OPERATORS.name)
    await connection.js.add_consumer(Stream.OPS.value, info.config.evolve(ack_wait=2.0))

    async def slow(message: Message, tries: int) -> None:
        await asyncio.sleep(3)

    await connection.publish(pause("r1"), source="cli")
    async with Service(nats_url, connection, slow) as service:
        assert await service.settled() == []
        assert service.seen == ["r1"]


def test_the_longest_handler_keeps_its_message() -> None:
    """A channel that is tried twice tells people twice."""
    asked = (AlertmanagerChannel, AppriseChannel, WebhookChannel)
    longest = max(kind.model_json_schema()["properties"]["timeout_s"]["maximum"] for kind in asked)
    assert longest < settle.HELD_S


async def test_subscribers_are_stopped_over_a_connection_that_is_lost(
    nats_url: str, connection: Connection
) -> None:
    with Proxies() as proxies:
        link = proxies.open(nats_url)
        broker = Service(link.url, connection).broker
        await start_subscribers(broker)
        client = broker._connection
        assert client is not None
        link.cut()
        await comes_true(lambda: client.is_reconnecting, "the connection to be lost")
        await stop_subscribers(broker, 5.0)
        assert client.is_closed


async def test_a_service_stands_back_whose_results_do_not_come_to_their_end(
    nats_url: str, connection: Connection
) -> None:
    """Handlers that wait for a store which is away outlast the time that there is; nothing may be fetched meanwhile or
    afterwards, over a connection that is closed."""
    going, ended = asyncio.Event(), asyncio.Event()

    async def waits(message: Message, tries: int) -> None:
        going.set()
        await ended.wait()

    async def beside(message: e.ReleaseAnnounced) -> None:
        pass

    service = Service(nats_url, connection, waits)
    on_durable(service.broker, PLANNER_RELEASES, title="beside")(beside)
    await start_subscribers(service.broker)
    await connection.publish(pause("r1"), source="cli")
    await asyncio.wait_for(going.wait(), 10)
    client = service.broker._connection
    await stop_subscribers(service.broker, 0.2)
    ended.set()
    assert client is not None
    assert client.is_closed
    assert not any(subscriber.running for subscriber in service.broker.subscribers)
