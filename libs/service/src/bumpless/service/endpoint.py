"""What `Service` asks of whatever serves its sockets. The HTTP server, the datagram server and adapters keep it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from socket import socket
from typing import Any, Protocol

Observer = Callable[[str, int, float], None]
"""Called once for every answered request: method, status, seconds. Of a stream the seconds end with its head."""


class Endpoint(Protocol):
    """Serves listening sockets that it shares with other processes. Never calls `listen` or `shutdown` on them."""

    @property
    def inflight(self) -> int:
        """Requests being served, streams left out."""
        ...

    @property
    def streams(self) -> int:
        """Event streams, WebSockets and the like: what lasts until one side ends it."""
        ...

    @property
    def connections(self) -> int:
        """Open connections, idle ones and streams included."""
        ...

    @property
    def addresses(self) -> list[Any]:
        """What the sockets are bound to, as getsockname gives it."""
        ...

    def accept(self) -> None:
        """Starts, or after `pause` resumes, taking connections."""
        ...

    def pause(self) -> None:
        """Takes nothing further; what is open is served, and told to come on a new connection next time."""
        ...

    def close_listeners(self, *, sweep: bool) -> None:
        """Closes our descriptors. `sweep` first takes what waits in a backlog that dies with us."""
        ...

    def tell_streams(self, spread_s: float) -> None:
        """Tells every stream, now or later, to reconnect: each at a random moment within `spread_s`."""
        ...

    def close_idle(self) -> None:
        """Closes connections that wait for a request."""
        ...

    async def wait_closed(self) -> None:
        """Until no connection is open."""
        ...

    async def abort(self) -> int:
        """Cuts what is left and returns how much that was."""
        ...


Factory = Callable[[Sequence[socket], Observer], Endpoint]


def reconnect_delay_ms() -> int:
    """What one client is told to wait before it reconnects, so that all together do not come at once."""
    return random.randint(50, 1000)
