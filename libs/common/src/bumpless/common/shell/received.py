"""What was read of the broker, and where reading begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from nats.aio.msg import Msg
from nats.js import api


@dataclass(frozen=True)
class Received:
    """A stored or live message: exact bytes, where and when it was stored (`sequence` 0: not stored)."""

    subject: str
    data: bytes
    sequence: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    at: datetime | None = None
    pending: int = 0


def stored(msg: Msg) -> Received:
    meta = msg.metadata
    return Received(
        subject=msg.subject,
        data=msg.data,
        sequence=meta.sequence.stream,
        headers=dict(msg.headers or {}),
        at=meta.timestamp,
        pending=meta.num_pending,
    )


def direct(msg: Msg) -> Received:
    headers = dict(msg.headers or {})
    return Received(
        subject=headers["Nats-Subject"],
        data=msg.data,
        sequence=int(headers["Nats-Sequence"]),
        headers=headers,
    )


def from_where(seen: int, since: datetime | None, last_values: bool) -> api.ConsumerConfig:
    if seen:
        return api.ConsumerConfig(deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=seen + 1)
    if since is not None:
        return api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_TIME, opt_start_time=since.astimezone(UTC)
        )
    if last_values:
        return api.ConsumerConfig(deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT)
    return api.ConsumerConfig(deliver_policy=api.DeliverPolicy.NEW)
