"""Webhooks out: every event of the stream to every endpoint that wants it, until it is taken or its time is over.

The broker keeps the state: one durable consumer per endpoint, so nothing is lost in a crash and an endpoint that is slow or
away holds up no other. What could not be delivered goes to the dead letters with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from bumpless.common.contract import cloudevents
from bumpless.common.contract.base import derive_id
from bumpless.common.contract.cloudevents import CloudEvent
from bumpless.common.contract.events import WebhookTried
from bumpless.common.contract.subjects import Stream
from bumpless.common.errors import Retryable
from bumpless.common.model.eventing import Webhook
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.nats_client import Away
from bumpless.common.shell.settle import park
from bumpless.common.shell.topology import ensure_webhook
from bumpless.common.webhooks.post import Outcome, post_bytes
from bumpless.common.webhooks.signing import read_secret, standard_headers

log = get_logger(__name__)

OWNER = "events"
AT_ONCE = 8
"""Deliveries to one endpoint at the same time."""
ACK_MARGIN_S = 5.0
"""What settling a delivery may take beyond the endpoint's own time."""
AGAIN_S = 1.0
FETCH_S = 5.0


@dataclass(frozen=True)
class Next:
    """What follows a try: done, another one after `wait_s`, or none, because of `given_up`."""

    done: bool = False
    wait_s: float = 0.0
    given_up: str = ""


def follows(webhook: Webhook, outcome: Outcome, tries: int, stored: datetime, now: datetime) -> Next:
    """The rule for what follows the `tries`th try of an event that was stored at `stored`. Pure."""
    if outcome.ok:
        return Next(done=True)
    if outcome.for_good:
        return Next(given_up=outcome.detail)
    wait = min(webhook.first_retry_s * 2 ** min(tries - 1, 30), webhook.last_retry_s)
    if now + timedelta(seconds=wait) > stored + timedelta(seconds=webhook.deadline_s):
        return Next(
            given_up=f"not delivered within {webhook.deadline_s:g} s, in {tries} tries: {outcome.detail}"
        )
    return Next(wait_s=wait)


def request(webhook: Webhook, event: CloudEvent, now: datetime) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one try.

    Raises:
        OSError, ValueError: there is no secret to sign with.
    """
    if webhook.mode == "structured":
        body, headers = cloudevents.structured(event), {"Content-Type": cloudevents.STRUCTURED}
    else:
        body = json.dumps(event.data).encode()
        headers = {**cloudevents.headers(event.attributes), "Content-Type": cloudevents.JSON}
    if webhook.secret_file is not None:
        headers |= standard_headers(
            read_secret(webhook.secret_file), str(event.attributes.get("id", "")), now, body
        )
    return body, headers


class Endpoint:
    """Delivers to one webhook for as long as `run` is not cancelled."""

    def __init__(self, connection: Connection, webhook: Webhook, clock: Clock) -> None:
        self._connection, self._webhook, self._clock = connection, webhook, clock

    async def run(self) -> None:
        while True:
            try:
                name = await ensure_webhook(
                    self._connection,
                    self._webhook.name,
                    self._webhook.events,
                    ack_wait_s=self._webhook.timeout_s + ACK_MARGIN_S,
                )
                sub = await self._connection.js.pull_subscribe_bind(name, Stream.CDE.value)
                await self._deliver(sub)
            except (Retryable, *Away) as error:
                log.warning("webhook waits", webhook=self._webhook.name, reason=repr(error))
                await asyncio.sleep(AGAIN_S)

    async def _deliver(self, sub: JetStreamContext.PullSubscription) -> None:
        reconnects = self._connection.nc.stats["reconnects"]
        try:
            while self._connection.nc.stats["reconnects"] == reconnects:
                try:
                    messages = await sub.fetch(1, timeout=FETCH_S)
                except TimeoutError:
                    continue
                if (waiting := messages[0].metadata.num_pending) > 0:
                    with contextlib.suppress(TimeoutError):
                        messages += await sub.fetch(min(waiting, AT_ONCE - 1), timeout=0.2)
                await asyncio.gather(*(self._one(message) for message in messages))
        finally:
            await sub.unsubscribe()

    async def _one(self, message: Msg) -> None:
        """Raises: Retryable, one of Away: it is delivered again after its time."""
        try:
            event = cloudevents.read(message.headers or {}, message.data)
        except ValueError as error:  # from somebody else who may publish there
            await self._park(message, str(error))
            await message.term()
            return
        outcome = await self._try(event)
        now = self._clock()
        tries = message.metadata.num_delivered
        after = follows(self._webhook, outcome, tries, message.metadata.timestamp, now)
        if after.done:
            await message.ack()
        elif after.given_up:
            await self._park(message, after.given_up)
            await message.term()
        else:
            await message.nak(delay=after.wait_s)
        due = now + timedelta(seconds=after.wait_s) if after.wait_s else None
        await self._tell(event, outcome, tries, due, now)

    async def _try(self, event: CloudEvent) -> Outcome:
        try:
            body, headers = request(self._webhook, event, self._clock())
        except (OSError, ValueError) as error:
            return Outcome(False, f"no secret to sign with: {error}")
        return await post_bytes(
            self._webhook.url,
            body,
            headers,
            timeout_s=self._webhook.timeout_s,
            allow_private=self._webhook.allow_private,
        )

    async def _tell(
        self, event: CloudEvent, outcome: Outcome, tries: int, due: datetime | None, now: datetime
    ) -> None:
        told = event.attributes
        log.info("tried", webhook=self._webhook.name, id=told.get("id"), ok=outcome.ok, detail=outcome.detail)
        await self._connection.publish(
            WebhookTried(
                id=derive_id("webhook-tried", self._webhook.name, told.get("id", ""), str(tries)),
                at=now,
                webhook=self._webhook.name,
                event=told.get("id", ""),
                event_type=told.get("type", ""),
                ok=outcome.ok,
                detail=outcome.detail,
                tries=tries,
                due=due,
            ),
            source=OWNER,
        )

    async def _park(self, message: Msg, reason: str) -> None:
        await park(
            self._connection,
            service=OWNER,
            stream=Stream.CDE.value,
            subject=message.subject,
            sequence=message.metadata.sequence.stream,
            reason=f"webhook {self._webhook.name}: {reason}",
            headers=dict(message.headers or {}),
            body=message.data,
        )
