"""The life of a control-plane service: wait for the lease, recover, work, stand back when the lease is lost.

Any number of processes of one service may run; one works, the others take over within the lease's time. One that was
started again where it was killed takes over at once. Losing the lease, the store or the broker never ends the process:
it stands back and tries again. Paused by an executor, it gives the lease back.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from faststream.nats import NatsBroker

from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.contract.commands import RequestReport
from bumpless.common.engine.decision import Deadline
from bumpless.common.errors import Refused, ReleaseError, Retryable
from bumpless.common.settings import BrokerSettings
from bumpless.common.shell import clock, deployment, tracing
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.cancelling import cancelled
from bumpless.common.shell.commanded import ANSWERING, answer_nodes
from bumpless.common.shell.consume import start_subscribers, stop_subscribers
from bumpless.common.shell.deadlines import watch_deadlines
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.measures import Measures
from bumpless.common.shell.nats_client import Away
from bumpless.common.shell.ops import serve_ops
from bumpless.common.shell.predecessor import Predecessor
from bumpless.common.shell.run import Runner
from bumpless.common.shell.service_manager import ServiceManager
from bumpless.common.shell.state import RedisState, StateStore
from bumpless.common.shell.topology import ensure_topology
from bumpless.common.shell.turn import Turn
from bumpless.common.telemetry import LEADER

log = get_logger(__name__)

LEASE_S = 5.0
"""How long after a crash another process takes over; renewed three times in that time."""
STAND_BY_S = 0.5
"""How often a process that does not work asks for the lease."""
STOP_S, STAND_BACK_S = 12.0, 3.0
"""For what is being handled to come to its end: when the process ends, and when it may not write any more."""


class Lease:
    """The right to work, as it was taken or renewed last."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._renewed = clock.now()

    @property
    def ran_out(self) -> bool:
        return (clock.now() - self._renewed).total_seconds() > LEASE_S

    async def renew(self) -> bool:
        """Whether it is ours, and has been since it was taken; raises Retryable: the store is away."""
        asked = clock.now()
        ours = await self._store.renew(LEASE_S)
        if ours:
            self._renewed = asked
        return ours

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """It is renewed meanwhile: to read the log back may take longer than it lasts, and would never be done."""
        renewing = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            await cancelled(renewing)

    async def _renew(self) -> None:
        ours = True
        while ours:
            await asyncio.sleep(LEASE_S / 5)
            with contextlib.suppress(Retryable):
                ours = await self.renew()


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Active:
    """A service while it holds the lease: its runner, a broker with every subscriber, what to do when a deadline
    is reached, and what to end when it stands back."""

    runner: Runner[Any]
    broker: NatsBroker
    on_deadline: Callable[[str, Deadline], Awaitable[None]]
    close: Callable[[], Awaitable[None]] = _nothing


Build = Callable[[Connection, RedisState, Callable[[], None]], Awaitable[Active]]
"""Makes the service from its connection, its store, and what to call when a write was fenced."""


async def run_service(owner: str, settings: BrokerSettings, build: Build) -> None:
    """Run until SIGTERM or SIGINT."""
    tracing.configure_tracing(owner, owner)
    async with Turn.of_this_process() as turn:
        await _turns(owner, settings, build, turn)


async def _turns(owner: str, settings: BrokerSettings, build: Build, turn: Turn) -> None:
    store_answers = False
    reconnected = asyncio.Event()

    async def back() -> None:
        reconnected.set()

    connection = await Connection.connect(settings.broker, name=owner, on_reconnect=back)
    last = Predecessor.of_this_process(owner)
    store = RedisState(settings.store(owner), owner, last.token())
    measures = turn.measure = Measures(owner, connection, store, clock.now)
    ops = await serve_ops(
        settings.ops_port,
        lambda: store_answers and connection.nc.is_connected,
        measures,
        settings.ops_host,
    )

    async def measured(connection: Connection, store: RedisState, fenced: Callable[[], None]) -> Active:
        active = await build(connection, store, fenced)
        measures.begin(active.runner)
        return active

    async def declare() -> None:
        await ensure_topology(connection, owner, settings.replicas)

    keeper = asyncio.create_task(_keep_topology(declare, reconnected, turn.stop))
    try:
        await _until(turn.stop, declare)
        if owner in ANSWERING:
            await answer_nodes(connection)
        await _until(turn.stop, lambda: _admit(store, settings))
        while await turn.mine():
            try:
                with turn.working():
                    leads = await store.acquire(LEASE_S, last.ended())
                    store_answers = True
                    if leads:
                        term, store = store, store.next_term(last.token())
                        try:
                            await _term(owner, connection, term, measured, turn)
                        finally:
                            measures.rest()
                turn.ready("stands by")
            except Retryable as error:
                store_answers = False
                log.warning("standing back", reason=str(error))
                turn.status(f"stands back: {error}")
            await _wait(turn.over, STAND_BY_S)
    finally:
        keeper.cancel()
        await store.close()
        await connection.close()
        if ops is not None:
            await ops.cleanup()
        last.close()
        await asyncio.to_thread(tracing.close_tracing)


