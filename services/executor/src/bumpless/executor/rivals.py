"""One executor for a node: the lock of the data directory, and the word of another one of the same name in the broker.

The lock goes with the process, however it ends. The identity is that of the data directory, so it outlives processes:
an executor that was restarted is no rival of itself. What two executors do that cannot reach each other is not found.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

from nats.aio.msg import Msg

from bumpless.common.contract import wire
from bumpless.common.contract.events import NodeObserved
from bumpless.common.contract.subjects import Stream, subject_for
from bumpless.common.errors import Refused
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.log import get_logger
from bumpless.executor.durable import write_file

log = get_logger(__name__)

FRESH = timedelta(seconds=60)
"""An inventory that is older is of an executor that is gone, or that nobody counts on."""


def lock(data_dir: Path, node: str) -> int:
    """The lock of the data directory, as an open descriptor; who holds it stands in the file.

    Raises:
        Refused: another executor works there; says which.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with os.fdopen(fd) as file:
            found = _named(file.read())
        raise Refused(
            f"no other executor in {data_dir}", found, "stop it, or use another data directory"
        ) from None
    holder = {"node": node, "who": describe(data_dir)}
    # Who holds the lock is only told: a disk that is full must not keep the executor from working.
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(holder).encode(), 0)
    return fd


def describe(data_dir: Path) -> str:
    """This process, for whoever has to find it."""
    command = " ".join(sys.orig_argv)
    since = clock.now()
    return (
        f"pid {os.getpid()} on {platform.node()} since {since:%Y-%m-%dT%H:%M:%SZ}, started as "
        f"`{command}`, data in {data_dir.resolve()}"
    )


def identity(data_dir: Path) -> str:
    """The name of the data directory, made once. Raises: OSError."""
    file = data_dir / "identity"
    with contextlib.suppress(FileNotFoundError):
        if found := file.read_text().strip():
            return found
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = clock.fresh_id()
    write_file(file, made.encode())
    return made


def rival(message: NodeObserved, ours: str, now: datetime) -> str | None:
    """Who said `message` about our node, if it was another executor, not long ago."""
    other = message.node.identity not in ("", ours)
    fresh = now - message.node.observed_at < FRESH
    return (
        (message.node.executor or "an executor that does not say where it runs") if other and fresh else None
    )


async def refuse_rivals(connection: Connection, node: str, ours: str, wait_s: float) -> None:
    """Return when no other executor speaks for `node`. One that did lately gets `wait_s` to do it again.

    Raises:
        Refused: it did; says which.
        Retryable: the broker is away.
    """
    last = await connection.last_of(Stream.INV, subject_for(NodeObserved, name=node))
    who = None if last is None else _heard(last.data, ours)
    if who is None:
        return
    log.warning("another executor spoke for this node; waiting whether it still does", executor=who)
    if await _speaks_again(connection, node, ours, wait_s):
        raise Refused(
            f"no other executor for node {node}",
            who,
            "stop it, or give this one another name; every node has one executor",
        )


async def watch(connection: Connection, node: str, ours: str) -> None:
    """Tell of every other executor that speaks for `node` from now on, once."""
    told: set[str] = set()

    def tell(who: str) -> None:
        if who not in told:
            told.add(who)
            log.error("another executor speaks for this node; stop one of them", node=node, executor=who)

    await _listen(connection, node, ours, tell)


async def _speaks_again(connection: Connection, node: str, ours: str, wait_s: float) -> bool:
    heard = asyncio.Event()
    stop = await _listen(connection, node, ours, lambda _: heard.set())
    try:
        async with asyncio.timeout(wait_s):
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        await stop()
    return True


async def _listen(
    connection: Connection, node: str, ours: str, tell: Callable[[str], None]
) -> Callable[[], Awaitable[None]]:
    async def said(message: Msg) -> None:
        if (who := _heard(message.data, ours)) is not None:
            tell(who)

    listening = await connection.nc.subscribe(subject_for(NodeObserved, name=node), cb=said)
    return listening.unsubscribe


def _heard(data: bytes, ours: str) -> str | None:
    with contextlib.suppress(wire.Unreadable):
        message = wire.decode(data)
        if isinstance(message, NodeObserved):
            return rival(message, ours, clock.now())
    return None


def _named(text: str) -> str:
    """The holder of the lock, as it wrote itself down; one of an earlier version wrote nothing."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = json.loads(text)
        return f"the one of node {found['node']}: {found['who']}"
    return "one that is running"
