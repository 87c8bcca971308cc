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
from typing import Any, Protocol, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bumpless.common.engine.decision import Deadline
from bumpless.common.errors import Retryable
from bumpless.common.shell.deployment import StoreFacts


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

    async def acquire(self, ttl_s: float) -> bool:
        """Take the lease; False while another holds it. Taken anew, the mark is gone: what the store has may be an old
        copy, and says nothing of what began after it was made."""

    async def renew(self, ttl_s: float) -> bool:
        """Hold the lease for longer; False when it is not ours any more: it ran out, or the store was emptied."""

    async def release(self) -> None: ...
    async def known(self) -> bool:
        """Whether the store is still the one `mark` was called on: False after it was emptied, or the lease was taken
        anew."""

    async def mark(self) -> None: ...


def lease_key(owner: str) -> str:
    """Where the token of the process that works for a service stands."""
    return _prefix(owner) + "lease"


def _prefix(owner: str) -> str:
    return f"bumpless:{owner}:"


_SAVE = """
if redis.call('GET', KEYS[4]) ~= ARGV[1] then return 'fenced' end
local found = redis.call('HGET', KEYS[1], 'revision') or '0'
if tonumber(found) ~= tonumber(ARGV[2]) - 1 then return 'conflict' end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'version', ARGV[3], 'state', ARGV[4],
           'outbox', ARGV[5], 'log_sequence', ARGV[6])
if ARGV[5] == '' then redis.call('SREM', KEYS[2], ARGV[7]) else redis.call('SADD', KEYS[2], ARGV[7]) end
if ARGV[8] == '' then redis.call('HDEL', KEYS[5], ARGV[7]) redis.call('ZREM', KEYS[3], ARGV[7])
else redis.call('ZADD', KEYS[3], ARGV[8], ARGV[7]) redis.call('HSET', KEYS[5], ARGV[7], ARGV[9]) end
return 'ok'
"""

_FORGET = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'fenced' end
redis.call('DEL', KEYS[1])
return 'ok'
"""

_DISCARD = """
if redis.call('GET', KEYS[4]) ~= ARGV[1] then return 'fenced' end
redis.call('DEL', KEYS[1]) redis.call('SREM', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2]) redis.call('HDEL', KEYS[5], ARGV[2])
return 'ok'
"""

_ACQUIRE = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
if not held then redis.call('DEL', KEYS[2]) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

_AWAY = (RedisError, OSError, TimeoutError)


class RedisState:
    """The state of one owner (`planner`, `rollback`, `health-gate`, `alerts`) in Redis.

    Keys, all under `bumpless:<owner>:`: `value:<id>` (hash), `unpublished` (set), `deadlines` (sorted set by
    milliseconds) with `deadline-names`, `lease`, `incarnation`. `token` stands for one term of one process and is
    never reused: neither an emptied Redis nor a second term lets what was begun in an earlier one write.
    """

    def __init__(self, url: str, owner: str, token: str) -> None:
        self._redis: Any = Redis.from_url(
            url, socket_timeout=5, socket_connect_timeout=2, retry_on_timeout=False, health_check_interval=10
        )
        self._prefix = _prefix(owner)
        self._token = token
        self._save = self._redis.register_script(_SAVE)
        self._forget = self._redis.register_script(_FORGET)
        self._discard = self._redis.register_script(_DISCARD)
        self._acquire = self._redis.register_script(_ACQUIRE)
        self._renew = self._redis.register_script(_RENEW)
        self._release = self._redis.register_script(_RELEASE)

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
        keys = ["value:" + aggregate, "unpublished", "deadlines", "lease", "deadline-names"]
        try:
            answer = await self._save(
                keys=[self._key(k) for k in keys],
                args=[
                    self._token,
                    value.revision,
                    value.version,
                    value.state,
                    _join(value.outbox),
                    value.log_sequence,
                    aggregate,
                    "" if deadline is None else int(deadline.due.timestamp() * 1000),
                    "" if deadline is None else deadline.name,
                ],
            )
        except _AWAY as error:
            raise _away(error) from error
        if answer == b"fenced":
            raise Fenced(aggregate)
        if answer == b"conflict":
            raise Conflict(aggregate)

    async def forget(self, aggregate: str) -> None:
        try:
            answer = await self._forget(
                keys=[self._key("value:" + aggregate), self._key("lease")], args=[self._token]
            )
        except _AWAY as error:
            raise _away(error) from error
        if answer == b"fenced":
            raise Fenced(aggregate)

    async def discard(self, aggregate: str) -> None:
        keys = ["value:" + aggregate, "unpublished", "deadlines", "lease", "deadline-names"]
        try:
            answer = await self._discard(keys=[self._key(k) for k in keys], args=[self._token, aggregate])
        except _AWAY as error:
            raise _away(error) from error
        if answer == b"fenced":
            raise Fenced(aggregate)

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

    async def acquire(self, ttl_s: float) -> bool:
        try:
            keys = [self._key("lease"), self._key("incarnation")]
            return bool(await self._acquire(keys=keys, args=[self._token, int(ttl_s * 1000)]))
        except _AWAY as error:
            raise _away(error) from error

    async def renew(self, ttl_s: float) -> bool:
        try:
            return bool(await self._renew(keys=[self._key("lease")], args=[self._token, int(ttl_s * 1000)]))
        except _AWAY as error:
            raise _away(error) from error

    async def release(self) -> None:
        try:
            await self._release(keys=[self._key("lease")], args=[self._token])
        except _AWAY as error:
            raise _away(error) from error

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
    return Retryable(f"Redis is away: {error!r}")


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _join(parts: tuple[bytes, ...]) -> bytes:
    return b"\n".join(parts)


def _split(data: bytes) -> tuple[bytes, ...]:
    return tuple(data.split(b"\n")) if data else ()
