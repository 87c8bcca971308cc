"""The executor process: the real ports, the subscriptions, the signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from bumpless.common.artifacts.signing import TrustStore
from bumpless.common.artifacts.stores.open_store import open_store
from bumpless.common.artifacts.stores.store import BlobReader
from bumpless.common.artifacts.stores.throttle import ThrottledBlobs, TokenBucket
from bumpless.common.contract import wire
from bumpless.common.contract.commands import InjectFault, RequestReport
from bumpless.common.contract.subjects import (
    commands_live,
    subject_for,
)
from bumpless.common.errors import ReleaseError, Retryable
from bumpless.common.shell import clock, tracing
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.log import configure_logging, get_logger
from bumpless.common.shell.nats_client import NODE_PING_S
from bumpless.common.shell.ops import serve_ops
from bumpless.common.shell.service_manager import ServiceManager
from bumpless.executor import rivals, telemetry
from bumpless.executor.drivers import kin
from bumpless.executor.drivers.alert_hooks import AlertHooks
from bumpless.executor.drivers.artifacts import StoredArtifacts
from bumpless.executor.drivers.broker import BrokerChecks, BrokerReports
from bumpless.executor.drivers.choose import switch_of_node
from bumpless.executor.drivers.kept import KeptSockets
from bumpless.executor.executor import Executor, NodeConfig
from bumpless.executor.journal import Journal
from bumpless.executor.launch import Launch
from bumpless.executor.layout import free_bytes
from bumpless.executor.no_broker import LateBlobs, LateConnection
from bumpless.executor.ports import ProcessSwitch
from bumpless.executor.settings import ExecutorSettings
from bumpless.executor.standing import Standing

log = get_logger(__name__)

ENDING = (signal.SIGTERM, signal.SIGINT)
JOURNALS = "components/*/journal.json"
RIVAL_S = 5.0
"""More than two heartbeats, for another executor of the same node to be heard."""


@dataclass(frozen=True)
class Origin:
    """What this process has from whoever started it: its version, and sockets that were kept for it."""

    launch: Launch
    manager: ServiceManager
    kept: KeptSockets

    @classmethod
    def of_this_process(cls, settings: ExecutorSettings) -> Self:
        """Once per process: what was left in the environment is taken out of it."""
        manager = ServiceManager.of_this_process()
        return cls(Launch.of_this_process(settings.data_dir), manager, KeptSockets.of_this_process(manager))


async def run_executor(
    settings: ExecutorSettings, stop: asyncio.Event, origin: Origin
) -> dict[str, str] | None:
    """Run one node until `stop`. The services it runs go on, unless the settings say otherwise.

    Returns None; or, where another version of the executor shall take the place of this process, the environment
    with which it is to leave (`Launch.leave`).

    What ran before is brought up first. The broker is joined when it is there.

    Raises:
        Refused: the data directory, a journal, the trust store or the blob store's URL cannot be used, or another
            executor speaks for the node.
    """
    kin.adopt_orphans()
    trust = TrustStore.load(settings.trust)
    caught_up = asyncio.Event()
    ours = rivals.identity(settings.data_dir)
    leaving = origin.launch.leaving

    async def reconnected() -> None:
        log.info("broker is back; catching up")
        executor.report(results=True)  # a broker that was killed may have lost what it acknowledged last
        caught_up.set()

    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(origin.manager.watched())
        connection = LateConnection(lambda: _connect(settings, ours, reconnected))
        held.push_async_callback(connection.close)
        store = _store(connection, settings)
        held.push_async_callback(store.close)
        executor, switch = _put_together(settings, ours, trust, connection, store, origin)
        held.callback(switch.close)
        held.push_async_callback(
            lambda: executor.close(stop_services=settings.stop_services_on_exit and not leaving.is_set())
        )

        async def measure() -> None:
            telemetry.CONNECTED.set(connection.is_connected)
            telemetry.FREE_BYTES.set(free_bytes(settings.data_dir))
            telemetry.UNREPORTED.set(executor.unreported)

        ops = await serve_ops(settings.ops_port, lambda: connection.is_connected, measure, settings.ops_host)
        if ops is not None:
            held.push_async_callback(ops.cleanup)
        await executor.start()
        origin.manager.ready(f"node {settings.node}")
        log.info("executor runs", node=settings.node, data=str(settings.data_dir))
        hooks = AlertHooks(settings.node, settings.alert_hooks, trust, settings.data_dir / "log", clock.now)
        work = (_attend(connection, executor, settings, caught_up, hooks), _confirm(executor, origin.launch))
        await _until((stop, leaving), executor.fault, work)
        return origin.kept.hand_over() if leaving.is_set() else None


async def _connect(
    settings: ExecutorSettings, ours: str, reconnected: Callable[[], Awaitable[None]]
) -> Connection:
    opened = await Connection.connect(
        settings.broker,
        name=f"executor-{settings.node}",
        on_reconnect=reconnected,
        connect_timeout_s=10,
        ping_s=NODE_PING_S,
    )
    try:
        await rivals.refuse_rivals(opened, settings.node, ours, 2 * settings.heartbeat_s + RIVAL_S)
    except BaseException:
        await opened.close()
        raise
    await rivals.watch(opened, settings.node, ours)
    return opened


def _put_together(
    settings: ExecutorSettings,
    ours: str,
    trust: TrustStore,
    connection: LateConnection,
    store: BlobReader,
    origin: Origin,
) -> tuple[Executor, ProcessSwitch]:
    """The executor over its real ports, and the one of them that is to be closed after it."""
    config = NodeConfig(
        node=settings.node,
        address=settings.address,
        data_dir=settings.data_dir,
        labels=settings.labels,
        drills=settings.drills,
        heartbeat_s=settings.heartbeat_s,
        identity=ours,
        executor=rivals.describe(settings.data_dir),
    )
    switch = switch_of_node(
        settings.node,
        config.run_dir,
        config.components_dir,
        origin.kept,
        origin.launch,
        settings.unit_dir,
    )
    source = StoredArtifacts(
        store,
        trust,
        downloads=settings.data_dir / "downloads",
        checks=config.checks_dir,
        start_delay=lambda: random.uniform(0, settings.fetch_jitter_s),
        require=settings.patcher_require,
    )
    reports = BrokerReports(connection, settings.node)
    return Executor(config, trust, switch, source, reports), switch


async def _until(
    events: Iterable[asyncio.Event], fault: asyncio.Future[None], work: Iterable[Coroutine[Any, Any, None]]
) -> None:
    """Do `work` until one of the events. Raises what `fault` or the work raises."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    working = [asyncio.ensure_future(each) for each in work]
    pending: set[asyncio.Future[Any]] = {fault, *working, *waiting}
    try:
        while not any(event.done() for event in waiting):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in (*waiting, *working):
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def _confirm(executor: Executor, launch: Launch) -> None:
    """Everything was taken over, and the broker has heard of it: this version works."""
    await executor.reported()
    await launch.confirm()