def start(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """The whole of a process: what is wrong with its settings, keys or broker is said in one line, exit status 1.

    A service manager hears that it lives; `run` says when it is ready.
    """

    async def watched() -> None:
        async with ServiceManager.of_this_process().watched():
            await run()

    gc.freeze()  # what was imported stays, and would be walked through again at the end: a third of a start's time
    try:
        asyncio.run(watched())
    except (ReleaseError, ArtifactError, OSError) as error:
        sys.exit(f"{name}: {error}")


async def _term(owner: str, connection: Connection, store: RedisState, build: Build, turn: Turn) -> None:
    """Work until the lease is lost, or the turn is over. What is then still under way cannot write any more: the next
    term has a token of its own."""
    try:
        if not turn.over.is_set():
            await _work(owner, connection, store, build, turn)
    finally:
        with contextlib.suppress(Retryable):
            await store.release()


async def _work(owner: str, connection: Connection, store: RedisState, build: Build, turn: Turn) -> None:
    lost, lease = asyncio.Event(), Lease(store)
    async with lease.kept():
        active = await build(connection, store, lost.set)
    LEADER.labels(owner).inc()
    log.info("active")
    timers: asyncio.Task[None] | None = None
    try:
        async with lease.kept():
            if not await store.known():
                await _recover(owner, connection, active)
                await store.mark()
            await active.runner.publish_left()
            await start_subscribers(active.broker)
        turn.ready("works")
        timers = asyncio.create_task(watch_deadlines(store, active.on_deadline, clock.now))
        await _hold(active, lease, turn.over, lost)
    finally:
        if timers is not None:
            await cancelled(timers)
        await stop_subscribers(active.broker, STOP_S if turn.over.is_set() else STAND_BACK_S)
        await active.close()
        log.info("standing by")


async def _recover(owner: str, connection: Connection, active: Active) -> None:
    """Fill the store from the log, and have the nodes say again what they may have said into the void."""
    await active.runner.recover()
    await connection.publish(RequestReport(id=clock.fresh_id(), at=clock.now()), source=owner)


async def _hold(active: Active, lease: Lease, over: asyncio.Event, lost: asyncio.Event) -> None:
    """Return once the turn is over or the lease is lost: whoever takes it anew knows nothing, and reads all that happened
    meanwhile."""
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_either(over, lost), LEASE_S / 5)
        if lease.ran_out:
            log.warning("the lease ran out; another process may have held it meanwhile")
            return
        try:
            if not await lease.renew():
                log.warning("the lease is lost: it ran out, or the store was emptied")
                return
            lost.clear()
            async with lease.kept():
                await active.runner.publish_again()
        except Retryable as error:
            if lease.ran_out:
                log.warning("the lease ran out", reason=str(error))
                return


async def _either(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _keep_topology(
    declare: Callable[[], Awaitable[None]], reconnected: asyncio.Event, stop: asyncio.Event
) -> None:
    """A broker that was started again no longer has the streams that it held in memory, or has others than declared."""
    while True:
        await reconnected.wait()
        reconnected.clear()
        try:
            await _until(stop, declare)
        except Refused as error:  # who is at work goes on with what is there; who starts would not
            log.error("streams are not as declared", reason=str(error))


async def _admit(store: RedisState, settings: BrokerSettings) -> None:
    """Raises: Refused: the store may lose what it said it has. Retryable: it is away."""
    facts = await store.facts()
    for weak in deployment.admit(facts, settings.accept):
        log.warning("weak, and asked for", weakness=weak.weakness, found=weak.found)
    if hidden := deployment.unknown(facts):
        log.warning("Redis does not say how it keeps what it is told", settings=hidden)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _until(stop: asyncio.Event, attempt: Callable[[], Awaitable[None]]) -> None:
    while not stop.is_set():
        try:
            await attempt()
            return
        except (Retryable, *Away) as error:
            log.warning("not ready yet", reason=str(error))
            await _wait(stop, 0.5)
