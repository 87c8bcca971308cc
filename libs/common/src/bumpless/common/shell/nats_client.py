"""The client of the broker, where it has to be other than the library makes it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport

from bumpless.common.access.entry import Entry
from bumpless.common.access.untrusted import untrusted
from bumpless.common.contract.subjects import DIRECT_GET
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
FEW_S, SILENT_S = 3.0, 8.0
"""How long a server may be without most of the others, or leave what is asked of streams without an answer, before it is
left for another. A stream whose leader was killed has a new one in less than that."""
LONGEST_S = 60.0
"""The same where leaving it did not help: it is doubled each time."""
APART_S = 10.0
"""Requests without an answer that are further apart have nothing to do with each other."""

_LASTING = {
    "max_reconnect_attempts": -1,
    "reconnect_time_wait": 0.25,
    "connect_timeout": 2,
    "max_outstanding_pings": PINGS_UNANSWERED,
    "pending_size": 0,
    "allow_reconnect": True,
}


class LastingClient(Client):
    """Gives up connections that lead nowhere.

    One that is lost: what is left to be sent over it is dropped. The library would wait for it to be taken before it
    looks for another server: over a connection that carries nothing any more, and was given more than the kernel holds,
    that is a quarter of an hour or for ever.

    One to a server that is cut off from the others of its cluster: the server keeps its clients and answers pings, but
    its streams have no leader that could take anything, or one that nobody follows. It is left for another where there
    are several, when requests to streams stay without an answer, or when the server tells that most others are gone.
    """

    def __init__(self, servers: int = 1) -> None:
        """`servers`: how many there are to be, as far as is known."""
        super().__init__()
        self._most_seen = servers
        self._leaving: asyncio.TimerHandle | None = None
        self._unanswered: tuple[float, float] | None = None
        """When a request to a stream that nobody answered was made, the first and the last of them."""
        self._few_s, self._silent_s = FEW_S, SILENT_S

    async def _attempt_reconnect(self) -> None:
        self._unanswered = None
        self._stay()
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer is not None:
            self._transport._io_writer.transport.abort()
        await super()._attempt_reconnect()

    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer is not None:
            # asyncio does not notice that the library has begun TLS, and warns at every end of a connection.
            over_tls = self._transport._io_writer.get_extra_info("ssl_object") is not None
            self._transport._io_writer.transport.get_protocol()._over_ssl = over_tls  # type: ignore[attr-defined]

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        await super()._process_info(info, initial_connection)
        told = len(info.get("connect_urls") or ())
        self._most_seen = max(self._most_seen, told)
        if not told or 2 * told >= self._most_seen:
            self._stay()
            self._few_s = FEW_S if told else self._few_s
        elif self._leaving is None:
            wait = self._few_s * random.uniform(
                0.5, 1
            )  # all that have the same server must not leave it at once
            self._leaving = asyncio.get_running_loop().call_later(wait, self._leave_few)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As the library's, for what is asked of streams: that they do not answer may be their server's fault."""
        began = asyncio.get_running_loop().time()
        try:
            answer = await super().request(subject, payload, timeout, old_style, headers)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            self.unanswered(began)
            raise
        if not subject.startswith(DIRECT_GET):  # a server that is cut off answers these with what it has
            self.answered()
        return answer

    async def ask(self, subject: str, payload: bytes, timeout: float) -> Msg:
        """As the library's `request`, of anybody else than a stream."""
        return await super().request(subject, payload, timeout=timeout)

    def answered(self) -> None:
        """A stream or a consumer answered."""
        self._unanswered, self._silent_s = None, SILENT_S

    def unanswered(self, since: float) -> None:
        """Something was asked of a stream at `since` (of the loop's clock), and nobody answered."""
        now = asyncio.get_running_loop().time()
        known = self._unanswered
        first = since if known is None or since - known[1] > APART_S else min(since, known[0])
        self._unanswered = (first, now)
        if now - first >= self._silent_s:
            self._silent_s = min(LONGEST_S, 2 * self._silent_s)
            self._leave("its streams do not answer")

    def _leave_few(self) -> None:
        self._few_s = min(LONGEST_S, 2 * self._few_s)
        self._leave("it sees few of the other servers")

    def _leave(self, reason: str) -> None:
        self._stay()
        if len(self._server_pool) < 2 or not self.is_connected:
            return
        where = self.connected_url
        log.warning("leaving a server for another", server=where.netloc if where else "", reason=reason)
        self._forced = asyncio.create_task(self.force_reconnect())

    def _stay(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None


async def opened(entry: Entry, within_s: float, **options: Any) -> LastingClient:
    """A client that is connected and reconnects for ever; waits up to `within_s` for the broker to come up.

    `options` are those of `Client.connect`.

    Raises:
        Retryable: no broker that we trust answered in that time; says where it was looked for.
        Refused: the broker does not know our key, or the key or the URL cannot be read.
    """
    known = {**entry.options(), **_LASTING, **in_turn(entry), **options}
    refused: list[Exception] = []
    said: list[Exception] = []

    async def failed(error: Exception) -> None:
        said[:] = [error]
        if _unknown(error):
            refused.append(error)
        shown = untrusted(error)
        log.warning(
            "broker error",
            error=str(error) or type(error).__name__,
            **({} if shown is None else {"found": shown[0], "do": shown[1]}),
        )

    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            client = LastingClient(len(entry.servers))
            left = deadline - asyncio.get_running_loop().time()
            # The client itself would look for a server for ever.
            await asyncio.wait_for(client.connect(error_cb=failed, **known), max(left, 0.1))
            return client
        except Away as error:
            if asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.1)
                continue
            if _unknown(error) or refused:
                raise _key_unknown(entry) from error
            why = said[0] if said and isinstance(error, TimeoutError) else error
            if shown := untrusted(why):
                raise Retryable(
                    f"expected a NATS server at {entry.url} that we can trust, found {shown[0]}; {shown[1]}"
                ) from error
            raise Retryable(
                f"expected a NATS server at {entry.url}, found none within {within_s:g} s "
                f"({why or type(why).__name__}); start one with `bumpless up`, or name the right one with --nats"
            ) from error


def in_turn(entry: Entry) -> dict[str, Any]:
    """The servers in an order of our own, one after the other: who leaves one comes to another first.

    For `Client.connect`. Raises: Refused: they cannot be read.
    """
    servers = entry.servers
    return {"servers": random.sample(servers, len(servers)), "dont_randomize": True}


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
