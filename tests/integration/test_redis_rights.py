"""A real Redis with the users that `bumpless` writes: each service works with its own keys, and can do nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from bumpless.cli.identities import Identities
from bumpless.common.access import redis_users
from bumpless.common.access.redis_entry import RedisEntry
from bumpless.common.access.rights import ADMIN, OPERATOR
from bumpless.common.engine.decision import Deadline
from bumpless.common.errors import Refused, Retryable
from bumpless.common.shell.state import Fenced, RedisState, Stored, lease_key
from support.plans import at
from support.servers import RedisServer

FORBIDDEN = {
    "another service's state": ("HGETALL", "bumpless:other:value:r1"),
    "another service's lease": ("SET", "bumpless:other:lease", "mine"),
    "a lease watched that is another's": ("WATCH", "bumpless:other:lease"),
    "a key of nobody's": ("SET", "anything", "1"),
    "a script": ("EVAL", "return 1", "0"),
    "a script to be kept": ("SCRIPT", "LOAD", "return 1"),
    "a script that is kept": ("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"),
    "settings changed": ("CONFIG", "SET", "dir", "/"),
    "users listed": ("ACL", "LIST"),
    "a user made": ("ACL", "SETUSER", "guest", "on", "nopass", "~*", "+@all"),
    "everything thrown away": ("FLUSHALL",),
    "its database thrown away": ("FLUSHDB",),
    "all keys": ("KEYS", "*"),
    "keys walked through": ("SCAN", "0"),
    "a copy to another server": ("REPLICAOF", "127.0.0.1", "6379"),
    "a key moved to another server": ("MIGRATE", "127.0.0.1", "6379", "bumpless:other:lease", "0", "1"),
    "a module": ("MODULE", "LIST"),
    "the end": ("SHUTDOWN", "NOSAVE"),
    "a file written": ("SAVE",),
    "others watched": ("MONITOR",),
    "others cut off": ("CLIENT", "KILL", "TYPE", "normal"),
    "messages to others": ("PUBLISH", "x", "y"),
}
OPERATORS_TOO = {
    "a lease taken": ("SET", "bumpless:planner:lease", "mine"),
    "a state removed": ("DEL", "bumpless:planner:value:r1"),
    "a deadline moved": ("ZADD", "bumpless:planner:deadlines", "0", "r1"),
    "settings changed": ("CONFIG", "SET", "dir", "/"),
    "a script": ("EVAL", "return 1", "0"),
    "everything thrown away": ("FLUSHALL",),
}


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    found = Identities(tmp_path_factory.mktemp("site") / "access")
    found.ensure()
    return found


@pytest.fixture(scope="module")
def guarded(identities: Identities) -> Iterator[RedisServer]:
    with RedisServer(users=identities.redis_users) as server:
        yield server


def connected(server: RedisServer, identities: Identities, name: str) -> Redis:
    entry = RedisEntry(server.url, name, identities.seed(name))
    return Redis.from_url(entry.url, **entry.options())


@pytest.mark.parametrize("owner", redis_users.OWNERS)
async def test_a_service_keeps_its_state(guarded: RedisServer, identities: Identities, owner: str) -> None:
    state = RedisState(RedisEntry(guarded.url, owner, identities.seed(owner)), owner, "mine")
    assert await state.acquire(60)
    assert not await state.known()
    await state.mark()
    value = Stored(version=1, revision=1, state=b"{}", outbox=(b"m",), log_sequence=1)
    await state.save("r1", value, Deadline("step", at(0)))
    assert await state.load("r1") == value
    assert (await state.unpublished(), await state.waiting()) == (["r1"], ["r1"])
    assert [name for name, _ in await state.due(at(60))] == ["r1"]
    assert await state.renew(60)
    await state.forget("r1")
    await state.discard("r1")
    assert await state.known()
    facts = await state.facts()
    assert (facts.append_only, facts.fsync) == (True, "always")
    await state.release()
    with pytest.raises(Fenced):
        await state.save("r1", value, None)
    await state.close()


@pytest.mark.parametrize("words", FORBIDDEN.values(), ids=FORBIDDEN)
@pytest.mark.parametrize("owner", redis_users.OWNERS)
def test_a_service_may_do_nothing_else(
    guarded: RedisServer, identities: Identities, owner: str, words: tuple[str, ...]
) -> None:
    with connected(guarded, identities, owner) as found, pytest.raises(NoPermissionError):
        found.execute_command(*words)


@pytest.mark.parametrize("words", OPERATORS_TOO.values(), ids=OPERATORS_TOO)
def test_people_look_and_change_nothing(
    guarded: RedisServer, identities: Identities, words: tuple[str, ...]
) -> None:
    with connected(guarded, identities, OPERATOR) as found:
        assert found.get(lease_key("planner")) is None
        with pytest.raises(NoPermissionError):
            found.execute_command(*words)


def test_the_administrator_may_do_everything(guarded: RedisServer, identities: Identities) -> None:
    with connected(guarded, identities, ADMIN) as found:
        assert found.flushall()


def test_nobody_comes_without_a_key(guarded: RedisServer, identities: Identities, tmp_path: Path) -> None:
    with Redis.from_url(guarded.url) as found, pytest.raises(AuthenticationError):
        found.get("x")
    stranger = Identities(tmp_path / "access")
    stranger.ensure()
    with connected(guarded, stranger, "planner") as found, pytest.raises(AuthenticationError):
        found.get("x")


async def test_a_service_says_that_redis_does_not_know_it(guarded: RedisServer, tmp_path: Path) -> None:
    stranger = Identities(tmp_path / "access")
    stranger.ensure()
    entry = RedisEntry(guarded.url, "planner", stranger.seed("planner"))
    state = RedisState(entry, "planner", "mine")
    with pytest.raises(Retryable, match="found no such user with this password"):
        await state.facts()
    await state.close()


def test_a_key_and_a_user_are_not_both_given(identities: Identities) -> None:
    entry = RedisEntry("redis://planner:x@127.0.0.1/0", "planner", identities.seed("planner"))
    with pytest.raises(Refused, match="a key or a user in the URL"):
        entry.options()


def test_authorities_mean_an_encrypted_connection(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="rediss://"):
        RedisEntry("redis://127.0.0.1/0", ca=tmp_path / "ca.pem").options()
    with pytest.raises(Refused, match="no such file"):
        RedisEntry("rediss://127.0.0.1/0", ca=tmp_path / "ca.pem").options()


def test_both_keys_are_good_while_one_is_exchanged(tmp_path: Path) -> None:
    found = Identities(tmp_path / "access")
    found.ensure()
    old = redis_users.digest(found.seed("planner"))
    found.rotate("planner", "services")
    new = redis_users.digest(found.seed("planner"))
    assert old != new
    assert f"user planner reset on #{old} #{new} " in found.redis_users.read_text()
    found.settle("planner", "services")
    assert f"user planner reset on #{new} " in found.redis_users.read_text()
