"""A channel in memory: the same port as the real ones, for what is tested around them."""

from __future__ import annotations

from dataclasses import dataclass, field

from bumpless.alerts.notice import Notice
from bumpless.common.webhooks.post import Outcome


@dataclass
class MemoryChannel:
    """Keeps what was sent; `answers` are given one after the other, then success for ever."""

    answers: list[Outcome] = field(default_factory=list)
    sent: list[Notice] = field(default_factory=list)

    async def send(self, notice: Notice) -> Outcome:
        self.sent.append(notice)
        return self.answers.pop(0) if self.answers else Outcome(True)
