"""The executor process: the real ports, the subscriptions, the signals."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from typing import Any

from bumpless.common.artifacts.signing import TrustStore
from bumpless.common.artifacts.stores.open_store import open_store
from bumpless.common.artifacts.stores.store import BlobReader
from bumpless.common.artifacts.stores.throttle import ThrottledBlobs, TokenBucket
from bumpless.common.contract import wire
from bumpless.common.contract.commands import InjectFault, RequestReport
from bumpless.common.contract.subjects import (
    Stream,
    commands_last,
    commands_live,
    subject_for,
)
from bumpless.common.errors import ReleaseError, Retryable
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.log import configure_logging, get_logger
from bumpless.common.shell.ops import serve_ops
from bumpless.executor import rivals
from bumpless.executor.drivers import kin
from bumpless.executor.drivers.artifacts import StoredArtifacts
from bumpless.executor.drivers.broker import BrokerChecks, BrokerReports
from bumpless.executor.drivers.choose import switch_of_node
from bumpless.executor.executor import Executor, NodeConfig
from bumpless.executor.no_broker import LateBlobs, LateConnection
from bumpless.executor.settings import ExecutorSettings

log = get_logger(__name__)

RIVAL_S = 5.0
"""More than two heartbeats, for another executor of the same node to be heard."""


async def run_executor(settings: ExecutorSettings, stop: asyncio.Event | None = None) -> None:
    """Run one node until SIGTERM, SIGINT or `stop`. The services it runs go on, unless the settings say otherwise.

    What ran before is brought up first. The broker is joined when it is there.

    Raises:
        Refused: the data directory, a journal, the trust store or the blob store's URL cannot be used, or another
            executor speaks for the node.
    """
    stop = stop or _on_signals()
    kin.adopt_orphans()
    trust = TrustStore.load(settings.trust)
    caught_up = asyncio.Event()

    async def reconnected() -> None:
        log.info("broker is back; catching up")
        executor.report(results=True)  # a broker that was killed may have lost what it acknowledged last
        caught_up.set()

    ours = rivals.identity(settings.data_dir)

    async def connect() -> Connection:
        opened = await Connection.connect(
            settings.nats_url,
            name=f"executor-{settings.node}",
            on_reconnect=reconnected,
            connect_timeout_s=10,
        )
        try:
            await rivals.refuse_rivals(opened, settings.node, ours, 2 * settings.heartbeat_s + RIVAL_S)
        except BaseException:
            await opened.close()
            raise
        await rivals.watch(opened, settings.node, ours)
        return opened

    connection = LateConnection(connect)
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
    switch = switch_of_node(settings.node, config.run_dir, config.components_dir, settings.unit_dir)
    store = _store(connection, settings)
    source = StoredArtifacts(
        store,
        trust,
        downloads=settings.data_dir / "downloads",
        checks=config.checks_dir,
        start_delay=lambda: random.uniform(0, settings.fetch_jitter_s),
        require=settings.patcher_require,
    )
    executor = Executor(config, trust, switch, source, BrokerReports(connection, settings.node))
    ops = await serve_ops(settings.ops_port, lambda: connection.is_connected)
    loops: list[asyncio.Task[None]] = []
    try:
        await executor.start()
        loops.append(asyncio.create_task(_attend(connection, executor, settings, caught_up)))
        log.info("executor runs", node=settings.node, data=str(settings.data_dir))
        stopping = asyncio.create_task(stop.wait())
        watched: list[asyncio.Future[Any]] = [stopping, executor.fault, *loops]
        done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await executor.close(stop_services=settings.stop_services_on_exit)
        switch.close()
        await store.close()
        await connection.close()
        if ops is not None:
            await ops.cleanup()


def _store(connection: LateConnection, settings: ExecutorSettings) -> BlobReader:
    def open_in(joined: Connection | None) -> BlobReader:
        return open_store(settings.store_url, js=joined.js if joined else None, ca_file=settings.store_ca)

    in_broker = settings.store_url.startswith("jetstream:")
    store = LateBlobs(connection, open_in) if in_broker else open_in(None)
    if not settings.fetch_bytes_per_s:
        return store
    return ThrottledBlobs(store, TokenBucket(settings.fetch_bytes_per_s, asyncio.get_running_loop().time))


async def _attend(
    late: LateConnection, executor: Executor, settings: ExecutorSettings, caught_up: asyncio.Event
) -> None:
    """Hear and answer what the broker brings, for ever, from the moment there is one."""
    connection = await late.join()
    checks = BrokerChecks(connection, settings.node, executor.check)
    try:
        await _subscribe(connection, executor, settings)
        await checks.start()
        await _catch_up(connection, executor, settings, caught_up)
    finally:
        await checks.close()


async def _subscribe(connection: Connection, executor: Executor, settings: ExecutorSettings) -> None:
    async def drill(received: Received) -> None:
        with contextlib.suppress(wire.Unreadable):
            message = wire.decode(received.data)
            if isinstance(message, InjectFault):
                executor.inject(message)

    async def asked(received: Received) -> None:
        executor.report(results=True)

    await connection.subscribe(commands_live(settings.node), executor.take)
    await connection.subscribe(subject_for(RequestReport), asked)
    await connection.subscribe(subject_for(InjectFault, node=settings.node), drill)


async def _catch_up(
    connection: Connection, executor: Executor, settings: ExecutorSettings, now: asyncio.Event
) -> None:
    """Read the standing commands at the start, after every reconnect, and now and then: a live one may be missed.

    Jittered, so that a fleet that lost its broker together does not come back together.
    """
    while True:
        now.clear()
        wait = settings.catch_up_s * random.uniform(1, 2)
        try:
            for received in await connection.last(Stream.CMD, commands_last(settings.node)):
                await executor.take(received)
            executor.report()
        except Retryable as error:
            log.warning("standing commands not read", reason=str(error))
            wait = error.after_s
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(now.wait(), wait)


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def main() -> None:
    """`python -m bumpless.executor.app`, configured by `BUMPLESS_EXECUTOR_*`."""
    try:
        settings = ExecutorSettings.read()
        configure_logging("executor", settings.log_level)
        asyncio.run(run_executor(settings))
    except ReleaseError as error:
        sys.exit(f"executor: {error}")


if __name__ == "__main__":
    main()
