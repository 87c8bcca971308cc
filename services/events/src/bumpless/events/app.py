"""The events service as a process: settings, subscribers, life cycle.

It keeps no state of its own: what it has told and delivered stands in the broker. Any number of processes may run.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Final

from faststream.message import StreamMessage
from faststream.nats import NatsBroker
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bumpless.common.access.entry import Entry
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.artifacts.stores.open_store import open_store
from bumpless.common.contract import alerts as a
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.errors import Retryable
from bumpless.common.settings import DeclaringSettings
from bumpless.common.shell import clock, topology
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.consume import make_broker, on_durable, start_subscribers, stop_subscribers
from bumpless.common.shell.log import configure_logging, get_logger
from bumpless.common.shell.nats_client import Away
from bumpless.common.shell.ops import serve_ops
from bumpless.common.shell.rollouts import Plans
from bumpless.common.shell.service import STOP_S, start
from bumpless.common.shell.turn import Turn, contract
from bumpless.events.config import Config
from bumpless.events.handlers import Events
from bumpless.events.receiver import Receiver
from bumpless.events.triggers import Arrived, Triggers

log = get_logger(__name__)

OWNER: Final = "events"
AGAIN_S = 0.5


class EventsSettings(DeclaringSettings):
    """`config` is the events file. Webhooks come in on `webhook_port` (0: none), by who knows the secret.

    Releases that are named by a digest are looked for in `store_url`.
    """

    model_config = SettingsConfigDict(env_prefix="bumpless_events_", extra="forbid", frozen=True)
    ops_port: int = 0
    log_level: str = "info"
    config: Path | None = None
    webhook_host: str = "127.0.0.1"
    webhook_port: int = Field(default=0, ge=0, le=65_535)
    webhook_secret: Path | None = None
    store_url: str = f"jetstream:{subjects.ARTIFACT_BUCKET}"
    store_ca: Path | None = None


Lifecycle = Annotated[
    e.ReleaseRefused
    | e.RolloutPlanned
    | e.RolloutSucceeded
    | e.RolloutFailed
    | e.RolloutCancelled
    | e.RolloutHalted
    | e.RevertStarted
    | e.RolloutReverted,
    Field(discriminator="type"),
]


async def _as_it_is(message: StreamMessage[Any]) -> Arrived:
    return Arrived(
        subject=message.raw_message.subject,
        headers=dict(message.raw_message.headers or {}),
        body=message.body,
    )


def make_subscribers(
    entry: str | Entry,
    service: Events | None,
    connection: Connection | None,
    triggers: Triggers | None = None,
) -> NatsBroker:
    """The broker with every subscriber; without a service it serves to describe them (AsyncAPI)."""
    broker = make_broker(entry, OWNER, connection)

    def active() -> Events:
        assert service is not None
        return service

    @on_durable(broker, topology.EVENTS_TRIGGERS, title="events: triggers", decoder=_as_it_is)  # type: ignore[untyped-decorator]
    async def trigger(message: Arrived) -> None:
        assert triggers is not None
        await triggers.take(message)

    @on_durable(broker, topology.EVENTS_ROLLOUTS, title="events: rollouts")  # type: ignore[untyped-decorator]
    async def rollout(message: Lifecycle) -> None:
        await active().heard(message)

    @on_durable(broker, topology.EVENTS_ALERTS, title="events: alerts")  # type: ignore[untyped-decorator]
    async def alert(message: a.AlertChanged) -> None:
        await active().heard(message)

    return broker


async def run(settings: EventsSettings) -> None:
    """Run the events service until SIGTERM."""
    configure_logging(OWNER, settings.log_level)
    config = Config(settings.config)
    async with Turn.of_this_process() as turn:
        connection = await Connection.connect(settings.broker, name=OWNER)
        ops = await serve_ops(settings.ops_port, lambda: connection.nc.is_connected, host=settings.ops_host)
        try:
            while await turn.mine():
                with turn.working():
                    await _work(settings, config, connection, turn)
        finally:
            await connection.close()
            if ops is not None:
                await ops.cleanup()


async def _work(settings: EventsSettings, config: Config, connection: Connection, turn: Turn) -> None:
    """Until the turn is over."""
    store = open_store(settings.store_url, js=connection.js, ca_file=settings.store_ca)
    plans = Plans(JetStreamBlobs(connection.js, subjects.PLAN_BUCKET))
    service = Events(connection, plans, config, clock.now)
    triggers = Triggers(connection, store, clock.now)
    receiver = _receiver(settings, config, service)
    broker = make_subscribers(settings.broker, service, connection, triggers)
    try:
        await _subscribed(connection, broker, settings.replicas, turn.over)
        if receiver is not None:
            sockets = contract().sockets.get("webhook", ())
            await receiver.start(settings.webhook_host, settings.webhook_port, sockets)
        webhooks = asyncio.create_task(service.serve_webhooks())
        log.info("active")
        turn.ready("works")
        await turn.over.wait()
        webhooks.cancel()
        await asyncio.wait({webhooks})
    finally:
        if receiver is not None:
            await receiver.stop()
        await stop_subscribers(broker, STOP_S)
        await store.close()


async def _subscribed(connection: Connection, broker: NatsBroker, replicas: int, stop: asyncio.Event) -> None:
    """Streams and consumers are there, and listened to; waits for the broker as long as it takes."""
    while not stop.is_set():
        try:
            await topology.ensure_topology(connection, OWNER, replicas)
            await start_subscribers(broker)
            return
        except (Retryable, *Away) as error:
            log.warning("not ready yet", reason=str(error))
            await stop_subscribers(broker, AGAIN_S)
            await asyncio.sleep(AGAIN_S)


def _receiver(settings: EventsSettings, config: Config, service: Events) -> Receiver | None:
    if settings.webhook_port == 0:
        return None
    if settings.webhook_secret is None:
        raise OSError(
            "expected BUMPLESS_EVENTS_WEBHOOK_SECRET, a file with a secret, beside the port; found none"
        )
    return Receiver(settings.webhook_secret, lambda: config.file, service.keep, clock.now)


def main() -> None:
    start(OWNER, lambda: run(EventsSettings.read()))


if __name__ == "__main__":
    main()
