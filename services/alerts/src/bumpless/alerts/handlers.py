"""The service while it works: rules are looked at, messages sent, actions carried out, and what came of it recorded.

Everything here may happen again after a crash: what an alert is told is decided by `machine`, which knows what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from bumpless.alerts import ack_link, acting, escalation, evaluate, follow_up, machine
from bumpless.alerts.ack_link import Link
from bumpless.alerts.book import Book
from bumpless.alerts.channels import made
from bumpless.alerts.channels.port import Channel
from bumpless.alerts.config import Config
from bumpless.alerts.feeds import Feeds
from bumpless.alerts.inputs import Concerned, Observed, Ran, Sent
from bumpless.alerts.kind import OWNER, Kept, alert_aggregate, silence_aggregate
from bumpless.alerts.notice import Notice, trial_alert
from bumpless.alerts.observing import Observing
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.contract import alerts as a
from bumpless.common.contract import events as e
from bumpless.common.contract.base import derive_id
from bumpless.common.engine.decision import Deadline
from bumpless.common.errors import Retryable
from bumpless.common.model import alerting
from bumpless.common.model.alert import ActionKind, ActionRun, Alert, Delivery, Silence, fingerprint
from bumpless.common.model.alerting import ActionFile
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.deadlines import deadline_message
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.run import Runner
from bumpless.common.webhooks.post import Outcome
from bumpless.common.webhooks.signing import read_secret

log = get_logger(__name__)
T = TypeVar("T")

MAX_ACTIVE = 10_000
"""Alerts at once, from outside: beyond that somebody labels alerts with what changes every time."""
AT_ONCE = 32
"""Alerts that are saved at the same time: each waits for the disk."""
FILE_S = 1.0
"""How often the alerts file is looked at."""
OUTCOMES = e.CommandAnswered | e.RolloutFailed | e.RolloutReverted | e.RolloutHalted
COMMANDS = a.AcknowledgeAlert | a.SetSilence | a.ExpireSilence | a.TryChannel


class Alerts:
    """Handlers of the service; each may be called again with the same message at any time.

    `key` signs orders to nodes (None: there are no hooks on nodes), `secret` is the file by which links are signed.
    """

    def __init__(
        self,
        connection: Connection,
        runner: Runner[Kept],
        book: Book,
        feeds: Feeds,
        config: Config,
        clock: Clock,
        key: SigningKey | None = None,
        make: Callable[[alerting.Channel], Channel] = made.make,
        secret: Path | None = None,
    ) -> None:
        self._connection = connection
        self._runner = runner
        self._book = book
        self._feeds = feeds
        self._config = config
        self._clock = clock
        self._key = key
        self._make = make
        self._secret = secret
        self._begun: dict[str, asyncio.Task[None]] = {}
        self._observing = Observing()

    async def load(self, said: Iterable[Kept], left: Iterable[str]) -> None:
        """Take in what the stream says, and then what was saved and has not left yet: that is newer.

        Raises:
            Retryable: store away.
        """
        for state in said:
            self._book.decided(state)
        for aggregate in left:
            saved = await self._runner.peek(aggregate)
            if saved is not None:
                self._book.decided(saved)

    async def keep_looking(self) -> None:
        """For ever: read the alerts file when it changes, evaluate its rules, tell alerts what they do not know."""
        looked = self._clock() - timedelta(days=1)
        while True:
            try:
                if self._config.look():
                    await self._feeds.sample(self._config.file)
                if self._clock() - looked >= timedelta(seconds=self._config.file.interval_s):
                    looked = self._clock()
                    await self._look(looked)
            except Retryable as error:
                log.warning("rules were not evaluated", reason=str(error))
            except Exception:
                log.exception("rules were not evaluated")
            await asyncio.sleep(min(self._config.file.interval_s, FILE_S))

    async def _look(self, now: datetime) -> None:
        self._feeds.forget(now)
        await self._feeds.read_plans()
        file = self._config.file
        # Elsewhere, because the trends of a large fleet take seconds, and nobody would renew the lease meanwhile.
        answers = await asyncio.to_thread(evaluate.evaluate, file.every_rule, self._feeds.facts, now)
        for observed in list(self._observing.told(file, answers, self._book.active(), now)):
            await self._observed(observed)

    async def take(self, observed: list[Observed]) -> int:
        """Save what somebody outside said; returns how many new alerts there was no room for."""
        room = MAX_ACTIVE - sum(1 for _ in self._book.active())
        new = [m for m in observed if m.holds and self._book.alert(fingerprint(m.labels)) is None]
        full = new[max(room, 0) :]
        taken = [message for message in observed if message not in full] if full else observed
        for start in range(0, len(taken), AT_ONCE):
            await asyncio.gather(*(self._observed(message) for message in taken[start : start + AT_ONCE]))
        return len(full)

    async def _observed(self, message: Observed) -> None:
        await self._runner.handle(alert_aggregate(fingerprint(message.labels)), message)

    async def operator(self, message: COMMANDS) -> None:
        match message:
            case a.AcknowledgeAlert():
                await self._runner.handle(alert_aggregate(message.alert), message)
            case a.SetSilence() | a.ExpireSilence():
                await self._runner.handle(silence_aggregate(message.silence_id), message)
                await self._ask_again(message.silence_id)
            case a.TryChannel():
                await self._try(message)

    async def _ask_again(self, silence: str) -> None:
        """Have every alert that the silence may concern look who mutes it."""
        now = self._clock()
        for alert in list(self._book.active()):
            if silence in alert.muted_by or silence in self._book.muting(alert, now).by:
                aggregate = alert_aggregate(alert.fingerprint)
                await self._runner.handle(aggregate, deadline_message(aggregate, Deadline("look", now)))

    async def outcome(self, message: OUTCOMES) -> None:
        for alert in self._book.ordered(message.rollout):
            await self._runner.handle(alert_aggregate(alert), message)

    async def on_deadline(self, aggregate: str, deadline: Deadline) -> None:
        """Begin what is to be sent or done, and tell the alert the time, where that is due.

        What is begun goes on beside it: a channel that hangs must not keep the next step of the escalation waiting.
        """
        state = await self._runner.peek(aggregate)
        if state is None or isinstance(state, Silence):
            return
        now = self._clock()
        for delivery in escalation.open_deliveries(state):
            if machine.reached(delivery.due, now):
                self._begin(delivery.id, self._send, aggregate, state, delivery)
        for action in follow_up.due_actions(state):
            if machine.reached(action.due, now):
                self._begin(action.id, self._act, aggregate, state, action)
        due = machine.next_moment(state)
        if due is not None and machine.reached(due.due, now):
            await self._runner.expire(aggregate, due)

    def _begin(
        self,
        number: str,
        work: Callable[[str, Alert, T], Awaitable[None]],
        aggregate: str,
        state: Alert,
        what: T,
    ) -> None:
        if number in self._begun:
            return

        async def begun() -> None:
            try:
                # What cannot be recorded is not done: it would be done again and again.
                await self._runner.drain(aggregate)
                await work(aggregate, state, what)
            except Retryable as error:
                log.warning("not done yet", aggregate=aggregate, reason=str(error))
            except Exception:
                log.exception("not done", aggregate=aggregate)
            finally:
                self._begun.pop(number, None)

        self._begun[number] = asyncio.create_task(begun())

    @property
    def busy(self) -> bool:
        """Whether something is being sent or done."""
        return bool(self._begun)

    async def close(self) -> None:
        """End what was begun; it is begun again by whoever works next."""
        while tasks := list(self._begun.values()):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1)

    async def _send(self, aggregate: str, state: Alert, delivery: Delivery) -> None:
        now = self._clock()
        ack_url = self._ack_url(state, delivery.channel, now)
        notice = Notice(delivery.id, delivery.about, delivery.step, state, now, delivery.again_s, ack_url)
        outcome = await self._through(delivery.channel, notice)
        done = self._clock()
        sent = Sent(
            id=derive_id(delivery.id, "sent", done.isoformat()),
            at=done,
            delivery=delivery.id,
            ok=outcome.ok,
            for_good=outcome.for_good,
            detail=outcome.detail[:300],
        )
        await self._runner.handle(aggregate, sent)

    def _ack_url(self, state: Alert, channel: str, now: datetime) -> str:
        base = self._config.file.receiver.external_url
        if base is None or self._secret is None:
            return ""
        try:
            return ack_link.link(base, read_secret(str(self._secret)), state, channel, now)
        except (OSError, ValueError) as error:
            log.error("no secret to sign links with", reason=str(error))
            return ""

    async def acknowledge(self, link: Link) -> str:
        """Acknowledge what a link is for; returns why not, empty: it was."""
        aggregate = alert_aggregate(link.alert)
        state = await self._runner.peek(aggregate)
        if not isinstance(state, Alert) or state.episode != link.episode or not state.active:
            return "expected an alert that still fires, found one that is over"
        now = self._clock()
        message = a.AcknowledgeAlert(
            id=derive_id(link.alert, "link", str(link.episode), link.channel, now.isoformat()),
            at=now,
            by=f"the link in {link.channel}",
            alert=link.alert,
        )
        await self._runner.handle(aggregate, message)
        return ""

    async def _through(self, name: str, notice: Notice) -> Outcome:
        config = self._config.file.channels.get(name)
        if config is None:
            return Outcome(False, f"expected a channel of the alerts file, found {name}", for_good=True)
        return await self._make(config).send(notice)

    async def _act(self, aggregate: str, state: Alert, action: ActionRun) -> None:
        config = next((known for known in self._config.file.actions if known.name == action.name), None)
        if config is None:
            outcome = Outcome(False, "the alerts file has no such action any more")
        else:
            match config.do:
                case ActionKind.COMMAND:
                    outcome = await acting.run_command(config, state, action, self._clock())
                case ActionKind.WEBHOOK:
                    outcome = await acting.call_webhook(config, state, action, self._clock())
                case ActionKind.NODE_HOOK:
                    outcome = await acting.run_on_nodes(
                        self._connection, self._key, config, state, action, self._clock()
                    )
                case _:
                    return await self._order(aggregate, state, action, config)
        now = self._clock()
        number = derive_id(action.id, "ran", now.isoformat())
        ran = Ran(id=number, at=now, action=action.id, ok=outcome.ok, detail=outcome.detail)
        await self._runner.handle(aggregate, ran)
        return None

    async def _order(self, aggregate: str, state: Alert, action: ActionRun, config: ActionFile) -> None:
        if not self._feeds.ready:
            await self._feeds.read_plans()
            return
        rollouts = self._feeds.picture.concerned(state.labels, every=config.every_rollout)
        now = self._clock()
        number = derive_id(action.id, "concerned", now.isoformat())
        concerned = Concerned(id=number, at=now, action=action.id, rollouts=rollouts)
        await self._runner.handle(aggregate, concerned)

    async def _try(self, message: a.TryChannel) -> None:
        now = self._clock()
        if now - message.at > timedelta(minutes=5):
            log.info("too old to try", channel=message.channel)
            return
        notice = Notice(derive_id(message.id, "trial"), "test", 0, trial_alert(message.channel, now), now)
        outcome = await self._through(message.channel, notice)
        await self._connection.publish(_tried(message, outcome, self._clock()), source=OWNER)


def _tried(message: a.TryChannel, outcome: Outcome, now: datetime) -> a.AlertingAnswered:
    return a.AlertingAnswered(
        id=derive_id(message.id, "answer"),
        at=now,
        cause=message.id,
        about=message.channel,
        accepted=outcome.ok,
        text=outcome.detail or ("sent" if outcome.ok else "not sent"),
    )
