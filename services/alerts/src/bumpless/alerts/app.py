"""The alerts service as a process: settings, subscribers, life cycle."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from faststream.nats import NatsBroker
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bumpless.alerts.book import Book
from bumpless.alerts.config import Config
from bumpless.alerts.feeds import Feeds
from bumpless.alerts.handlers import Alerts
from bumpless.alerts.kind import OWNER, AlertKind
from bumpless.alerts.picture import Picture
from bumpless.alerts.receiver import Receiver
from bumpless.common.access.entry import Entry
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import alerts as a
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.settings import BrokerSettings
from bumpless.common.shell import clock, topology
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.consume import make_broker, on_durable
from bumpless.common.shell.log import configure_logging
from bumpless.common.shell.relay import Relay
from bumpless.common.shell.rollouts import Plans
from bumpless.common.shell.run import Runner
from bumpless.common.shell.service import Active, run_service, start
from bumpless.common.shell.settle import park
from bumpless.common.shell.state import RedisState
from bumpless.common.shell.turn import contract


class AlertsSettings(BrokerSettings):
    """`config` is the alerts file. Alerts from outside come in on `webhook_port` (0: none), by who knows the secret.

    `deploy_key` signs orders to nodes that run a hook; without it there are none.
    """

    model_config = SettingsConfigDict(env_prefix="bumpless_alerts_", extra="forbid", frozen=True)
    config: Path | None = None
    webhook_host: str = "127.0.0.1"
    webhook_port: int = Field(default=0, ge=0, le=65_535)
    webhook_secret: Path | None = None
    deploy_key: Path | None = None


Commands = Annotated[
    a.AcknowledgeAlert | a.SetSilence | a.ExpireSilence | a.TryChannel, Field(discriminator="type")
]
Outcomes = Annotated[
    e.CommandAnswered | e.RolloutFailed | e.RolloutReverted | e.RolloutHalted, Field(discriminator="type")
]


def make_subscribers(entry: str | Entry, service: Alerts | None, connection: Connection | None) -> NatsBroker:
    """The broker with every subscriber; without a service it serves to describe them (AsyncAPI)."""
    broker = make_broker(entry, OWNER, connection)

    def active() -> Alerts:
        assert service is not None
        return service

    @on_durable(broker, topology.ALERTS_OPERATORS, title="alerts: operators")  # type: ignore[untyped-decorator]
    async def operator(message: Commands) -> None:
        await active().operator(message)

    @on_durable(broker, topology.ALERTS_OUTCOMES, title="alerts: outcomes")  # type: ignore[untyped-decorator]
    async def outcome(message: Outcomes) -> None:
        await active().outcome(message)

    return broker


async def run(settings: AlertsSettings) -> None:
    """Run the alerts service until SIGTERM."""
    configure_logging(OWNER, settings.log_level)
    config = Config(settings.config)
    key = None if settings.deploy_key is None else SigningKey.load(settings.deploy_key)

    async def build(connection: Connection, store: RedisState, fenced: Callable[[], None]) -> Active:
        config.look()
        picture = Picture()
        plans = Plans(JetStreamBlobs(connection.js, subjects.PLAN_BUCKET))
        feeds = Feeds(connection, picture, plans.get, clock.now)
        kind = AlertKind(connection)
        book = Book(picture, lambda: config.file)
        runner = Runner(kind, store, Relay(connection, OWNER), clock.now, fenced, book)
        service = Alerts(
            connection,
            runner,
            book,
            feeds,
            config,
            clock.now,
            key,
            secret=settings.webhook_secret,
        )
        await service.load(await kind.everything(), await store.unpublished())
        await feeds.start(config.file)
        receiver = await _open(settings, config, service, connection)
        looking = asyncio.create_task(service.keep_looking())

        async def close() -> None:
            while not looking.done():  # a cancellation can get lost where a wait ends at the same moment
                looking.cancel()
                await asyncio.wait({looking}, timeout=1)
            if receiver is not None:
                await receiver.stop()
            await service.close()
            await feeds.stop()

        broker = make_subscribers(settings.broker, service, connection)
        return Active(runner, broker, service.on_deadline, close)

    await run_service(OWNER, settings, build)


async def _open(
    settings: AlertsSettings, config: Config, service: Alerts, connection: Connection
) -> Receiver | None:
    if settings.webhook_port == 0:
        return None
    if settings.webhook_secret is None:
        raise OSError(
            "expected BUMPLESS_ALERTS_WEBHOOK_SECRET, a file with a secret, beside the port; found none"
        )

    async def keep(body: bytes, reason: str) -> None:
        await park(
            connection,
            service=OWNER,
            stream="webhook",
            subject=f"http:{settings.webhook_port}:{hashlib.sha256(body).hexdigest()}",
            sequence=0,
            reason=reason[:1000],
            headers={},
            body=body,
        )

    receiver = Receiver(
        settings.webhook_secret, lambda: config.file, service.take, keep, service.acknowledge, clock.now
    )
    sockets = contract().sockets.get("webhook", ())
    await receiver.start(settings.webhook_host, settings.webhook_port, sockets)
    return receiver


def main() -> None:
    start(OWNER, lambda: run(AlertsSettings.read()))


if __name__ == "__main__":
    main()
