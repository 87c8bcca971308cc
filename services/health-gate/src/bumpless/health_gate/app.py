"""The health gate as a process: settings, subscribers, life cycle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

from faststream.nats import NatsBroker
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bumpless.common.access.entry import Entry
from bumpless.common.contract import commands as c
from bumpless.common.contract import subjects
from bumpless.common.contract.gate_dry_run import GateDryRun, GateDryRunAnswer
from bumpless.common.settings import BrokerSettings
from bumpless.common.shell import clock, topology
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.consume import make_broker, on_durable
from bumpless.common.shell.log import configure_logging
from bumpless.common.shell.relay import Relay
from bumpless.common.shell.run import Runner
from bumpless.common.shell.service import Active, run_service, start
from bumpless.common.shell.state import RedisState
from bumpless.health_gate.handlers import GateKind, HealthGate
from bumpless.health_gate.offline.logged import OWNER
from bumpless.health_gate.sources.agent import AgentSource
from bumpless.health_gate.sources.alerted import AlertedPeers
from bumpless.health_gate.sources.prometheus.client import PrometheusAccess
from bumpless.health_gate.sources.registry import Sources


class HealthGateSettings(BrokerSettings):
    """`keep_s` is how long samples are kept: at least the longest history_s + timeout_s of any gate.

    The default has room for the half hour and the quarter of an hour of a gate that says nothing else, and for a
    pause as long as that. `prometheus` are the Prometheus servers that gates may name, as JSON: name to url and
    credentials.
    """

    model_config = SettingsConfigDict(env_prefix="bumpless_health_gate_", extra="forbid", frozen=True)
    keep_s: float = Field(default=3600, gt=0)
    prometheus: dict[str, PrometheusAccess] = {}


Commands = Annotated[c.OpenGate | c.CloseGate, Field(discriminator="type")]


def make_subscribers(
    entry: str | Entry, gate: HealthGate | None, connection: Connection | None
) -> NatsBroker:
    """The broker with every subscriber; without a service it serves to describe them (AsyncAPI)."""
    broker = make_broker(entry, OWNER, connection)

    @on_durable(broker, topology.GATE_COMMANDS, title="health-gate: gates")  # type: ignore[untyped-decorator]
    async def command(message: Commands) -> None:
        assert gate is not None
        await gate.command(message)

    @broker.subscriber(subjects.API_GATE_DRY_RUN, title="health-gate: dry runs")
    async def dry_run(message: GateDryRun) -> GateDryRunAnswer:
        assert gate is not None
        return await gate.dry_run(message)

    return broker


async def run(settings: HealthGateSettings) -> None:
    """Run the health gate until SIGTERM."""
    configure_logging(OWNER, settings.log_level)
    keep = timedelta(seconds=settings.keep_s)

    async def build(connection: Connection, store: RedisState, fenced: Callable[[], None]) -> Active:
        nodes = AgentSource(connection, clock.now, keep)
        await nodes.start(clock.now() - keep)
        sources = Sources(connection, nodes, settings.prometheus, clock.now, AlertedPeers(connection))
        kind = GateKind(connection)
        runner = Runner(kind, store, Relay(connection, OWNER), clock.now, fenced)
        gate = HealthGate(runner, sources, clock.now)
        broker = make_subscribers(settings.broker, gate, connection)
        return Active(runner, broker, gate.on_deadline, sources.stop)

    await run_service(OWNER, settings, build)


def main() -> None:
    start(OWNER, lambda: run(HealthGateSettings.read()))


if __name__ == "__main__":
    main()
