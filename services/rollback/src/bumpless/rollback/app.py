"""The rollback service as a process: settings, subscribers, life cycle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bumpless.common.access.entry import Entry
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.settings import BrokerSettings
from bumpless.common.shell import clock, topology
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.consume import ServiceBroker, make_broker, on_durable, on_durable_together
from bumpless.common.shell.log import configure_logging
from bumpless.common.shell.places import Places
from bumpless.common.shell.relay import Relay
from bumpless.common.shell.rollouts import Plans, RolloutKind
from bumpless.common.shell.run import Runner
from bumpless.common.shell.service import Active, run_service, start
from bumpless.common.shell.state import RedisState
from bumpless.rollback.handlers import Rollbacker

OWNER: Final = "rollback"


class RollbackSettings(BrokerSettings):
    """`deploy_key` signs node commands; `trust` lists the keys whose commands count."""

    model_config = SettingsConfigDict(env_prefix="bumpless_rollback_", extra="forbid", frozen=True)
    deploy_key: Path
    trust: Path


Operators = Annotated[
    c.Rollback | c.Pause | c.Resume | c.Abort | c.Promote | c.Approve | c.Deny, Field(discriminator="type")
]


def make_subscribers(
    entry: str | Entry, service: Rollbacker | None, connection: Connection | None
) -> ServiceBroker:
    """The broker with every subscriber; without a service it serves to describe them (AsyncAPI)."""
    broker = make_broker(entry, OWNER, connection)

    def active() -> Rollbacker:
        assert service is not None
        return service

    @on_durable(broker, topology.ROLLBACK_EVENTS, title="rollback: failures")  # type: ignore[untyped-decorator]
    async def failed(message: e.RolloutFailed) -> None:
        await active().failed(message)

    @on_durable(broker, topology.ROLLBACK_OPERATORS, title="rollback: operators")  # type: ignore[untyped-decorator]
    async def operator(message: Operators) -> None:
        await active().operator(message)

    @on_durable_together(broker, topology.ROLLBACK_RESULTS, (e.StepFinished,), title="rollback: results")
    async def result(message: e.StepFinished) -> None:
        await active().result(message)

    return broker


async def run(settings: RollbackSettings) -> None:
    """Run the rollback service until SIGTERM."""
    configure_logging(OWNER, settings.log_level)
    key = SigningKey.load(settings.deploy_key)
    trust = TrustStore.load(settings.trust)

    async def build(connection: Connection, store: RedisState, fenced: Callable[[], None]) -> Active:
        plans = Plans(JetStreamBlobs(connection.js, subjects.PLAN_BUCKET))
        kind = RolloutKind(OWNER, plans, connection)
        places = Places(connection, plans)
        relay = Relay(connection, OWNER, key=key, plans=plans.get, trust=trust, places=places)
        runner = Runner(kind, store, relay, clock.now, fenced)
        forward = RolloutKind("planner", plans, connection)
        service = Rollbacker(connection, runner, forward, plans, relay)
        broker = make_subscribers(settings.broker, service, connection)
        return Active(runner, broker, runner.expire)

    await run_service(OWNER, settings, build)


def main() -> None:
    start(OWNER, lambda: run(RollbackSettings.read()))


if __name__ == "__main__":
    main()
