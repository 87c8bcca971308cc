"""Where the live state of an aggregate is kept: one value with its outbox, written by compare-and-set.

Invariants: a write succeeds only against the version that was read and only under the lease that is held, so a
paused or cut-off process changes nothing when it comes back. Redis is never the only copy: `incarnation` tells
whether this is still the store we filled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, Self, TypeVar

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from bumpless.common.access.redis_entry import RedisEntry
from bumpless.common.access.untrusted import untrusted
from bumpless.common.engine.decision import Deadline
from bumpless.common.errors import Retryable
from bumpless.common.shell.deployment import StoreFacts

T = TypeVar("T")
Pipeline = Any
"""Of redis-py, whose types do not know what a pipeline answers while it watches."""


class Conflict(Exception):
    """Somebody else wrote this value since it was read."""


class Fenced(Exception):
    """The lease under which we write is no longer ours."""


@dataclass(frozen=True)
class Stored:
    """One aggregate: its state, the messages not yet published, and the last sequence of its log.

    `version` counts the state's changes, `revision` every write; compare-and-set is on the latter.
    """

    version: int
    revision: int
    state: bytes
    outbox: tuple[bytes, ...] = ()
    log_sequence: int = 0


class StateStore(Protocol):
    """The port. All methods raise `Retryable` while the store is away."""

    def next_term(self, token: str) -> Self:
        """The same store under another token: what was begun before cannot write under it."""

    async def load(self, aggregate: str) -> Stored | None: ...
    async def save(self, aggregate: str, value: Stored, deadline: Deadline | None) -> None:
        """Write `value` over revision `value.revision - 1` (0: nothing there), with its deadline and whether
        anything waits in the outbox.

        Raises:
            Conflict: another revision is there.
            Fenced: the lease is not held.
        """

    async def forget(self, aggregate: str) -> None:
        """Drop the value; its deadline stays, so that somebody looks at the aggregate again and rebuilds it.

        Raises:
            Fenced: the lease is not held.
        """

    async def discard(self, aggregate: str) -> None:
        """Drop all of an aggregate that never began, its deadline as well.

        Raises:
            Fenced: the lease is not held.
        """

    async def unpublished(self) -> list[str]: ...
    async def due(self, now: datetime) -> list[tuple[str, Deadline]]: ...
    async def waiting(self) -> list[str]:
        """The aggregates that have a deadline, which is: those that are not at rest."""

    async def acquire(self, ttl_s: float, ended: str | None = None) -> bool:
        """Take the lease; False while another holds it. Taken anew, the mark is gone: what the store has may be an old
        copy, and says nothing of what began after it was made.

        `ended` is the process that is known to be gone: what a token `<ended>.<anything>` holds is free.
        """

    async def renew(self, ttl_s: float) -> bool:
        """Hold the lease for longer; False when it is not ours any more: it ran out, or the store was emptied."""

    async def release(self) -> None: ...
    async def known(self) -> bool:
        """Whether the store is still the one `mark` was called on: False after it was emptied, or the lease was taken
        anew."""

    async def mark(self) -> None: ...


def may_take(token: str, holder: str | None, ended: str | None) -> bool:
    """Whether the lease that `holder` has is free for `token`, as `StateStore.acquire` says."""
    return holder in (None, token) or (ended is not None and str(holder).startswith(ended + "."))


def lease_key(owner: str) -> str:
    """Where the token of the process that works for a service stands."""
    return _prefix(owner) + "lease"


def _prefix(owner: str) -> str:
    return f"bumpless:{owner}:"


_AWAY = (RedisError, OSError, TimeoutError)


class RedisState:
    """The state of one owner (`planner`, `rollback`, `health-gate`, `alerts`) in Redis.

    Keys, all under `bumpless:<owner>:`: `value:<id>` (hash), `unpublished` (set), `deadlines` (sorted set by
    milliseconds) with `deadline-names`, `lease`, `incarnation`. `token` stands for one term of one process and is
    never reused: neither an emptied Redis nor a second term lets what was begun in an earlier one write.

    Changes are transactions that watch what they rest on, the lease included. No script is run, so a service needs no
    right to load one (docs/adr/0047-*.md).
    """

    def __init__(self, entry: str | RedisEntry, owner: str, token: str) -> None:
        """Raises: Refused: a key or authorities that cannot be read."""
        where = RedisEntry.of(entry)
        self._redis: Any = Redis.from_url(
            where.url,
            socket_timeout=5,
            socket_connect_timeout=2,
            retry_on_timeout=False,
            health_check_interval=10,
            **where.options(),
        )
        self._prefix = _prefix(owner)
        self._token = token

    def _key(self, name: str) -> str:
        return self._prefix + name

    def next_term(self, token: str) -> Self:
        found = copy(self)
        found._token = token
        return found

    async def close(self) -> None:
        await self._redis.aclose()

    async def load(self, aggregate: str) -> Stored | None:
        try:
            found = await self._redis.hgetall(self._key("value:" + aggregate))
        except _AWAY as error:
            raise _away(error) from error
        if not found:
            return None
        return Stored(
            version=int(found[b"version"]),
            revision=int(found[b"revision"]),
            state=found[b"state"],
            outbox=_split(found[b"outbox"]),
            log_sequence=int(found[b"log_sequence"]),
        )

    async def save(self, aggregate: str, value: Stored, deadline: Deadline | None) -> None:
        key = self._key("value:" + aggregate)

        async def change(pipe: Pipeline) -> None:
            await self._fence(pipe, aggregate)
            if int(await pipe.hget(key, "revision") or 0) != value.revision - 1:
                raise Conflict(aggregate)
            pipe.multi()
            fields = {"revision": value.revision, "version": value.version, "state": value.state}
            outbox = {"outbox": _join(value.outbox), "log_sequence": value.log_sequence}
            pipe.hset(key, mapping=fields | outbox)
            if value.outbox:
                pipe.sadd(self._key("unpublished"), aggregate)
            else:
                pipe.srem(self._key("unpublished"), aggregate)
            if deadline is None:
                self._no_deadline(pipe, aggregate)
            else:
                due = int(deadline.due.timestamp() * 1000)
                pipe.zadd(self._key("deadlines"), {aggregate: due})
                pipe.hset(self._key("deadline-names"), aggregate, deadline.name)

        await self._changed(change, key)

    async def forget(self, aggregate: str) -> None:
        async def change(pipe: Pipeline) -> None:
            await self._fence(pipe, aggregate)
            pipe.multi()
            pipe.delete(self._key("value:" + aggregate))

        await self._changed(change)

    async def discard(self, aggregate: str) -> None:
        async def change(pipe: Pipeline) -> None:
            await self._fence(pipe, aggregate)
            pipe.multi()
            pipe.delete(self._key("value:" + aggregate))
            pipe.srem(self._key("unpublished"), aggregate)
            self._no_deadline(pipe, aggregate)

        await self._changed(change)

    def _no_deadline(self, pipe: Pipeline, aggregate: str) -> None:
        pipe.zrem(self._key("deadlines"), aggregate)
        pipe.hdel(self._key("deadline-names"), aggregate)

    async def _fence(self, pipe: Pipeline, aggregate: str) -> None:
        if await self._holder(pipe) != self._token:
            raise Fenced(aggregate)

    async def _holder(self, pipe: Pipeline) -> str | None:
        held = await pipe.get(self._key("lease"))
        return None if held is None else held.decode()

    async def _changed(self, change: Callable[[Pipeline], Awaitable[T]], *watched: str) -> T:
        """`change` reads, and says after `multi` what is written if nobody changes the lease or what is watched
        meanwhile, or lets the lease run out; else it is asked again. Raises: Retryable."""
        keys = (self._key("lease"), *watched)
        try:
            found: T = await self._redis.transaction(change, *keys, value_from_callable=True)
        except _AWAY as error:
            raise _away(error) from error
        return found

    async def unpublished(self) -> list[str]:
        try:
            return sorted(member.decode() for member in await self._redis.smembers(self._key("unpublished")))
        except _AWAY as error:
            raise _away(error) from error

    async def due(self, now: datetime) -> list[tuple[str, Deadline]]:
        try:
            rows = await self._redis.zrangebyscore(
                self._key("deadlines"), "-inf", int(now.timestamp() * 1000), withscores=True
            )
            if not rows:
                return []
            names = await self._redis.hmget(self._key("deadline-names"), [member for member, _ in rows])
        except _AWAY as error:
            raise _away(error) from error
        return [
            (member.decode(), Deadline(name.decode(), datetime.fromtimestamp(score / 1000, UTC)))
            for (member, score), name in zip(rows, names, strict=True)
            if name is not None
        ]

    async def waiting(self) -> list[str]:
        try:
            return [member.decode() for member in await self._redis.zrange(self._key("deadlines"), 0, -1)]
        except _AWAY as error:
            raise _away(error) from error

    async def acquire(self, ttl_s: float, ended: str | None = None) -> bool:
        async def change(pipe: Pipeline) -> bool:
            holder = await self._holder(pipe)
            if not may_take(self._token, holder, ended):
                return False
            pipe.multi()
            if holder != self._token:
                pipe.delete(self._key("incarnation"))
            pipe.set(self._key("lease"), self._token, px=int(ttl_s * 1000))
            return True

        return await self._changed(change)

    async def renew(self, ttl_s: float) -> bool:
        async def change(pipe: Pipeline) -> bool:
            if await self._holder(pipe) != self._token:
                return False
            pipe.multi()
            pipe.pexpire(self._key("lease"), int(ttl_s * 1000))
            return True

        return await self._changed(change)

    async def release(self) -> None:
        async def change(pipe: Pipeline) -> None:
            if await self._holder(pipe) == self._token:
                pipe.multi()
                pipe.delete(self._key("lease"))

        await self._changed(change)

    async def known(self) -> bool:
        try:
            return bool(await self._redis.exists(self._key("incarnation")))
        except _AWAY as error:
            raise _away(error) from error

    async def facts(self) -> StoreFacts:
        """How this Redis keeps what it is told. Who may not read its settings reads of them what it tells everybody."""
        settings = await self._told(self._redis.config_get, "appendonly", "appendfsync", "maxmemory*")
        if settings is not None:
            limited = settings.get("maxmemory", "0") != "0"
            return StoreFacts(
                append_only=settings.get("appendonly") == "yes",
                fsync=settings.get("appendfsync"),
                eviction=settings.get("maxmemory-policy") if limited else "noeviction",
            )
        kept = await self._told(self._redis.info, "persistence") or {}
        memory = await self._told(self._redis.info, "memory") or {}
        append_only = kept.get("aof_enabled")
        policy = memory.get("maxmemory_policy")
        return StoreFacts(
            append_only=None if append_only is None else bool(append_only),
            eviction=policy if memory.get("maxmemory") else policy and "noeviction",
        )

    async def _told(
        self, ask: Callable[..., Awaitable[dict[str, Any]]], *words: str
    ) -> dict[str, Any] | None:
        """None: it may not be asked. Raises: Retryable: it is away."""
        try:
            found: list[dict[str, Any]] = [await ask(word) for word in words]
        except ResponseError:
            return None
        except _AWAY as error:
            raise _away(error) from error
        return {_text(key): _text(value) for each in found for key, value in each.items()}

    async def mark(self) -> None:
        try:
            await self._redis.set(self._key("incarnation"), self._token, nx=True)
        except _AWAY as error:
            raise _away(error) from error


def _away(error: BaseException) -> Retryable:
    known = (error, error.__cause__)  # while it connects, the client wraps what Redis said
    if any(isinstance(each, AuthenticationError | NoPermissionError) for each in known):
        return Retryable(
            f"expected a Redis that lets us in, found no such user with this password, or too few rights ({error}); give "
            "it the redis.acl of our identities, and have it read that (`ACL LOAD`)"
        )
    if shown := untrusted(error):
        return Retryable(f"expected a Redis that we can trust, found {shown[0]}; {shown[1]}")
    return Retryable(f"Redis is away: {error!r}")


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _join(parts: tuple[bytes, ...]) -> bytes:
    return b"\n".join(parts)


def _split(data: bytes) -> tuple[bytes, ...]:
    return tuple(data.split(b"\n")) if data else ()
