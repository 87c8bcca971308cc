"""The client of the broker, where it has to be other than the library makes it."""

from __future__ import annotations

import asyncio
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from bumpless.common.access.entry import Entry
from bumpless.common.errors import Refused, Retryable
from bumpless.common.shell.log import get_logger

log = get_logger(__name__)

Away = (
    nats.errors.Error,
    nats.js.errors.Error,
    asyncio.TimeoutError,
    ConnectionError,
    OSError,
)
"""What the client raises when the broker cannot be reached or does not answer."""


PING_S = 2
NODE_PING_S = 2.5
"""Between two looks whether the connection still carries anything; of nodes, because there are many."""
PINGS_UNANSWERED = 2
"""More of them, and the connection is given up: after three such times at most."""

_LASTING = {
    "max_reconnect_attempts": -1,
    "reconnect_time_wait": 0.25,
    "connect_timeout": 2,
    "max_outstanding_pings": PINGS_UNANSWERED,
    "pending_size": 0,
    "allow_reconnect": True,
}


class GivesUp(Client):
    """Drops what is left to be sent over a connection that is lost.

    The library would wait for it to be taken before it looks for another server: over a connection that
    carries nothing any more, and was given more than the kernel holds, that is a quarter of an hour or for ever.
    """

    async def _attempt_reconnect(self) -> None:
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer is not None:
            self._transport._io_writer.transport.abort()
        await super()._attempt_reconnect()


async def opened(entry: Entry, within_s: float, **options: Any) -> Client:
    """A client that is connected and reconnects for ever; waits up to `within_s` for the broker to come up.

    `options` are those of `Client.connect`.

    Raises:
        Retryable: no broker answered in that time; says where it was looked for.
        Refused: the broker does not know our key, or the key cannot be read.
    """
    known = {**entry.options(), **_LASTING, **options}
    refused: list[Exception] = []

    async def failed(error: Exception) -> None:
        if _unknown(error):
            refused.append(error)
        log.warning("broker error", error=str(error) or type(error).__name__)

    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            client = GivesUp()
            left = deadline - asyncio.get_running_loop().time()
            # The client itself would look for a server for ever.
            await asyncio.wait_for(client.connect(entry.url, error_cb=failed, **known), max(left, 0.1))
            return client
        except Away as error:
            if asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.1)
                continue
            if _unknown(error) or refused:
                raise _key_unknown(entry) from error
            raise Retryable(
                f"expected a NATS server at {entry.url}, found none within {within_s:g} s "
                f"({error or type(error).__name__}); start one with `bumpless up`, or name the right one with --nats"
            ) from error


def _key_unknown(entry: Entry) -> Refused:
    ours = (
        "no key" if entry.seed is None else f"the one in {entry.seed}, which is revoked or of another broker"
    )
    return Refused(
        f"a key that the broker at {entry.url} knows",
        ours,
        "make one with `bumpless node enroll`, and have the server read its accounts again",
    )


def _unknown(error: Exception) -> bool:
    return "authorization violation" in str(error).lower()
