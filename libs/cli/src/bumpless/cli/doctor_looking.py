"""Looks at a deployment for `bumpless doctor`: what cannot be reached or may not be asked is a fact too, not an error."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio
import redis.exceptions
from nats.js import api

from bumpless.cli.doctor_checks import SERVICES
from bumpless.cli.doctor_facts import Broker, Certificate, Facts, Heard, Key, Parked, Storage, Store, Taken
from bumpless.cli.doctor_tls import authorities, of_broker, of_redis
from bumpless.common.access.entry import Entry
from bumpless.common.access.redis_entry import RedisEntry
from bumpless.common.access.untrusted import untrusted
from bumpless.common.artifacts.errors import ArtifactError
from bumpless.common.artifacts.signing import PublicKey, Role, SigningKey, TrustStore
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.subjects import STREAM_SUBJECTS, Stream
from bumpless.common.errors import ReleaseError, Retryable
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.nats_client import Away
from bumpless.common.shell.reading import read
from bumpless.common.shell.state import lease_key
from bumpless.common.shell.stream_settings import differences
from bumpless.common.shell.topology import DURABLES, KEEPERS_OWN
from bumpless.common.shell.topology import streams as streams_declared

ANSWER_S = 3.0
LOOK_EVERY_S = 0.5
NOT_THERE = (10059, 10014)
"""Error codes of the broker: no such stream, no such consumer."""


@dataclass(frozen=True)
class Where:
    """What to look at. `health` has addresses by the names of processes, `broker_dir` is the broker's directory on this
    machine; `listen_s` is for how long nodes are listened to."""

    entry: Entry
    store: RedisEntry | None = None
    keys: Path | None = None
    trust: Path | None = None
    health: Mapping[str, str] = field(default_factory=dict)
    broker_dir: Path | None = None
    listen_s: float = 16.0


async def look(where: Where) -> Facts:
    """All facts; takes about `listen_s`."""
    store, health, found = await asyncio.gather(
        _store(where.store), _health(where.health), _through_broker(where)
    )
    trust, keys = _keys(where)
    broker, nodes, parked, listened = found
    return Facts(
        now=clock.now(),
        broker=broker,
        store=store,
        trust=trust,
        keys=keys,
        health=health,
        nodes=nodes,
        listened=timedelta(seconds=listened),
        parked=parked,
        certificates=await _certificates(where),
    )


# the broker


_Seen = tuple[Broker, tuple[Heard, ...] | None, tuple[Parked, ...] | None, float]


async def _through_broker(where: Where) -> _Seen:
    try:
        connection = await Connection.connect(where.entry, name="bumpless-doctor", connect_timeout_s=ANSWER_S)
    except ReleaseError as error:
        return Broker(where.entry.url, reached=f"not reached: {error}"), None, None, 0.0
    try:
        version = connection.nc.connected_server_version
        streams = {name: await _asked(connection, subjects.stream_request("INFO", name)) for name in _names()}
        listening = asyncio.create_task(_nodes(connection, where.listen_s))
        consumers, absent = await _consumers(connection, max(where.listen_s, 5 * LOOK_EVERY_S))
        broker = Broker(
            url=where.entry.url,
            version=(version.major, version.minor, version.patch),
            differs={
                config.name or "": _differences(config, found["config"])
                for config in streams_declared(replicas=1)
                if (found := streams.get(config.name or "")) and "config" in found
            },
            missing=tuple(name for name, found in streams.items() if _code(found) in NOT_THERE),
            storage=await _storage(connection, where.broker_dir),
            consumers=consumers,
            missing_consumers=absent,
            clock=_ahead(await _asked(connection, subjects.stream_request("INFO", Stream.RO.value))),
        )
        return broker, await listening, await _parked(connection), where.listen_s
    finally:
        await connection.close()


def _names() -> Iterable[str]:
    return [stream.value for stream in Stream if stream is not Stream.CORE]


async def _asked(
    connection: Connection, subject: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The broker's answer, {} where there is none."""
    try:
        answer = await connection.nc.request(subject, json.dumps(body or {}).encode(), timeout=ANSWER_S)
        found = json.loads(answer.data)
    except (*Away, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _code(answer: Mapping[str, Any]) -> int:
    return int(answer.get("error", {}).get("err_code", 0))


def _differences(declared: api.StreamConfig, found: dict[str, Any]) -> tuple[str, ...]:
    """What the broker has other than it is declared. How many replicas there are is the site's choice."""
    other = differences(declared, api.StreamConfig.from_response(found), besides=KEEPERS_OWN)
    return tuple(map(str, other))


def _ahead(answer: Mapping[str, Any]) -> timedelta | None:
    """How far our clock is ahead of the broker's."""
    try:
        return clock.now() - datetime.fromisoformat(str(answer["ts"]))
    except (KeyError, ValueError):
        return None


async def _consumers(connection: Connection, for_s: float) -> tuple[tuple[Taken, ...], tuple[str, ...]]:
    """How the durable consumers stand, looked at again and again, and the names of those that are not there."""
    asking: dict[tuple[str, str], list[int]] = defaultdict(list)
    latest: dict[tuple[str, str], Mapping[str, Any]] = {}
    absent = set()
    deadline = asyncio.get_running_loop().time() + for_s
    while True:
        for durable in DURABLES:
            place = (durable.name, durable.stream.value)
            info = await _asked(
                connection, subjects.consumer_request("INFO", durable.stream.value, durable.name)
            )
            if _code(info) in NOT_THERE:
                absent.add(f"{durable.name} of {durable.stream.value}")
            elif "num_waiting" in info or "num_pending" in info:
                asking[place].append(int(info.get("num_waiting", 0)))
                latest[place] = info
        if asyncio.get_running_loop().time() >= deadline:
            break
        await asyncio.sleep(LOOK_EVERY_S)
    found = tuple(
        Taken(
            service=service,
            stream=stream,
            waiting=int(info.get("num_pending", 0)),
            unacknowledged=int(info.get("num_ack_pending", 0)),
            asking=(min(asking[service, stream]), max(asking[service, stream])),
            last=_moment(info.get("delivered", {}).get("last_active")),
        )
        for (service, stream), info in sorted(latest.items())
    )
    return found, tuple(sorted(absent))


def _moment(text: str | None) -> datetime | None:
    with contextlib.suppress(ValueError):
        return None if text is None else datetime.fromisoformat(text)
    return None


async def _storage(connection: Connection, directory: Path | None) -> Storage | None:
    info = await _asked(connection, subjects.ACCOUNT_INFO)
    if "storage" not in info:
        return None
    limit = int(info.get("limits", {}).get("max_storage", -1))
    disk = None
    if directory is not None:
        with contextlib.suppress(FileNotFoundError):
            disk = shutil.disk_usage(directory)
    return Storage(
        used=int(info["storage"]),
        limit=limit if limit > 0 else None,
        disk_free=None if disk is None else disk.free,
        disk_size=None if disk is None else disk.total,
    )


async def _nodes(connection: Connection, for_s: float) -> tuple[Heard, ...] | None:
    """What nodes said last, and who speaks for each over some time."""
    heard: dict[str, Heard] = {}
    wanted = subjects.subject_for(e.NodeObserved)
    try:
        for item in await connection.snapshot(Stream.INV, wanted):
            _hear(heard, item)
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(for_s),
                contextlib.aclosing(connection.follow(Stream.INV, wanted)) as said,
            ):
                async for item in said:
                    _hear(heard, item)
    except Retryable:
        return None
    return tuple(heard[name] for name in sorted(heard))


