"""The checks of `bumpless doctor`: each a function from facts to what it found. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from bumpless.cli.doctor_facts import Facts, Finding, State, Taken
from bumpless.common.shell.topology import OLDEST_SERVER

SERVICES = ("planner", "health-gate", "rollback", "alerts", "events")
WITHOUT_LEASE = ("events",)
"""Any number of processes of it may work."""
ON_ITS_WAY = timedelta(seconds=60)
"""A message that waits longer, while none is taken, waits for nobody."""
SEEN_WITHIN = timedelta(seconds=60)
"""The planner counts nodes that were silent for longer as out."""
CLOCKS_AGREE = timedelta(seconds=5)
FREE_SHARE, FULL_SHARE = 0.1, 0.8
EXPIRES_WITHIN = timedelta(days=30)
LISTEN_FOR = timedelta(seconds=16)
"""A node says something every 15 s."""

Check = Callable[[Facts], Iterable[Finding]]


def _well(check: str, found: str) -> Finding:
    return Finding(check, State.WELL, found)


def _wrong(check: str, found: str, expected: str, do: str) -> Finding:
    return Finding(check, State.WRONG, found, expected, do)


def _unknown(check: str, found: str, do: str) -> Finding:
    return Finding(check, State.UNKNOWN, found, "", do)


def broker_reached(facts: Facts) -> Iterable[Finding]:
    broker, check = facts.broker, "broker"
    if broker.reached:
        yield _wrong(
            check,
            broker.reached,
            f"a broker at {broker.url} that knows our key",
            "start it, or name the right one with --nats; docs/runbooks/broker-lost.md",
        )
        return
    version = ".".join(map(str, broker.version))
    if broker.version[:2] < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        yield _wrong(check, f"nats-server {version}", f"nats-server {oldest} or newer", "install a newer one")
    else:
        yield _well(check, f"nats-server {version} at {broker.url}")


def streams(facts: Facts) -> Iterable[Finding]:
    broker = facts.broker
    for name in broker.missing:
        yield _wrong(
            f"stream {name}",
            "no such stream",
            "one, as the planner declares it",
            "start the planner, which makes it; if it was there before, docs/runbooks/broker-lost.md",
        )
    for name, faults in broker.differs.items():
        if faults:
            yield _wrong(
                f"stream {name}",
                "; ".join(faults),
                "the settings that this version declares",
                "somebody changed it, or the planner is of another version: restart the planner, which sets them again",
            )
        else:
            yield _well(f"stream {name}", "as declared")


def storage(facts: Facts) -> Iterable[Finding]:
    found, check = facts.broker.storage, "broker's disk"
    if found is None:
        return
    if found.disk_free is not None and found.disk_size:
        text = f"{_size(found.disk_free)} of {_size(found.disk_size)} free, {_size(found.used)} in streams"
        if found.disk_free < FREE_SHARE * found.disk_size:
            yield _wrong(
                check,
                text,
                f"at least {FREE_SHARE:.0%} free",
                "make room: `bumpless artifact gc` removes packages that nothing names",
            )
        else:
            yield _well(check, text)
    elif found.limit is not None:
        text = f"{_size(found.used)} of {_size(found.limit)} in streams"
        if found.used > FULL_SHARE * found.limit:
            yield _wrong(
                check,
                text,
                f"at most {FULL_SHARE:.0%} used",
                "raise the account's limit, or `bumpless artifact gc`",
            )
        else:
            yield _well(check, text)
    else:
        yield _unknown(
            check,
            f"{_size(found.used)} in streams, without a limit; the disk is on another machine",
            "run it where the broker is, with --broker-dir DIRECTORY",
        )


def store_reached(facts: Facts) -> Iterable[Finding]:
    store, check = facts.store, "state store"
    if store is None:
        yield _unknown(check, "no Redis is named", "name that of the services with --redis URL")
    elif store.reached:
        yield _wrong(
            check,
            store.reached,
            "a Redis that the services use",
            "start it, or name the right one with --redis; docs/runbooks/redis-lost.md",
        )
    else:
        yield _well(check, f"Redis at {store.url}")


def store_persists(facts: Facts) -> Iterable[Finding]:
    store, check = facts.store, "state store's disk"
    if store is None or store.reached:
        return
    if store.append_only is False:
        yield _wrong(check, "appendonly no", "appendonly yes", "set it in redis.conf, and restart Redis")
    elif store.flush is not None and store.flush != "always":
        yield _wrong(
            check,
            f"appendfsync {store.flush}",
            "appendfsync always",
            "set it in redis.conf, and restart Redis",
        )
    elif store.last_write != "ok":
        yield _wrong(
            check, f"the last write of the append-only file: {store.last_write}", "ok", "look at its disk"
        )
    elif store.append_only is None or store.flush is None:
        yield _unknown(check, "our user may not ask Redis for its settings", "let it use CONFIG GET and INFO")
    else:
        yield _well(check, "appendonly yes, appendfsync always")


def store_keeps(facts: Facts) -> Iterable[Finding]:
    store = facts.store
    if store is None or store.reached:
        return
    if store.policy not in (None, "noeviction"):
        yield _wrong(
            "state store's memory",
            f"maxmemory-policy {store.policy}",
            "noeviction",
            "it would drop the state of rollouts when memory is short: set it in redis.conf",
        )
    if store.role != "master":
        yield _wrong(
            "state store's role",
            store.role,
            "a primary",
            "services must write to the one primary; name it in their settings",
        )


def keys(facts: Facts) -> Iterable[Finding]:
    if facts.trust is not None:
        yield _wrong(
            "trusted keys",
            facts.trust,
            "a list of trusted keys that can be read",
            "copy it from another machine of the site, or make one with `bumpless keys trust`",
        )
    for key in facts.keys:
        check = f"{key.name} key"
        if key.fault:
            yield _wrong(
                check,
                key.fault,
                f"a private key at {key.path} that its owner alone can read",
                "chmod 600, or restore it",
            )
        elif not key.trusted and facts.trust is None:
            yield _wrong(
                check,
                "the trusted keys do not have it in that role",
                "a key that nodes and services trust",
                f"`bumpless keys trust {key.name} {key.path}`, and the same list on every node; docs/runbooks/key-rotation.md",
            )
        elif key.trusted:
            yield _well(check, f"{key.path}, trusted")


def processes(facts: Facts) -> Iterable[Finding]:
    """What ports of services and executors answer; those that have one."""
    for name, answer in sorted(facts.health.items()):
        if answer == "ok":
            continue
        yield _wrong(
            f"process {name}",
            "no answer on its port" if answer is None else f"its port says: {answer}",
            "ok on /healthz",
            "look at its log, and whether broker and store are there",
        )


def services(facts: Facts) -> Iterable[Finding]:
    """Whether somebody works: by the lease where it can be seen, by who asks for messages otherwise."""
    broker, store = facts.broker, facts.store
    if broker.reached:
        return
    for name in SERVICES:
        mine = [one for one in broker.consumers if one.service == name]
        check = f"service {name}"
        lease = None if store is None or store.reached or name in WITHOUT_LEASE else name in store.leases
        absent = any(one.asking[1] == 0 for one in mine) or not mine
        gone = [one for one in broker.missing_consumers if one.partition(" of ")[0] == name]
        if gone:
            yield _wrong(
                check, f"no consumer {', '.join(gone)}", "all that it declares", "start it: it makes them"
            )
        elif lease is False or absent:
            nobody = "nobody holds its lease" if lease is False else "nobody asks for its messages"
            yield _wrong(
                check,
                nobody,
                "a process that works",
                f"start it; docs/runbooks/planner-dead.md{_optional(name)}",
            )
        elif stuck := [one for one in mine if _stuck(one, facts)]:
            yield _wrong(
                check,
                "; ".join(f"{one.waiting} messages of {one.stream} wait" for one in stuck)
                + f", none was taken for {ON_ITS_WAY.seconds} s",
                "messages that are taken as they come",
                "look at its log: it hangs, or one message is tried again and again",
            )
        else:
            waiting = sum(one.waiting + one.unacknowledged for one in mine)
            yield _well(check, f"works, {waiting} messages wait")


def one_control_plane(facts: Facts) -> Iterable[Finding]:
    """Two processes that take a service's messages at once cannot hold the same lease."""
    if facts.listened <= timedelta(seconds=2):
        return
    twice = {
        one.service
        for one in facts.broker.consumers
        if one.service not in WITHOUT_LEASE and one.asking[0] > 1
    }
    if twice:
        yield _wrong(
            "one control plane",
            f"several processes work as {', '.join(sorted(twice))}",
            "one, who holds the lease",
            "two control planes with different Redis use this broker: stop one, or give it a broker or account of its own",
        )


