"""What `bumpless doctor` makes of facts: a row for each thing that can be wrong, and none where all is well."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bumpless.cli.doctor_checks import judged
from bumpless.cli.doctor_facts import (
    Broker,
    Certificate,
    Facts,
    Heard,
    Key,
    Parked,
    State,
    Storage,
    Store,
    Taken,
)
from bumpless.common.shell.topology import DURABLES

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
LATELY = NOW - timedelta(seconds=5)
GIB = 1 << 30


def taken(service: str, stream: str, **more: Any) -> Taken:
    return Taken(
        **{
            "service": service,
            "stream": stream,
            "waiting": 0,
            "unacknowledged": 0,
            "asking": (1, 1),
            "last": LATELY,
            **more,
        }
    )


BROKER = Broker(
    url="nats://site",
    version=(2, 15, 0),
    differs={"RO": (), "CMD": ()},
    storage=Storage(used=GIB, disk_free=50 * GIB, disk_size=100 * GIB),
    consumers=tuple(taken(one.name, one.stream.value) for one in DURABLES),
    clock=timedelta(milliseconds=20),
)
STORE = Store(
    url="redis://site",
    append_only=True,
    flush="always",
    policy="noeviction",
    leases=frozenset({"planner", "health-gate", "rollback", "alerts"}),
)
NODE = Heard("web-1", LATELY, timedelta(milliseconds=-30), frozenset({"pid 1"}))
WELL = Facts(
    now=NOW,
    broker=BROKER,
    store=STORE,
    keys=(Key("deploy", "/k/deploy.key"), Key("release", "/k/release.key")),
    health={"planner": "ok", "web-1": "ok"},
    nodes=(NODE,),
    listened=timedelta(seconds=16),
    parked=(),
    certificates=(Certificate("the broker", NOW + timedelta(days=300)),),
)


def consumers(service: str, **changed: Any) -> Facts:
    """One service's consumers are otherwise."""
    found = tuple(replace(one, **changed) if one.service == service else one for one in BROKER.consumers)
    return replace(WELL, broker=replace(BROKER, consumers=found))


def broker(**changed: Any) -> Facts:
    return replace(WELL, broker=replace(BROKER, **changed))


def store(**changed: Any) -> Facts:
    return replace(WELL, store=replace(STORE, **changed))


CASES: list[tuple[Facts, str, str, str]] = [
    (broker(reached="not reached: no route"), "broker", "no route", "start it"),
    (broker(version=(2, 9, 11)), "broker", "nats-server 2.9.11", "newer"),
    (broker(missing=("RO",)), "stream RO", "no such stream", "planner"),
    (
        broker(differs={"RO": ("max_age is 1, not 2",)}),
        "stream RO",
        "max_age is 1, not 2",
        "restart the planner",
    ),
    (
        broker(storage=Storage(GIB, disk_free=GIB, disk_size=100 * GIB)),
        "broker's disk",
        "1.0 GiB of 100.0 GiB free",
        "artifact gc",
    ),
    (broker(storage=Storage(9 * GIB, limit=10 * GIB)), "broker's disk", "9.0 GiB of 10.0 GiB", "limit"),
    (store(reached="not reached: refused"), "state store", "refused", "redis-lost.md"),
    (store(append_only=False), "state store's disk", "appendonly no", "redis.conf"),
    (store(flush="everysec"), "state store's disk", "appendfsync everysec", "redis.conf"),
    (store(last_write="err"), "state store's disk", "err", "disk"),
    (store(policy="allkeys-lru"), "state store's memory", "allkeys-lru", "redis.conf"),
    (store(role="slave"), "state store's role", "slave", "primary"),
    (replace(WELL, trust="no such file"), "trusted keys", "no such file", "keys trust"),
    (replace(WELL, keys=(Key("deploy", "/k/d", fault="mode 0644"),)), "deploy key", "mode 0644", "chmod 600"),
    (
        replace(WELL, keys=(Key("deploy", "/k/d", trusted=False),)),
        "deploy key",
        "do not have it",
        "keys trust deploy /k/d",
    ),
    (
        store(leases=STORE.leases - {"planner"}),
        "service planner",
        "nobody holds its lease",
        "planner-dead.md",
    ),
    (broker(missing_consumers=("alerts of RO",)), "service alerts", "no consumer alerts of RO", "start it"),
    (consumers("rollback", asking=(0, 0)), "service rollback", "nobody asks", "start it"),
    (
        consumers("events", waiting=7, last=NOW - timedelta(minutes=5)),
        "service events",
        "7 messages of REL wait",
        "log",
    ),
    (consumers("planner", waiting=1, last=None), "service planner", "1 messages of REL wait", "log"),
    (consumers("planner", asking=(2, 3)), "one control plane", "planner", "two control planes"),
    (replace(WELL, health={"planner": None}), "process planner", "no answer", "log"),
    (replace(WELL, health={"planner": "not ready"}), "process planner", "not ready", "log"),
    (
        replace(WELL, nodes=(replace(NODE, seen=NOW - timedelta(minutes=12)),)),
        "node web-1",
        "12 min ago",
        "node-lost.md",
    ),
    (
        replace(WELL, nodes=(replace(NODE, executors=frozenset({"pid 1", "pid 2"})),)),
        "node web-1",
        "2 executors speak for it: pid 1 | pid 2",
        "stop one",
    ),
    (replace(WELL, nodes=(replace(NODE, ahead=timedelta(hours=3)),)), "clock of web-1", "3 h ahead", "NTP"),
    (broker(clock=timedelta(seconds=-40)), "clock here", "40 s behind", "NTP"),
    (
        replace(WELL, parked=(Parked("planner", 3, NOW - timedelta(hours=2), "failed 5 times"),)),
        "parked by planner",
        "3 messages, the last 2 h ago: failed 5 times",
        "messages-parked.md",
    ),
    (
        replace(WELL, certificates=(Certificate("the broker", NOW + timedelta(days=12)),)),
        "certificate of the broker",
        "it ends in 12 days",
        "replace",
    ),
    (
        replace(WELL, certificates=(Certificate("the broker", NOW - timedelta(days=3)),)),
        "certificate of the broker",
        "it ended 3 days ago",
        "now",
    ),
    (
        replace(WELL, certificates=(Certificate("the broker", fault="expired"),)),
        "certificate of the broker",
        "expired",
        "identities.md",
    ),
]


def test_where_all_is_well_everything_was_looked_at() -> None:
    assert {one.state for one in judged(WELL)} == {State.WELL}


@pytest.mark.parametrize(
    ("facts", "check", "found", "do"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_wrong_is_said_once_with_what_to_do(facts: Facts, check: str, found: str, do: str) -> None:
    wrong = [one for one in judged(facts) if one.state is State.WRONG]
    assert [one.check for one in wrong] == [check]
    assert found in wrong[0].found
    assert wrong[0].expected
    assert do in wrong[0].do


@pytest.mark.parametrize(
    ("facts", "check"),
    [
        (replace(WELL, store=None), "state store"),
        (store(append_only=None), "state store's disk"),
        (broker(storage=Storage(GIB)), "broker's disk"),
        (replace(WELL, listened=timedelta()), "one executor per node"),
    ],
)
def test_what_was_not_looked_at_is_neither_well_nor_wrong(facts: Facts, check: str) -> None:
    found = [one for one in judged(facts) if one.state is not State.WELL]
    assert [(one.check, one.state) for one in found] == [(check, State.UNKNOWN)]
    assert found[0].do
