"""The service around the machine: what hangs or fails in one place does not keep the rest waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import pytest

from bumpless.alerts import ack_link
from bumpless.alerts.book import Book
from bumpless.alerts.channels.port import Channel
from bumpless.alerts.config import Config
from bumpless.alerts.feeds import Feeds
from bumpless.alerts.handlers import Alerts
from bumpless.alerts.inputs import Concerned
from bumpless.alerts.kind import AlertKind, Kept, alert_aggregate
from bumpless.alerts.notice import Notice
from bumpless.alerts.picture import Picture
from bumpless.common.contract.base import Message, RolloutId
from bumpless.common.contract.events import RolloutReverted
from bumpless.common.errors import Retryable
from bumpless.common.model import alerting
from bumpless.common.model.alert import ActionStatus, Alert
from bumpless.common.model.alerting import AlertsFile
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.kind import Rebuilt
from bumpless.common.shell.run import Runner
from bumpless.common.webhooks.post import Outcome
from support.memory_channel import MemoryChannel
from support.memory_state import MemoryState, MemoryStore
from support.waiting import comes_true
from unit.alerts.scenes import FINGERPRINT, T0, at, observed

AGGREGATE = alert_aggregate(FINGERPRINT)
HOOK = "https://example.org"


class Kind(AlertKind):
    """Without a broker there is nothing to rebuild from."""

    async def rebuild(self, aggregate: str) -> Rebuilt[Kept] | None:
        return None


@dataclass
class Outbound:
    sent: list[Message] = field(default_factory=list)
    away: bool = False

    async def log(self, entry: Message, after: int) -> int:
        raise AssertionError("alerts have no log of inputs")

    async def send(self, messages: Sequence[Message]) -> None:
        if self.away:
            raise Retryable("the broker is away")
        self.sent += messages


class Hanging:
    """A channel whose other end never answers."""

    def __init__(self) -> None:
        self.asked = 0

    async def send(self, notice: Notice) -> Outcome:
        self.asked += 1
        await asyncio.Event().wait()
        return Outcome(True)


@dataclass
class Rig:
    """One service with a clock that the test sets. `tick` does what the watch over deadlines does."""

    channels: dict[str, Channel]
    file: AlertsFile
    now: datetime = T0
    outbound: Outbound = field(default_factory=Outbound)
    secret: Path | None = None
    store: MemoryState | None = None

    async def start(self) -> Rig:
        if self.store is None:
            self.store = MemoryState(MemoryStore(), "t", lambda: self.now)
            await self.store.acquire(1e9)
        nobody = cast(Connection, None)
        config = Config(None)
        config.file = self.file
        picture = Picture()
        book = Book(picture, lambda: self.file)
        self.runner = Runner(Kind(nobody), self.store, self.outbound, lambda: self.now, None, book)
        names = {id(channel): name for name, channel in self.file.channels.items()}

        def make(config: alerting.Channel) -> Channel:
            return self.channels[names[id(config)]]

        feeds = cast(Feeds, None)
        self.service = Alerts(
            nobody, self.runner, book, feeds, config, lambda: self.now, None, make, self.secret
        )
        return self

    async def tick(self, second: float) -> None:
        self.now = at(second)
        for aggregate, deadline in await self.store.due(self.now):
            await self.service.on_deadline(aggregate, deadline)

    async def alert(self) -> Alert:
        found = await self.runner.peek(AGGREGATE)
        assert isinstance(found, Alert)
        return found


def file(**fields: Any) -> AlertsFile:
    channels = {name: {"kind": "webhook", "url": f"{HOOK}/{name}"} for name in ("chat", "oncall")}
    return AlertsFile.model_validate({"channels": channels, **fields})


async def test_a_channel_that_hangs_keeps_nobody_else_waiting() -> None:
    chat, oncall = Hanging(), MemoryChannel()
    rig = await Rig({"chat": chat, "oncall": oncall}, file()).start()
    await rig.runner.handle(AGGREGATE, observed())
    await rig.tick(0)
    await rig.tick(0.1)
    await comes_true(lambda: chat.asked, "chat to be asked")
    await rig.tick(300)
    await rig.tick(300.1)
    await comes_true(lambda: oncall.sent, "the next step to be taken")
    await rig.tick(300.2)
    assert chat.asked == 1
    await rig.service.close()


async def test_an_action_that_takes_long_keeps_nobody_waiting() -> None:
    action = {
        "name": "slow",
        "match": 'alertname="DiskFull"',
        "do": "command",
        "command": ["/bin/sleep", "300"],
        "timeout_s": 600,
    }
    chat = MemoryChannel()
    rig = await Rig({"chat": chat, "oncall": chat}, file(actions=[action])).start()
    wanted = [{"name": "slow", "do": "command"}]
    await rig.runner.handle(AGGREGATE, observed(actions=wanted))
    for second in (0, 0.1, 0.2, 300, 300.1):
        await rig.tick(second)
    await comes_true(lambda: len(chat.sent) == 2, "both steps to be taken")
    await rig.service.close()


async def test_what_cannot_be_recorded_is_not_sent() -> None:
    chat = MemoryChannel()
    rig = await Rig({"chat": chat, "oncall": chat}, file()).start()
    await rig.runner.handle(AGGREGATE, observed())
    rig.outbound.away = True
    with pytest.raises(Retryable):
        await rig.tick(0)
    for second in (0.1, 0.2, 0.3):
        await rig.tick(second)
        await comes_true(lambda: not rig.service.busy, "the attempt to end")
    assert chat.sent == []
    rig.outbound.away = False
    await rig.tick(1)
    await comes_true(lambda: chat.sent, "the message once the broker is back")
    await rig.service.close()


async def test_a_message_that_was_sent_is_recorded() -> None:
    chat = MemoryChannel([Outcome(False, "no"), Outcome(True, "HTTP 200")])
    rig = await Rig({"chat": chat, "oncall": chat}, file()).start()
    await rig.runner.handle(AGGREGATE, observed())

    async def told(second: float, count: int) -> str:
        await rig.tick(second)
        await rig.tick(second)
        await comes_true(lambda: len(chat.sent) == count and not rig.service.busy, "the message")
        return (await rig.alert()).deliveries[0].detail

    assert await told(0, 1) == "no"
    assert await told(0.5, 1) == "no"
    assert await told(1.1, 2) == "HTTP 200"
    assert len({notice.id for notice in chat.sent}) == 1


async def test_the_link_in_a_message_acknowledges_its_episode_and_no_other(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    chat = MemoryChannel()
    config = file(receiver={"external_url": "https://alerts.example.org"})
    rig = await Rig({"chat": chat, "oncall": chat}, config, secret=secret).start()
    await rig.runner.handle(AGGREGATE, observed())
    await rig.tick(0)
    await rig.tick(0)
    await comes_true(lambda: chat.sent and not rig.service.busy, "the message")
    url = urlsplit(chat.sent[0].ack_url)
    assert url.hostname == "alerts.example.org"
    assert chat.sent[0].ack_url in chat.sent[0].body
    link = ack_link.read(secret.read_bytes(), dict(parse_qsl(url.query)), rig.now)
    assert await rig.service.acknowledge(link) == ""
    alert = await rig.alert()
    assert alert.acknowledged is not None
    assert alert.acknowledged.by == "the link in chat"
    await rig.runner.handle(AGGREGATE, observed(False, second=1))
    await rig.runner.handle(AGGREGATE, observed(second=2))
    assert "over" in await rig.service.acknowledge(link)
    assert (await rig.alert()).acknowledged is None


async def test_what_was_saved_and_did_not_leave_is_known_from_the_start() -> None:
    """An order that a killed process saved leaves with the next one, and is answered at once."""
    rig = await Rig({}, file()).start()
    action = {"name": "back", "do": "rollback"}
    await rig.runner.handle(AGGREGATE, observed(actions=[action]))
    said = await rig.alert()
    number = said.actions[0].id
    rig.outbound.away = True
    with pytest.raises(Retryable):
        await rig.runner.handle(
            AGGREGATE, Concerned(id=number, at=T0, action=number, rollouts=(RolloutId("r1"),))
        )
    again = await Rig({}, file(), store=rig.store).start()
    await again.service.load([said], await again.store.unpublished())
    reverted = RolloutReverted(id=number, at=T0, rollout=RolloutId("r1"), revert=RolloutId("r2"))
    await again.service.outcome(reverted)
    assert [a.status for a in (await again.alert()).actions] == [ActionStatus.DONE]