def nodes_seen(facts: Facts) -> Iterable[Finding]:
    if facts.nodes is None:
        return
    silent = [one for one in facts.nodes if facts.now - one.seen > SEEN_WITHIN]
    for one in silent:
        yield _wrong(
            f"node {one.node}",
            f"last heard {_age(facts.now - one.seen)} ago",
            f"a word every 15 s, {SEEN_WITHIN.seconds} s at the most",
            "docs/runbooks/node-lost.md",
        )
    if not silent:
        yield _well("nodes", f"{len(facts.nodes)}, all heard lately")


def clocks(facts: Facts) -> Iterable[Finding]:
    do = (
        "have it kept by NTP (chrony or systemd-timesyncd): limits, expiry of commands and gates go by clocks"
    )
    ours = facts.broker.clock
    if ours is not None and abs(ours) > CLOCKS_AGREE:
        yield _wrong("clock here", _off(ours), "the broker's time", do)
    off = [one for one in facts.nodes or () if one.ahead is not None and abs(one.ahead) > CLOCKS_AGREE]
    for one in off:
        assert one.ahead is not None
        yield _wrong(f"clock of {one.node}", _off(one.ahead), "the broker's time", do)
    if not off and ours is not None and abs(ours) <= CLOCKS_AGREE:
        yield _well("clocks", f"all within {CLOCKS_AGREE.seconds} s of the broker's")


