"""The port of a channel."""

from __future__ import annotations

from typing import Protocol

from bumpless.alerts.notice import Notice
from bumpless.common.webhooks.post import Outcome


class Channel(Protocol):
    """Sends one notice, once, within the channel's own time limit. Never raises: what goes wrong is the outcome.

    Sending a notice again must be harmless: it carries its id wherever the receiver's form has room for one.
    """

    async def send(self, notice: Notice) -> Outcome: ...
