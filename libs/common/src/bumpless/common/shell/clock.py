"""The only place that reads the clock or draws an id; everything else is given them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from bumpless.common.contract.base import MessageId

Clock = Callable[[], datetime]


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def fresh_id() -> MessageId:
    """An id for what has no cause inside the system: an operator's command, a node's own observation."""
    return MessageId(str(uuid.uuid4()))
