"""From the broker to a handler and back: what was read is acknowledged, handed back, or parked.

The only place that turns an exception into an acknowledgement. Unreadable messages are parked at once, those that
a handler cannot handle after a few tries; nothing behind them waits. `Retryable` waits as long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from faststream import AckPolicy, BaseMiddleware
from faststream.message import StreamMessage
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.message import NatsMessage
from pydantic import ValidationError

from bumpless.common.contract import wire
from bumpless.common.contract.base import Message, derive_id
from bumpless.common.contract.events import MessageParked
from bumpless.common.contract.subjects import ACK_PREFIX
from bumpless.common.errors import Refused, Retryable
from bumpless.common.shell import tracing
from bumpless.common.shell.broker import Away, Connection
from bumpless.common.shell.clock import now
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.topology import Durable
from bumpless.common.telemetry import HANDLE_SECONDS, MESSAGES, PARKED

log = get_logger(__name__)

TRIES = 5
AGAIN_S = 1.0
"""Between two tries of a handler that failed."""
HELD_EVERY_S = 3.0
HELD_S = 60.0
"""How long a handler may take before its message is delivered again, and how often the broker is told meanwhile."""
PARKED_BYTES = 256 << 10
"""Longer bodies are cut in the parked copy; the original stays in its stream until that stream's own age."""
WORKERS = 256
"""Handlers at once: what waits for the same aggregate is decided together."""


async def park(
    connection: Connection,
    *,
    service: str,
    stream: str,
    subject: str,
    sequence: int,
    reason: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    """Put a copy of a message nobody can use on the dead-letter stream."""
    await connection.publish(
        MessageParked(
            id=derive_id(service, "parked", stream, str(sequence), subject, reason),
            at=now(),
            service=service,
            stream=stream or "core",
            subject=subject,
            stream_sequence=sequence,
            reason=reason,
            headers=headers,
            body=body[:PARKED_BYTES],
        ),
        source=service,
    )
    PARKED.labels(service).inc()
    log.error("message parked", stream=stream, subject=subject, sequence=sequence, reason=reason)


def settle(connection: Connection, service: str) -> type[BaseMiddleware]:
    """The middleware that settles every message of one service."""

    class Settle(BaseMiddleware[Any, Any]):
        async def consume_scope(
            self, call_next: Callable[[Any], Awaitable[Any]], msg: StreamMessage[Any]
        ) -> Any:
            assert isinstance(msg, NatsMessage)
            raw = msg.raw_message
            if not raw.reply.startswith(ACK_PREFIX):  # a question, or nobody waits: nothing to acknowledge
                return await self._question(call_next, msg)
            meta = raw.metadata
            kind = str(msg.headers.get("ce-type", "unknown")).removeprefix(wire.CE_TYPE_PREFIX)
            kind = kind if kind in wire.TYPES else "unknown"
            began = time.perf_counter()
            outcome = "handled"
            try:
                with tracing.received(raw.data, raw.headers or {}):
                    async with _held(msg):
                        await call_next(msg)
                await msg.ack()
            except (wire.Unreadable, ValidationError, Refused) as error:
                outcome = "parked"
                await self._park(raw, str(error))
                await msg.reject()
            except Retryable as error:
                outcome = "again"
                log.warning("handed back", subject=raw.subject, reason=str(error), tries=meta.num_delivered)
                await msg.nack(delay=error.after_s)
            except Exception as error:  # the edge: whatever it is, the message is kept and the rest goes on
                outcome = "failed"
                log.exception("handler failed", subject=raw.subject, tries=meta.num_delivered)
                if meta.num_delivered >= TRIES:
                    await self._park(raw, f"failed {meta.num_delivered} times: {error!r}")
                    await msg.reject()
                else:
                    await msg.nack(delay=AGAIN_S)
            finally:
                MESSAGES.labels(service, kind, outcome).inc()
                HANDLE_SECONDS.labels(service, kind).observe(time.perf_counter() - began)

        @staticmethod
        async def _question(call_next: Callable[[Any], Awaitable[Any]], msg: NatsMessage) -> Any:
            try:
                return await call_next(msg)
            except Exception:
                log.exception("question not answered", subject=msg.raw_message.subject)
                raise

        @staticmethod
        async def _park(raw: Any, reason: str) -> None:
            await park(
                connection,
                service=service,
                stream=raw.metadata.stream,
                subject=raw.subject,
                sequence=raw.metadata.sequence.stream,
                reason=reason,
                headers=dict(raw.headers or {}),
                body=raw.data,
            )

    return Settle


@contextlib.asynccontextmanager
async def _held(msg: NatsMessage) -> AsyncIterator[None]:
    """Tell the broker that the message is worked on, so that only what a dead process held comes again soon."""

    async def tell() -> None:
        for _ in range(int(HELD_S / HELD_EVERY_S)):
            await asyncio.sleep(HELD_EVERY_S)
            with contextlib.suppress(*Away):
                await msg.raw_message.in_progress()

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()


async def _decode(msg: StreamMessage[Any]) -> Message:
    return wire.decode(msg.body)


def make_broker(url: str, service: str, connection: Connection | None) -> NatsBroker:
    """The FastStream broker of one service; without a connection it is good for its documentation only."""
    return NatsBroker(
        url,
        name=service,
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        graceful_timeout=10,
        middlewares=() if connection is None else (settle(connection, service),),
        logger=None,
    )


def on_durable(
    broker: NatsBroker,
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
        stream=JStream(durable.stream.value, declare=False),
        pull_sub=PullSub(batch_size=WORKERS, timeout=1.0),
        ack_policy=AckPolicy.MANUAL,
        decoder=decoder,
        max_workers=WORKERS,
        no_reply=True,
        title=title,
        description="Subjects: " + ", ".join(durable.filters),
    )
