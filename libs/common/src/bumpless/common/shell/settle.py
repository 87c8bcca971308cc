"""The end of a delivery: what was handled is acknowledged, handed back, or parked.

The only place that turns an exception into an acknowledgement. Unreadable messages are parked at once, those that
a handler cannot handle after a few tries; nothing behind them waits. `Retryable` waits as long as it takes.
"""

from __future__ import annotations

import time

from nats.aio.msg import Msg
from pydantic import ValidationError

from bumpless.common.contract import wire
from bumpless.common.contract.base import derive_id
from bumpless.common.contract.events import MessageParked
from bumpless.common.errors import Refused, Retryable
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import now
from bumpless.common.shell.log import get_logger
from bumpless.common.telemetry import HANDLE_SECONDS, MESSAGES, PARKED

log = get_logger(__name__)

TRIES = 5
AGAIN_S = 1.0
"""Between two tries of a handler that failed."""
HELD_EVERY_S = 2.0
HELD_S = 150.0
"""How long a handler may take before its message is delivered again, and how often the broker is told meanwhile. The
longest is the trial of a channel, which may take 120 s to answer."""
PARKED_BYTES = 256 << 10
"""Longer bodies are cut in the parked copy; the original stays in its stream until that stream's own age."""


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


class Settler:
    """Ends the deliveries to one service."""

    def __init__(self, connection: Connection, service: str) -> None:
        self.connection, self._service = connection, service

    async def settle(self, raw: Msg, error: BaseException | None, began: int) -> None:
        """End the delivery of `raw`, whose handling began at `began` (nanoseconds since 1970) and ended with `error`."""
        kind = str((raw.headers or {}).get("ce-type", "unknown")).removeprefix(wire.CE_TYPE_PREFIX)
        kind = kind if kind in wire.TYPES else "unknown"
        outcome = await self._settled(raw, error)
        MESSAGES.labels(self._service, kind, outcome).inc()
        HANDLE_SECONDS.labels(self._service, kind).observe((time.time_ns() - began) / 1e9)

    async def _settled(self, raw: Msg, error: BaseException | None) -> str:
        """What became of it, in a word."""
        if error is None:
            await raw.ack()
            return "handled"
        if isinstance(error, wire.Unreadable | ValidationError | Refused):
            await self._park(raw, str(error))
            await raw.term()
            return "parked"
        tries = raw.metadata.num_delivered
        if isinstance(error, Retryable):
            log.warning("handed back", subject=raw.subject, reason=str(error), tries=tries)
            await raw.nak(delay=error.after_s)
            return "again"
        # The edge: whatever it is, the message is kept and the rest goes on.
        log.error("handler failed", subject=raw.subject, tries=tries, exc_info=error)
        if tries >= TRIES:
            await self._park(raw, f"failed {tries} times: {error!r}")
            await raw.term()
        else:
            await raw.nak(delay=AGAIN_S)
        return "failed"

    async def _park(self, raw: Msg, reason: str) -> None:
        await park(
            self.connection,
            service=self._service,
            stream=raw.metadata.stream,
            subject=raw.subject,
            sequence=raw.metadata.sequence.stream,
            reason=reason,
            headers=dict(raw.headers or {}),
            body=raw.data,
        )
