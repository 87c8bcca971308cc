"""What the service does with what it hears, and for as long as it runs: events told, webhooks served."""

from __future__ import annotations

import asyncio

from bumpless.common.contract import cloudevents, subjects, wire
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message
from bumpless.common.contract.cdevents import CdEvent, Published
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.eventing import Webhook
from bumpless.common.model.plan import Plan
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.clock import Clock
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.reading import readable
from bumpless.common.shell.rollouts import Plans
from bumpless.common.webhooks.signing import Proven
from bumpless.events.config import Config
from bumpless.events.deliveries import Endpoint
from bumpless.events.lifecycle import About, Told, lifecycle
from bumpless.events.receiver import encoded

log = get_logger(__name__)

LOOK_S = 1.0
"""How often the events file is looked at."""


class Events:
    """Handlers; each may be called again with the same message at any time."""

    def __init__(self, connection: Connection, plans: Plans, config: Config, clock: Clock) -> None:
        self._connection, self._plans, self._config, self._clock = connection, plans, config, clock
        self._serving: dict[Webhook, asyncio.Task[None]] = {}

    async def heard(self, message: Message) -> None:
        """Tell others what `message` means. Raises: Retryable: the broker is away."""
        for told in lifecycle(message, await self._about(message)):
            await self._tell(told)

    async def _about(self, message: Message) -> About:
        environment = self._config.file.environment
        rollout = getattr(message, "rollout", None)
        if rollout is None:
            return About(environment)
        planned = await self._planned(rollout)
        plan: Plan | None = None
        match message:
            case e.RolloutSucceeded() if planned is not None:
                plan = await self._plans.get(planned.plan_hash)
            case e.RolloutReverted() if (own := await self._planned(message.revert)) is not None:
                plan = await self._plans.get(own.plan_hash)
        return About(environment, planned, plan)

    async def _planned(self, rollout: str) -> e.RolloutPlanned | None:
        found = await self._connection.last(
            Stream.RO, subjects.subject_for(e.RolloutPlanned, rollout=rollout)
        )
        return next(iter(readable(found, e.RolloutPlanned)), None)

    async def _tell(self, told: Told) -> None:
        event = told.event.as_cloudevent()
        await self._connection.publish_bytes(
            Stream.CDE,
            subjects.delivery_event(told.word),
            encoded(told.event),
            {
                **cloudevents.headers(event.attributes),
                wire.MSG_ID_HEADER: told.event.context.id,
                "content-type": cloudevents.JSON,
            },
        )

    async def keep(self, found: Published, event: CdEvent | dict[str, object], proven: Proven) -> bool:
        """Put a trigger that came by webhook into the stream; whether this delivery was not there before."""
        return await self._connection.publish_bytes(
            Stream.REL,
            subjects.release_published(found.product),
            encoded(event),
            {wire.MSG_ID_HEADER: f"{proven.form}:{proven.delivery}", "content-type": cloudevents.JSON},
        )

    async def serve_webhooks(self) -> None:
        """Deliver to the endpoints of the events file, as it is from time to time, until cancelled."""
        try:
            while True:
                self._config.look()
                await self._serve(self._config.file.webhooks)
                await asyncio.sleep(LOOK_S)
        finally:
            await self._serve(())

    async def _serve(self, wanted: tuple[Webhook, ...]) -> None:
        gone = [self._serving.pop(webhook) for webhook in tuple(self._serving) if webhook not in wanted]
        for ended in gone:
            ended.cancel()
        if gone:
            await asyncio.wait(gone)
        for webhook in wanted:
            task = self._serving.get(webhook)
            if task is not None and task.done():
                log.error("serving a webhook failed; again", webhook=webhook.name, exc_info=task.exception())
            if task is None or task.done():
                endpoint = Endpoint(self._connection, webhook, self._clock)
                self._serving[webhook] = asyncio.create_task(endpoint.run())
