"""The planner as a process: settings, subscribers, life cycle."""

from __future__ import annotations

import asyncio
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
from bumpless.common.contract.plan_answer import PlanAnswer
from bumpless.common.errors import Retryable
from bumpless.common.settings import BrokerSettings
from bumpless.common.shell import clock, topology
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.cancelling import cancelled
from bumpless.common.shell.consume import ServiceBroker, make_broker, on_durable, on_durable_together
from bumpless.common.shell.history import History
from bumpless.common.shell.log import configure_logging, get_logger
from bumpless.common.shell.places import Places
from bumpless.common.shell.relay import Relay
from bumpless.common.shell.rollouts import Plans, RolloutKind
from bumpless.common.shell.run import Runner
from bumpless.common.shell.service import Active, run_service, start
from bumpless.common.shell.state import RedisState
from bumpless.planner import refusals
from bumpless.planner.availability import NodeOrders
from bumpless.planner.budget import Budget
from bumpless.planner.handlers import Planner
from bumpless.planner.shown import Shown
from bumpless.planner.unplannable import Unplannable

log = get_logger(__name__)

OWNER: Final = "planner"


class PlannerSettings(BrokerSettings):
    """`deploy_key` signs node commands; `trust` lists the keys whose releases may run, whose waivers count.

    `preflight` is a file with the rules of this fleet (docs/preflight.md); it is read for every plan.
    """

    model_config = SettingsConfigDict(env_prefix="bumpless_planner_", extra="forbid", frozen=True)
    deploy_key: Path
    trust: Path
    preflight: Path | None = None


Operators = Annotated[
    c.Pause
    | c.Resume
    | c.Promote
    | c.Abort
    | c.Approve
    | c.Deny
    | c.Retry
    | c.DrainNode
    | c.UndrainNode
    | e.AlertFired,
    Field(discriminator="type"),
]
Results = Annotated[e.StepStaged | e.StepFinished | e.ComponentCrashLooping, Field(discriminator="type")]
Events = Annotated[
    e.VerdictReached | e.RevertStarted | e.RolloutReverted | e.RolloutHalted, Field(discriminator="type")
]


def make_subscribers(
    entry: str | Entry, planner: Planner | None, connection: Connection | None, shown: Shown | None = None
) -> ServiceBroker:
    """The broker with every subscriber; without a planner it serves to describe them (AsyncAPI)."""
    broker = make_broker(entry, OWNER, connection)

    def active() -> Planner:
        assert planner is not None
        return planner

    @on_durable(broker, topology.PLANNER_RELEASES, title="planner: releases")  # type: ignore[untyped-decorator]
    async def announced(message: e.ReleaseAnnounced) -> None:
        await active().announced(message)

    @on_durable(broker, topology.PLANNER_OPERATORS, title="planner: operators")  # type: ignore[untyped-decorator]
    async def operator(message: Operators) -> None:
        await active().operator(message)

    @on_durable_together(
        broker,
        topology.PLANNER_RESULTS,
        (e.StepStaged, e.StepFinished, e.ComponentCrashLooping),
        title="planner: results",
    )
    async def result(message: Results) -> None:
        await active().result(message)

    @on_durable(broker, topology.PLANNER_EVENTS, title="planner: events")  # type: ignore[untyped-decorator]
    async def event(message: Events) -> None:
        await active().event(message)

    @broker.subscriber(subjects.API_PLAN, title="planner: dry runs")
    async def plan(message: e.ReleaseAnnounced) -> PlanAnswer:
        try:
            found, looked = await active().plan(message)
        except Unplannable as error:
            return PlanAnswer(reasons=error.reasons, findings=error.findings)
        except Retryable:
            raise
        except Exception as error:
            # Whoever asks gets an answer: without one they would wait, and then be told that nobody is there.
            log.exception("a dry run failed", product=message.product, digest=message.digest)
            fault = refusals.broken(message.product, repr(error))
            return PlanAnswer(reasons=(str(fault),), findings=(fault,))
        assert shown is not None
        return await shown.completed(
            PlanAnswer(plan=found, plan_hash=found.hash, reasons=looked.reasons, findings=looked.findings)
        )

    return broker


async def run(settings: PlannerSettings) -> None:
    """Run the planner until SIGTERM."""
    configure_logging(OWNER, settings.log_level)
    key = SigningKey.load(settings.deploy_key)
    trust = TrustStore.load(settings.trust)

    async def build(connection: Connection, store: RedisState, fenced: Callable[[], None]) -> Active:
        plans = Plans(JetStreamBlobs(connection.js, subjects.PLAN_BUCKET))
        kind = RolloutKind(OWNER, plans, connection)
        places = Places(connection, plans)
        relay = Relay(connection, OWNER, key=key, plans=plans.get, trust=trust, places=places)
        budget = Budget(plans.known)
        runner = Runner(kind, store, relay, clock.now, fenced, budget)
        shown = Shown(Plans(JetStreamBlobs(connection.js, subjects.SHOWN_BUCKET)), History(connection))
        orders = NodeOrders(connection, key, trust)
        planner = Planner(connection, runner, plans, trust, shown, orders, budget, settings.preflight)
        broker = make_subscribers(settings.broker, planner, connection, shown)
        await planner.load()
        watch = asyncio.create_task(planner.keep())

        async def close() -> None:
            await cancelled(watch)

        return Active(runner, broker, runner.expire, close)

    await run_service(OWNER, settings, build)


def main() -> None:
    start(OWNER, lambda: run(PlannerSettings.read()))


if __name__ == "__main__":
    main()