def _hear(heard: dict[str, Heard], item: Received) -> None:
    message = read(item)
    if not isinstance(message, e.NodeObserved):
        return
    node = message.node
    known = heard.get(node.name)
    who = f"{node.executor or 'one that does not say where it runs'} ({node.identity or 'no identity'})"
    before = (
        frozenset()
        if known is None
        else frozenset(one for one in known.executors if not one.endswith(f"({node.identity})"))
    )  # who was started again in the same directory is the same one
    heard[node.name] = Heard(
        node=node.name,
        seen=node.observed_at,
        ahead=None if item.at is None else node.observed_at - item.at,
        executors=before | {who},
    )


async def _parked(connection: Connection) -> tuple[Parked, ...] | None:
    wanted = STREAM_SUBJECTS[Stream.DLQ][0]
    info = await _asked(
        connection, subjects.stream_request("INFO", Stream.DLQ.value), {"subjects_filter": wanted}
    )
    counts = info.get("state", {}).get("subjects") or {}
    found: dict[str, Parked] = {}
    try:
        for item in await connection.snapshot(Stream.DLQ, wanted):
            message = read(item)
            if isinstance(message, e.MessageParked):
                known = found.get(message.service)
                last = message if known is None or message.at > known.last else None
                found[message.service] = Parked(
                    message.service,
                    counts.get(item.subject, 1) + (0 if known is None else known.count),
                    known.last if last is None and known is not None else message.at,
                    known.reason if last is None and known is not None else message.reason,
                )
    except Retryable:
        return None
    return tuple(found[name] for name in sorted(found))


