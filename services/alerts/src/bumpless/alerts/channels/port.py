"""The port of a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bumpless.alerts.notice import Notice


@dataclass(frozen=True)
class Outcome:
    """How one try went. `for_good`: the receiver refused it, or it cannot be sent, and will not be another time."""

    ok: bool
    detail: str = ""
    for_good: bool = False


class Channel(Protocol):
    """Sends one notice, once, within the channel's own time limit. Never raises: what goes wrong is the outcome.

    Sending a notice again must be harmless: it carries its id wherever the receiver's form has room for one.
    """

    async def send(self, notice: Notice) -> Outcome: ...
