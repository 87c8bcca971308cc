"""What is too weak to be started on, as a table, and as real Redis servers say it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from bumpless.common.errors import Refused
from bumpless.common.settings import BrokerSettings
from bumpless.common.shell.deployment import StoreFacts, Weakness, admit, unknown, weaknesses
from bumpless.common.shell.state import RedisState

STRONG = StoreFacts(append_only=True, fsync="always", eviction="noeviction")


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (STRONG, []),
        (StoreFacts(), []),
        (StoreFacts(False, "everysec", "noeviction"), ["volatile-redis"]),
        (StoreFacts(True, "everysec", "noeviction"), ["late-redis"]),
        (StoreFacts(True, "no", "allkeys-lru"), ["late-redis", "evicting-redis"]),
        (StoreFacts(None, None, "volatile-ttl"), ["evicting-redis"]),
    ],
)
def test_what_is_weak(facts: StoreFacts, found: list[str]) -> None:
    assert [weak.weakness for weak in weaknesses(facts)] == found
    for weak in weaknesses(facts):
        others = {each.weakness for each in weaknesses(facts)} - {weak.weakness}
        with pytest.raises(Refused, match=f'ACCEPT=.*"{weak.weakness}"'):
            admit(facts, others)
    assert admit(facts, set(Weakness)) == weaknesses(facts)


def test_what_is_not_said_is_named() -> None:
    assert unknown(STRONG) == ()
    assert unknown(StoreFacts(append_only=True)) == ("appendfsync", "maxmemory-policy")
    assert unknown(StoreFacts(append_only=False, eviction="noeviction")) == ()


def test_a_name_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BrokerSettings.read(accept=["late-redis"]).accept == {Weakness.LATE_REDIS}
    with pytest.raises(Refused, match="volatile-redis"):
        BrokerSettings.read(accept=["fast-redis"])


@contextlib.asynccontextmanager
async def asked(url: str) -> AsyncIterator[RedisState]:
    store = RedisState(url, "tried", "token")
    try:
        yield store
    finally:
        await store.close()


async def test_a_redis_as_ours_is_strong_and_one_that_was_changed_is_not(redis_url: str) -> None:
    async with asked(redis_url) as store, Redis.from_url(redis_url) as people:
        assert await store.facts() == STRONG
        await people.config_set("appendfsync", "everysec")
        await people.config_set("maxmemory", "100mb")
        await people.config_set("maxmemory-policy", "allkeys-lru")
        assert await store.facts() == StoreFacts(True, "everysec", "allkeys-lru")
        await people.config_set("appendonly", "no")
        assert (await store.facts()).append_only is False


async def test_who_may_not_read_settings_reads_what_everybody_is_told(redis_url: str) -> None:
    async with asked(redis_url) as store, Redis.from_url(redis_url) as people:
        await people.execute_command("ACL", "SETUSER", "default", "-config")
        assert await store.facts() == StoreFacts(append_only=True, fsync=None, eviction="noeviction")


async def test_who_may_read_nothing_knows_nothing(redis_url: str) -> None:
    async with asked(redis_url) as store, Redis.from_url(redis_url) as people:
        await people.execute_command("ACL", "SETUSER", "default", "-config", "-info")
        assert await store.facts() == StoreFacts()