# the state store


async def _store(entry: RedisEntry | None) -> Store | None:
    if entry is None:
        return None
    url = entry.url
    client = redis.asyncio.Redis.from_url(
        url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, **entry.options()
    )
    try:
        await client.ping()
        persistence = await _may(client.info("persistence"))
        flush = await _may(client.config_get("appendfsync"))
        policy = await _may(client.config_get("maxmemory-policy"))
        role = await _may(client.info("replication"))
        held = [name for name in SERVICES if await client.exists(lease_key(name))]
        enabled = persistence.get("aof_enabled")
        return Store(
            url=_without_password(url),
            append_only=None if enabled is None else bool(int(enabled)),
            flush=flush.get("appendfsync"),
            last_write=str(persistence.get("aof_last_write_status", "ok")),
            policy=policy.get("maxmemory-policy"),
            role=str(role.get("role", "master")),
            leases=frozenset(held),
        )
    except (redis.exceptions.RedisError, OSError) as error:
        why = "; ".join(untrusted(error) or (str(error),))
        return Store(_without_password(url), reached=f"not reached: {why}")
    finally:
        await client.aclose()


async def _may(asked: Any) -> Mapping[str, Any]:
    """The answer; nothing, where our user may not ask this."""
    try:
        found: Mapping[str, Any] = await asked
    except redis.exceptions.ResponseError:
        return {}
    return found


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


# keys, processes, certificates


def _keys(where: Where) -> tuple[str | None, tuple[Key, ...]]:
    """What is wrong with the list of trusted keys, and the private keys that are here."""
    fault: str | None = None
    trusted: frozenset[tuple[Role, PublicKey]] = frozenset()
    if where.trust is not None:
        try:
            trusted = TrustStore.load(where.trust).keys
        except (ArtifactError, OSError) as error:
            fault = str(error)
    found = []
    for role in (Role.RELEASE, Role.DEPLOY):
        path = None if where.keys is None else where.keys / f"{role}.key"
        if path is None or not path.exists():
            continue
        try:
            public = SigningKey.load(path).public
            found.append(Key(role.value, str(path), trusted=(role, public) in trusted))
        except (ArtifactError, OSError) as error:
            found.append(Key(role.value, str(path), fault=str(error)))
    return fault, tuple(found)


async def _health(addresses: Mapping[str, str]) -> dict[str, str | None]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
        answers = await asyncio.gather(*(_healthz(session, url) for url in addresses.values()))
    return dict(zip(addresses, answers, strict=True))


async def _healthz(session: aiohttp.ClientSession, url: str) -> str | None:
    try:
        async with session.get(url.rstrip("/") + "/healthz") as answer:
            return (await answer.text()).strip()[:200]
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


async def _certificates(where: Where) -> tuple[Certificate, ...]:
    broker, store = where.entry, where.store
    named = {one.ca: None for one in (broker, store) if one is not None and one.ca is not None}
    found = [certificate for ca in named for certificate in authorities(ca)]
    if broker.ca is not None:
        found.append(await of_broker(broker, ANSWER_S))
    if store is not None and store.url.startswith("rediss://"):
        found.append(await of_redis(store, ANSWER_S))
    return tuple(found)