def _store(connection: LateConnection, settings: ExecutorSettings) -> BlobReader:
    def open_in(joined: Connection | None) -> BlobReader:
        return open_store(settings.store_url, js=joined.js if joined else None, ca_file=settings.store_ca)

    in_broker = settings.store_url.startswith("jetstream:")
    store = LateBlobs(connection, open_in) if in_broker else open_in(None)
    if not settings.fetch_bytes_per_s:
        return store
    return ThrottledBlobs(store, TokenBucket(settings.fetch_bytes_per_s, asyncio.get_running_loop().time))


async def _attend(
    late: LateConnection,
    executor: Executor,
    settings: ExecutorSettings,
    caught_up: asyncio.Event,
    hooks: AlertHooks,
) -> None:
    """Hear and answer what the broker brings, for ever, from the moment there is one."""
    connection = await late.join()
    standing = Standing(connection, settings.node, lambda: _components(settings.data_dir))
    checks = BrokerChecks(connection, settings.node, executor.check)
    try:
        await _subscribe(connection, executor, settings)
        await checks.start()
        await hooks.start(connection)
        await _catch_up(standing, executor, settings, caught_up)
    finally:
        await hooks.close()
        await checks.close()


def _components(data_dir: Path) -> list[str]:
    return [journal.parent.name for journal in data_dir.glob(JOURNALS)]


async def _subscribe(connection: Connection, executor: Executor, settings: ExecutorSettings) -> None:
    async def drill(received: Received) -> bytes | None:
        with contextlib.suppress(wire.Unreadable):
            message = wire.decode(received.data)
            if isinstance(message, InjectFault):
                return executor.inject(message).model_dump_json().encode()
        return None

    async def asked(received: Received) -> None:
        executor.report(results=True)

    await connection.subscribe(commands_live(settings.node), executor.take)
    await connection.subscribe(subject_for(RequestReport), asked)
    await connection.subscribe(subject_for(InjectFault, node=settings.node), drill)


async def _catch_up(
    standing: Standing, executor: Executor, settings: ExecutorSettings, now: asyncio.Event
) -> None:
    """Read the standing commands at the start, after every reconnect, and now and then: a live one may be missed.

    Jittered, so that a fleet that lost its broker together does not come back together.
    """
    while True:
        now.clear()
        wait = settings.catch_up_s * random.uniform(1, 2)
        try:
            for received in await standing.read():
                await executor.take(received)
            executor.report()
        except Retryable as error:
            log.warning("standing commands not read", reason=str(error))
            wait = error.after_s
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(now.wait(), wait)


async def _until_signalled(
    settings: ExecutorSettings, stop: asyncio.Event, origin: Origin
) -> dict[str, str] | None:
    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, stop.set)
    # A version that left may have held them back for this one.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    return await run_executor(settings, stop, origin)


def _leave(origin: Origin, environment: Mapping[str, str], stopped: bool) -> NoReturn:
    """For another version. It also gets the order to stop that came meanwhile, or comes before it can take orders."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    if stopped:
        os.kill(os.getpid(), signal.SIGTERM)
    origin.launch.leave(environment)


def check_start(settings: ExecutorSettings) -> None:
    """Whether this code could run the node: it reads what another version wrote. Changes nothing.

    Raises:
        Refused: the trust store or a journal cannot be read.
    """
    TrustStore.load(settings.trust)
    for journal in sorted(settings.data_dir.glob(JOURNALS)):
        Journal(journal).load()


def main() -> None:
    """`python -m bumpless.executor.app [--check]`, configured by `BUMPLESS_EXECUTOR_*`."""
    gc.freeze()  # as `shell.service.start`
    try:
        settings = ExecutorSettings.read()
        if "--check" in sys.argv[1:]:
            check_start(settings)
            return
        configure_logging("executor", settings.log_level)
        tracing.configure_tracing("executor", f"executor/{settings.node}")
        origin, stop = Origin.of_this_process(settings), asyncio.Event()
        environment = asyncio.run(_until_signalled(settings, stop, origin))
        tracing.close_tracing()
    except ReleaseError as error:
        sys.exit(f"executor: {error}")
    if environment is not None:
        log.info("leaving for another version of the executor")
        _leave(origin, environment, stop.is_set())


if __name__ == "__main__":
    main()
