"""The client of the broker, where it has to be other than the library makes it."""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client
from nats.aio.transport import TcpTransport

PING_S = 2
NODE_PING_S = 3
"""Between two looks whether the connection still carries anything; of nodes, because there are many."""
PINGS_UNANSWERED = 2
"""More of them, and the connection is given up: after three such times at most."""


class GivesUp(Client):
    """Drops what is left to be sent over a connection that is lost.

    The library would wait for it to be taken before it looks for another server: over a connection that
    carries nothing any more, and was given more than the kernel holds, that is a quarter of an hour or for ever.
    """

    async def _attempt_reconnect(self) -> None:
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer is not None:
            self._transport._io_writer.transport.abort()
        await super()._attempt_reconnect()


async def connect(url: str, **options: Any) -> Client:
    """As `nats.connect`."""
    found = GivesUp()
    await found.connect(url, **options)
    return found
