"""The broker as this house uses it: publish once, read last values, follow a stream, write commands as one batch.

Invariants: everything stored is published with a message id, so a repeat is dropped by the broker; a publish that
may or may not have arrived is `Retryable`, never silently lost; commands are written by compare-and-set, because
message ids do not fence last-value subjects. Streams are declared in `topology.py`, never here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Self

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from bumpless.common.access.entry import Entry
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import Message
from bumpless.common.contract.subjects import ROUTES, Stream
from bumpless.common.errors import Retryable
from bumpless.common.shell import nats_client, tracing
from bumpless.common.shell.cancelling import end_if_cancelled
from bumpless.common.shell.clock import fresh_id
from bumpless.common.shell.log import get_logger
from bumpless.common.shell.nats_client import Away, LastingClient
from bumpless.common.shell.received import Received as Received
from bumpless.common.shell.received import direct, from_where, stored

log = get_logger(__name__)

ACK_TIMEOUT_S = 5.0
CLOSE_S = 5.0
"""For what is still to be sent when a connection is closed."""
BATCH_LIMIT = 1000
"""The server takes at most this many messages in one atomic batch."""
PATIENT_S, LOOK_AGAIN_S = 10.0, 0.3
"""For a stream to have a leader again, and for a replica to catch up with what that says."""
STALE_SEQUENCE = 10071
DUPLICATE_IN_BATCH = 10201

Headers = dict[str, str]


class StaleSequence(Exception):
    """Somebody wrote to the subject since we looked."""


class Connection:
    """One connection for publishing and reading. Reconnects for ever; publishes fail at once while it is away."""

    def __init__(self, nc: LastingClient, *, keyed: bool = False) -> None:
        self.nc, self.keyed = nc, keyed
        self.js: JetStreamContext = nc.jetstream(timeout=ACK_TIMEOUT_S)
        self._closing = False

    @classmethod
    async def connect(
        cls,
        broker: str | Entry,
        *,
        name: str,
        on_reconnect: Callable[[], Awaitable[None]] | None = None,
        on_closed: Callable[[], Awaitable[None]] | None = None,
        connect_timeout_s: float = 30.0,
        ping_s: float = nats_client.PING_S,
    ) -> Self:
        """Connect, waiting up to `connect_timeout_s` for the broker to come up.

        Raises:
            Retryable: no broker answered in that time; says where it was looked for.
            Refused: the broker does not know our key, or the key cannot be read.
        """
        entry = Entry.of(broker)
        opened: list[Self] = []

        async def lost() -> None:
            if not (opened and opened[0]._closing):
                log.warning("broker connection lost; reconnecting")

        nc = await nats_client.opened(
            entry,
            connect_timeout_s,
            name=name,
            ping_interval=ping_s,
            disconnected_cb=lost,
            reconnected_cb=on_reconnect,
            closed_cb=on_closed,
        )
        opened.append(cls(nc, keyed=entry.seed is not None))
        return opened[0]

    @property
    def clustered(self) -> bool:
        """Whether the server is one of several, whose streams may have replicas."""
        return bool(self.nc._server_info.get("cluster"))

    async def close(self) -> None:
        self._closing = True
        with contextlib.suppress(*Away):
            await asyncio.wait_for(self.nc.close(), CLOSE_S)

    # publishing -------------------------------------------------------------------------------------------

    async def publish(
        self, message: Message, *, source: str, expect_last: int | None = None, among: str | None = None
    ) -> int:
        """Publish on the message's own subject; returns the stored sequence, 0 for what is not stored.

        `expect_last` stores the message only if it follows that sequence on its subject (0: it is the first), or, with
        `among`, on all subjects that match it.

        Raises:
            Retryable: the broker is away or did not answer; publishing again is safe.
            StaleSequence: `expect_last` does not hold and the last message there is not this one.
        """
        route = ROUTES[type(message)]
        subject = subjects.subject_of(message)
        headers = {**wire.headers(message, source), **tracing.headers(message, source)}
        body = wire.encode(message)
        try:
            if route.stream in (Stream.CORE, Stream.PROG):
                await self.nc.publish(subject, body, headers=headers)
                return 0
            if expect_last is not None:
                headers["Nats-Expected-Last-Subject-Sequence"] = str(expect_last)
            if among is not None:
                headers["Nats-Expected-Last-Subject-Sequence-Subject"] = among
            ack = await self.js.publish(subject, body, headers=headers, stream=route.stream.value)
            return ack.seq
        except nats.js.errors.APIError as error:
            if error.err_code == STALE_SEQUENCE:
                return await self._already_there(route.stream, subject, message.id)
            raise Retryable(f"broker refused {subject}: {error}") from error
        except Away as error:
            raise Retryable(f"broker is away: publishing {subject}: {error!r}") from error

    async def publish_bytes(self, stream: Stream, subject: str, body: bytes, headers: Headers) -> bool:
        """Store what is no message of ours, under the message id in its headers; whether it was not there before.

        Raises:
            Retryable: the broker is away or did not answer; publishing again is safe.
        """
        try:
            ack = await self.js.publish(subject, body, headers=headers, stream=stream.value)
            return not ack.duplicate
        except nats.js.errors.APIError as error:
            raise Retryable(f"broker refused {subject}: {error}") from error
        except Away as error:
            raise Retryable(f"broker is away: publishing {subject}: {error!r}") from error

    async def _already_there(self, stream: Stream, subject: str, message_id: str) -> int:
        last = await self.last(stream, [subject])
        if last and last[-1].headers.get(wire.MSG_ID_HEADER) == message_id:
            return last[-1].sequence
        raise StaleSequence(f"{subject}: expected to follow what was read, found a later message")

    async def publish_batch(self, items: Sequence[tuple[str, bytes, Headers]]) -> None:
        """Store all of `items` or none of them, in one write (at most BATCH_LIMIT).

        Raises:
            StaleSequence: an expected sequence did not hold; nothing was stored.
            Retryable: no answer; look before publishing again.
        """
        batch = fresh_id()  # of this attempt: the broker may still hold the open rest of an earlier one
        try:
            for number, (subject, body, given) in enumerate(items, start=1):
                headers = {**given, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
                if number == len(items):
                    headers["Nats-Batch-Commit"] = "1"
                if number in (1, len(items)):
                    answer = await self.nc.request(subject, body, timeout=ACK_TIMEOUT_S, headers=headers)
                    self._check(answer)
                else:
                    await self.nc.publish(subject, body, headers=headers)
        except Away as error:
            raise Retryable(f"broker is away: publishing a batch of {len(items)}: {error!r}") from error

    @staticmethod
    def _check(answer: Msg) -> None:
        if not answer.data:
            return
        error = json.loads(answer.data).get("error")
        if error is None:
            return
        if error.get("err_code") in (STALE_SEQUENCE, DUPLICATE_IN_BATCH):
            raise StaleSequence(error.get("description", "stale sequence"))
        raise Retryable(f"broker refused a batch: {error}")

    # reading ----------------------------------------------------------------------------------------------

    async def last(self, stream: Stream, filters: str | Sequence[str]) -> list[Received]:
        """The last message of every subject that matches (up to 1,024), in stream order, without a consumer."""
        wanted = [filters] if isinstance(filters, str) else list(filters)
        found: list[Received] = []
        inbox = self.nc.new_inbox()
        try:
            listening = await self.nc.subscribe(inbox)
            try:
                await self.nc.publish(
                    subjects.DIRECT_GET + stream.value,
                    json.dumps({"multi_last": wanted}).encode(),
                    reply=inbox,
                )
                while True:
                    msg = await listening.next_msg(timeout=ACK_TIMEOUT_S)
                    status = (msg.headers or {}).get("Status")
                    if status == "204" or status == "404":
                        return found
                    if status is not None:
                        raise Retryable(f"broker refused to read {wanted}: {status} {msg.headers}")
                    found.append(direct(msg))
            finally:
                await listening.unsubscribe()
        except Away as error:
            raise Retryable(f"broker is away: reading {wanted}: {error!r}") from error

    async def last_of(self, stream: Stream, subject: str) -> Received | None:
        """The last message of one subject, or of those that match; the broker sees in the request which are meant."""
        try:
            found = await self.js.get_msg(stream.value, subject=subject, direct=True)
        except nats.js.errors.NotFoundError:
            return None
        except Away as error:
            raise Retryable(f"broker is away: reading {subject}: {error!r}") from error
        headers = found.headers or {}
        return Received(found.subject or subject, found.data or b"", found.seq or 0, headers)

    async def snapshot(
        self, stream: Stream, filters: str | Sequence[str], *, history: bool = False
    ) -> list[Received]:
        """What the stream holds now: the last message per subject, or with `history` every message."""
        wanted = [filters] if isinstance(filters, str) else list(filters)
        clock = asyncio.get_running_loop().time
        until = clock() + (PATIENT_S if self.clustered else 0)
        while True:
            try:
                least = await self._counted(stream, wanted, history) if self.clustered else 0
                found = await self._read(stream, wanted, history)
                if len(found) >= least:
                    return found
                why = f"expected {least} messages, found {len(found)}: a replica is behind"
            except Away as error:  # in a cluster there may be no leader yet
                why = f"broker is away: {error!r}"
            if clock() > until:
                raise Retryable(f"reading {wanted}: {why}")
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _read(self, stream: Stream, wanted: list[str], history: bool) -> list[Received]:
        policy = api.DeliverPolicy.ALL if history else api.DeliverPolicy.LAST_PER_SUBJECT
        found: list[Received] = []
        sub = await self._consumer(stream, wanted, api.ConsumerConfig(deliver_policy=policy))
        try:
            left = (await sub.consumer_info()).num_pending or 0
            while left > 0:
                for msg in await sub.fetch(min(left, 500), timeout=ACK_TIMEOUT_S):
                    found.append(stored(msg))
                    left = msg.metadata.num_pending
            return found
        finally:
            await self._drop(sub, stream)

    async def _counted(self, stream: Stream, wanted: list[str], history: bool) -> int:
        """How much there is to read, as the stream's leader says: a consumer may be with a replica that is behind."""
        infos = [await self.js.stream_info(stream.value, subjects_filter=each) for each in wanted]
        counts = [(info.state.subjects or {}).values() for info in infos]
        return sum(sum(each) if history else len(each) for each in counts)

    async def follow(
        self,
        stream: Stream,
        filters: str | Sequence[str],
        *,
        since: datetime | None = None,
        last_values: bool = False,
    ) -> AsyncGenerator[Received, None]:
        """Every matching message, stored order, for ever; through reconnects without a gap or a repeat.

        Starts at `since`, else with the last value of every subject (`last_values`), else with what comes next.
        """
        wanted = [filters] if isinstance(filters, str) else list(filters)
        seen = 0
        while True:
            sub = None
            end_if_cancelled()
            try:
                seen = await self._still_there(stream, seen, last_values)
                config = from_where(seen, since, last_values)
                sub = await self._consumer(stream, wanted, config)
                reconnects = self.nc.stats["reconnects"]
                if config.deliver_policy is api.DeliverPolicy.NEW:
                    start = (await sub.consumer_info()).delivered
                    seen = 0 if start is None else start.stream_seq
                while self.nc.stats["reconnects"] == reconnects:
                    end_if_cancelled()
                    try:
                        messages = await sub.fetch(1, timeout=2)
                    except TimeoutError:
                        continue
                    behind = messages[-1].metadata.num_pending
                    if behind > 0:
                        with contextlib.suppress(TimeoutError):
                            messages += await sub.fetch(min(behind, 256), timeout=1)
                    for msg in messages:
                        item = stored(msg)
                        if item.sequence > seen:
                            seen = item.sequence
                            yield item
            except Away:
                if self.nc.is_closed:
                    return
                await asyncio.sleep(0.2)
            finally:
                if sub is not None:
                    await self._drop(sub, stream)

    async def _still_there(self, stream: Stream, seen: int, last_values: bool) -> int:
        """The last sequence that was seen and that the stream still has, 0: begin anew.

        A broker that was killed may have lost the stream's end, and all of one that it held in memory. What was stored
        since then has numbers that were seen before; last values are therefore read again.
        """
        if not seen:
            return 0
        last = (await self.js.stream_info(stream.value)).state.last_seq
        for _ in range(int(PATIENT_S / LOOK_AGAIN_S) if self.clustered else 0):
            if last >= seen:
                break
            await asyncio.sleep(
                LOOK_AGAIN_S
            )  # who leads a stream anew has not yet written all that is acknowledged
            last = (await self.js.stream_info(stream.value)).state.last_seq
        return seen if last >= seen else 0 if last_values else last

    async def subscribe(self, subject: str, handle: Callable[[Received], Awaitable[bytes | None]]) -> Any:
        """Hear what is published on `subject` from now on (core: nothing is stored for us); answer who asked."""

        async def received(msg: Msg) -> None:
            answer = await handle(
                Received(subject=msg.subject, data=msg.data, headers=dict(msg.headers or {}))
            )
            if answer is not None and msg.reply:
                await msg.respond(answer)

        return await self.nc.subscribe(subject, cb=received)

    async def request(self, subject: str, body: bytes, timeout_s: float) -> bytes:
        """Ask a service and wait for its answer.

        Raises:
            Retryable: nobody answers there.
        """
        try:
            return (await self.nc.ask(subject, body, timeout_s)).data
        except Away as error:
            raise Retryable(
                f"expected an answer on {subject} within {timeout_s:g} s, found none: {error!r}"
            ) from error

    async def _consumer(
        self, stream: Stream, filters: list[str], config: api.ConsumerConfig
    ) -> JetStreamContext.PullSubscription:
        config.ack_policy = api.AckPolicy.NONE
        config.filter_subjects = filters
        config.inactive_threshold = 30
        config.mem_storage = True
        config.num_replicas = 1
        return await self.js.pull_subscribe(filters[0], stream=stream.value, config=config)

    async def _drop(self, sub: JetStreamContext.PullSubscription, stream: Stream) -> None:
        with contextlib.suppress(*Away):
            await sub.unsubscribe()
            if stream not in subjects.NAMED_BY_PEOPLE:  # there the broker forgets it by itself, after a while
                await asyncio.wait_for(self.js.delete_consumer(stream.value, sub._consumer), 1)