def rivals(facts: Facts) -> Iterable[Finding]:
    """Nodes under whose name more than one executor speaks."""
    check = "one executor per node"
    if facts.nodes is None:
        return
    if facts.listened < LISTEN_FOR:
        yield _unknown(check, "nodes were not listened to for long enough", f"--listen {LISTEN_FOR.seconds}")
    twice = [one for one in facts.nodes if len(one.executors) > 1]
    for one in twice:
        yield _wrong(
            f"node {one.node}",
            f"{len(one.executors)} executors speak for it: " + " | ".join(sorted(one.executors)),
            "one",
            "stop one of them, or give it another name; two installations must not have nodes of the same name at one broker",
        )
    if not twice and facts.listened >= LISTEN_FOR:
        yield _well(check, "no name is used twice")


def parked(facts: Facts) -> Iterable[Finding]:
    if facts.parked is None:
        return
    for one in facts.parked:
        yield _wrong(
            f"parked by {one.service}",
            f"{one.count} messages, the last {_age(facts.now - one.last)} ago: {one.reason}",
            "none",
            "docs/runbooks/messages-parked.md; copies go after 30 days",
        )
    if not facts.parked:
        yield _well("parked messages", "none")


def certificates(facts: Facts) -> Iterable[Finding]:
    for one in facts.certificates:
        check = f"certificate of {one.of}"
        if one.fault or one.ends is None:
            yield _wrong(check, one.fault or "no end", "a certificate that can be read and is good", one.do)
        elif one.ends <= facts.now:
            yield _wrong(
                check, f"it ended {_age(facts.now - one.ends)} ago", "one that is good", "replace it now"
            )
        elif one.ends - facts.now < EXPIRES_WITHIN:
            yield _wrong(
                check,
                f"it ends in {_age(one.ends - facts.now)}",
                f"more than {EXPIRES_WITHIN.days} days",
                "replace it",
            )
        else:
            yield _well(check, f"good until {one.ends:%Y-%m-%d}")


CHECKS: tuple[Check, ...] = (
    broker_reached,
    streams,
    storage,
    store_reached,
    store_persists,
    store_keeps,
    keys,
    services,
    processes,
    one_control_plane,
    nodes_seen,
    rivals,
    clocks,
    parked,
    certificates,
)


def judged(facts: Facts) -> list[Finding]:
    return [finding for check in CHECKS for finding in check(facts)]


def _stuck(one: Taken, facts: Facts) -> bool:
    return one.waiting > 0 and (one.last is None or facts.now - one.last > ON_ITS_WAY)


def _optional(name: str) -> str:
    return "" if name != "events" else "; without it no other tool is told anything"


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def _age(time: timedelta) -> str:
    seconds = time.total_seconds()
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _off(time: timedelta) -> str:
    return f"{_age(abs(time))} {'ahead' if time > timedelta() else 'behind'}"
