"""From the broker to a handler and back: subscribers of a service, and what is done around every handler."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any

from faststream import AckPolicy, BaseMiddleware
from faststream.message import StreamMessage
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.message import NatsMessage
from faststream.nats.security import NatsNKey, NatsSecurity
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError
from nats.js import JetStreamContext
from nats.js.errors import ServiceUnavailableError

from bumpless.common.access.entry import Entry
from bumpless.common.contract import wire
from bumpless.common.contract.base import Message
from bumpless.common.contract.subjects import ACK_PREFIX
from bumpless.common.errors import Retryable
from bumpless.common.shell import settle, tracing
from bumpless.common.shell.broker import CLOSE_S, Connection
from bumpless.common.shell.fan_in import FanIn, Handler
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.nats_client import PING_S, PINGS_UNANSWERED, Away, LastingClient, in_turn
from bumpless.common.shell.reading import spoken
from bumpless.common.shell.settle import Settler
from bumpless.common.shell.topology import Durable

log = get_logger(__name__)

AGAIN_S = 0.5
"""Between two looks for a consumer that nobody answers for."""
WORKERS = 256
"""Handlers at once: what waits for the same aggregate is decided together."""


def settling(settler: Settler) -> type[BaseMiddleware]:
    """The middleware that settles every message of one service."""

    class Settle(BaseMiddleware[Any, Any]):
        async def consume_scope(
            self, call_next: Callable[[Any], Awaitable[Any]], msg: StreamMessage[Any]
        ) -> Any:
            assert isinstance(msg, NatsMessage)
            raw = msg.raw_message
            if not raw.reply.startswith(ACK_PREFIX):  # a question, or nobody waits: nothing to acknowledge
                return await self._question(call_next, msg)
            began = time.time_ns()
            failed: Exception | None = None
            try:
                async with _held(msg):
                    await call_next(msg)
                tracing.handled(raw.data, raw.headers or {}, began)
            except Exception as error:  # noqa: BLE001 - the edge: it decides how the delivery ends
                failed = error
            await settler.settle(raw, failed, began)
            return None

        @staticmethod
        async def _question(call_next: Callable[[Any], Awaitable[Any]], msg: NatsMessage) -> Any:
            try:
                return await call_next(msg)
            except Exception:
                log.exception("question not answered", subject=msg.raw_message.subject)
                raise

    return Settle


@contextlib.asynccontextmanager
async def _held(msg: NatsMessage) -> AsyncIterator[None]:
    """Tell the broker that the message is worked on, so that only what a dead process held comes again soon."""

    async def tell() -> None:
        for _ in range(int(settle.HELD_S / settle.HELD_EVERY_S)):
            await asyncio.sleep(settle.HELD_EVERY_S)
            with contextlib.suppress(*Away):
                await msg.raw_message.in_progress()

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()


async def _decode(msg: StreamMessage[Any]) -> Message:
    return spoken(wire.decode(msg.body), msg.raw_message.subject)


class ServiceBroker(NatsBroker):
    """FastStream's broker, and beside it what is handled many at a time."""

    def __init__(self, entry: Entry, service: str, connection: Connection | None) -> None:
        self.settler = None if connection is None else Settler(connection, service)
        self.fan_ins: list[FanIn] = []
        self.inbox = entry.inbox
        """Under which it is answered; every subscriber is to be told by itself."""
        self._known = len(entry.servers)
        super().__init__(
            name=service,
            inbox_prefix=self.inbox,
            security=_security(entry),
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            ping_interval=PING_S,
            max_outstanding_pings=PINGS_UNANSWERED,
            **in_turn(entry),
            graceful_timeout=10,
            middlewares=() if self.settler is None else (settling(self.settler),),
            logger=None,
        )

    async def _connect(self) -> Client:
        found = LastingClient(self._known)
        await found.connect(**self._connection_kwargs)
        self.config.connect(found)
        return found

    async def start(self) -> None:
        await super().start()
        for subscriber in self.subscribers:
            pulled = getattr(subscriber, "subscription", None)
            if isinstance(pulled, JetStreamContext.PullSubscription):
                _be_patient(pulled)
        for fan_in in self.fan_ins:
            fan_in.start()

    async def stop(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        for subscriber in self.subscribers:
            # What is fetched one by one is not fetched on while results come to their end.
            subscriber.running = False
        await asyncio.gather(*(fan_in.stop() for fan_in in self.fan_ins))
        await super().stop(exc_type, exc_val, exc_tb)


def _be_patient(pulled: JetStreamContext.PullSubscription) -> None:
    """A consumer whose stream has no leader refuses at once what FastStream would ask again at once, and so does a closed
    connection: without a pause between them nothing else in the process would ever run."""
    fetch, client = pulled.fetch, pulled._nc
    assert isinstance(client, LastingClient)

    async def waiting(batch: int = 1, timeout: float | None = 5, heartbeat: float | None = None) -> list[Msg]:
        began = asyncio.get_running_loop().time()
        try:
            found = await fetch(batch, timeout, heartbeat)
        except ServiceUnavailableError:
            client.unanswered(began)
            await asyncio.sleep(AGAIN_S)
            raise
        except ConnectionClosedError:
            await asyncio.sleep(AGAIN_S)
            raise
        if found:
            client.answered()
        return found

    pulled.fetch = waiting  # type: ignore[method-assign]


def _security(entry: Entry) -> NatsSecurity | NatsNKey:
    tls = entry.tls()
    if entry.seed is None:
        return NatsSecurity(ssl_context=tls)
    return NatsNKey.from_file(str(entry.seed), ssl_context=tls)


def make_broker(entry: str | Entry, service: str, connection: Connection | None) -> ServiceBroker:
    """The broker of one service; without a connection it is good for its documentation only."""
    return ServiceBroker(Entry.of(entry), service, connection)


async def start_subscribers(broker: NatsBroker) -> None:
    """Raises: Retryable: the broker is away, or did not answer."""
    try:
        await broker.start()
    except Away as error:
        raise Retryable(f"broker is away: subscribing: {error!r}") from error


async def stop_subscribers(broker: NatsBroker, limit_s: float) -> None:
    """Take no more messages, and let the handlers come to their end within `limit_s`; also over a lost connection."""
    connection = broker._connection
    try:
        await asyncio.wait_for(broker.stop(), limit_s)
    except (ExceptionGroup, *Away) as error:
        log.warning("subscribers were not stopped in good order", reason=repr(error))
        if connection is not None:
            with contextlib.suppress(*Away):
                await asyncio.wait_for(connection.close(), CLOSE_S)


def on_durable(
    broker: ServiceBroker,
    durable: Durable,
    *,
    title: str,
    decoder: Callable[[StreamMessage[Any]], Any] = _decode,
) -> Any:
    """Decorator: handle what the durable consumer delivers. What is there is fetched together, and handled at once.

    `decoder` is for what is no message of the contract.
    """
    return broker.subscriber(
        durable.filters[0],
        durable=durable.name,
        inbox_prefix=f"{broker.inbox}.".encode(),
        stream=JStream(durable.stream.value, declare=False),
        pull_sub=PullSub(batch_size=WORKERS, timeout=1.0),
        ack_policy=AckPolicy.MANUAL,
        decoder=decoder,
        max_workers=WORKERS,
        no_reply=True,
        title=title,
        description="Subjects: " + ", ".join(durable.filters),
    )


def on_durable_together(
    broker: ServiceBroker, durable: Durable, kinds: tuple[type[Message], ...], *, title: str
) -> Callable[[Handler], Handler]:
    """As `on_durable`, for what comes by the thousand: `kinds` of messages, each handled in a task and nothing else."""
    settler = broker.settler
    if settler is None:
        described: Callable[[Handler], Handler] = on_durable(broker, durable, title=title)
        return described

    def declared(handle: Handler) -> Handler:
        broker.fan_ins.append(FanIn(settler, durable, handle, kinds))
        return handle

    return declared
