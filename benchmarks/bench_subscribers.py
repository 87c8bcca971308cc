"""What 200 browsers that watch cost the orchestration: the same rollouts with and without them, taking turns.

    make bench-subscribers

A real nats-server that syncs every write, a real Redis, planner, health gate and rollback as `bumpless up` starts them, and
one process that answers for NODES nodes as fast as it can: all of them on one processor, which stands for the machine of the
control plane. The browsers are on another one, because they are on other machines. What stands beside the control plane:

without: nobody.
elsewhere: the real dashboard, and browsers that log in, follow the list of rollouts and the page of the one under way. The
dashboard is on the processor of the browsers, as if on another machine.
beside: the same, with the dashboard on the control plane's processor, at the priority that it has under `bumpless up`.
direct: every browser has a consumer of its own at the broker, which then sends everything 200 times. Only with
BENCH_KINDS=direct; no goal holds it.

So that it makes no difference to caches and clock whether somebody watches, what is left of both processors is burnt at idle
priority, in every rollout.

Of each rollout: steps per second of wall time, from the announcement to success, and steps per CPU second of broker, store
and services together, which a busy machine disturbs less. What is lost is the median, over pairs, of a rollout against its
neighbour without browsers; who of the two goes first changes from pair to pair. Writes `build/bench/subscribers.json`.
"""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bumpless.cli.embedded import Layout
from bumpless.cli.home import Home
from bumpless.common.access.entry import Entry
from bumpless.common.access.rights import ADMIN
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects
from bumpless.common.contract.announcing import announcement
from bumpless.common.contract.base import canonical_json
from bumpless.common.contract.envelope import RELEASE_TYPE
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.rollout import rollout_id
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.reading import readable
from bumpless.common.shell.topology import ensure_topology
from subscribers.browsers import watch
from subscribers.nodes import release, serve_fleet
from subscribers.plane import (
    SESSION,
    TICKS,
    cpu_s,
    dashboard,
    nice_session,
    no_processor_idles,
    on,
    parts,
    two_processors,
)

NODES = int(os.environ.get("BENCH_NODES", "1000"))
BROWSERS = int(os.environ.get("BENCH_BROWSERS", "200"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "8"))
KINDS = tuple(os.environ.get("BENCH_KINDS", "elsewhere,beside").split(","))
IN_A_ROW = 3
"""Rollouts with browsers in each round, after and before one without them. The first is not counted: a dashboard that has
just started still reads what there was."""
MOST_LOST = 0.05
LIMIT_S = 300.0
OUT = Path(__file__).resolve().parent.parent / "build" / "bench" / "subscribers.json"
Run = dict[str, float]
Pair = tuple[Run, Run]
RATES = {
    "steps_per_s": "steps per second",
    "steps_per_cpu_s": "steps per CPU second of broker, store and services",
}


@contextlib.asynccontextmanager
async def helper(*what: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of this file, from when it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        *what,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    nice_session(process.pid, SESSION)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            if await process.stdout.readline() != b"ready\n":
                raise SystemExit(f"expected the {what[0]} to be ready, found that it ended")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def rollout(
    connection: Connection, key: SigningKey, version: str, pids: dict[str, int], beside: dict[str, int]
) -> Run:
    """Roll a version out to every node. Rates are in steps, one per node; what is `beside` does not count into them."""
    made = release(version, NODES)
    envelope = key.sign(RELEASE_TYPE, canonical_json(made.model_dump(mode="json")))
    wanted = rollout_id(made.product, made.digest, 0)
    before = {name: cpu_s(pid) for name, pid in (pids | beside).items()}
    began = time.perf_counter()
    await connection.publish(
        announcement(made.product, made.digest, envelope, at=clock.now(), by="bench"), source="ci"
    )
    ends = [
        subjects.subject_for(kind, rollout=wanted)
        for kind in (e.RolloutSucceeded, e.RolloutFailed, e.ReleaseRefused)
    ]
    async with asyncio.timeout(LIMIT_S):
        while not (found := await connection.last(Stream.RO, ends)):  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.01)
    took = time.perf_counter() - began
    if not readable(found, e.RolloutSucceeded):
        raise SystemExit(f"expected {version} to succeed, found {found[0].data[:500]!r}")
    used = {name: cpu_s(pid) - before[name] for name, pid in (pids | beside).items()}
    return {
        "steps_per_s": NODES / took,
        "steps_per_cpu_s": NODES / max(sum(used[name] for name in pids), 1 / TICKS),
        **{f"{name}_cpu_s": round(seconds, 2) for name, seconds in used.items()},
    }


@contextlib.asynccontextmanager
async def watched(
    kind: str, where: Layout, home: Home, ours: int, others: int
) -> AsyncIterator[dict[str, int]]:
    """Browsers are there; gives the dashboard's process, by name; at the end they have been shown the success of every rollout meanwhile."""
    pids: dict[str, int] = {}
    async with contextlib.AsyncExitStack() as stack:
        address = where.nats_url
        if kind != "direct":
            with on(ours if kind == "beside" else others):
                pids["dashboard"] = stack.enter_context(dashboard(home, where))
            address = where.dashboard_url
        with on(others):
            key = home.seed(ADMIN) if kind == "direct" else home.dashboard_secret
            watching = helper("watch", kind, str(BROWSERS), address, str(key))
            browsers = await stack.enter_async_context(watching)
        before = await _shown(browsers)
        yield pids
        async with asyncio.timeout(LIMIT_S):
            while await _shown(browsers) - before < IN_A_ROW * BROWSERS:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)


async def _shown(browsers: asyncio.subprocess.Process) -> int:
    assert browsers.stdin is not None
    assert browsers.stdout is not None
    browsers.stdin.write(b"\n")
    said = await browsers.stdout.readline()
    if not said:
        raise SystemExit("expected the browsers to watch, found that their process ended")
    return int(said)


async def measured(
    where: Layout, home: Home, pids: dict[str, int], ours: int, others: int
) -> dict[str, list[Pair]]:
    """By kind, pairs of a rollout with browsers and its neighbour without."""
    entry = Entry(where.nats_url, home.seed(ADMIN))
    connection = await Connection.connect(entry, name="bench")
    await ensure_topology(connection)
    key = SigningKey.load(home.release_key)
    names = (f"v{number}" for number in itertools.count())
    found: dict[str, list[Pair]] = {kind: [] for kind in KINDS}

    async def one(beside: dict[str, int] | None = None) -> Run:
        return await rollout(connection, key, next(names), pids, beside or {})

    async with helper("fleet", where.nats_url, str(home.seed(ADMIN)), str(NODES)):
        await one()
        for _ in range(ROUNDS):
            for kind in KINDS:
                first = await one()
                async with watched(kind, where, home, ours, others) as beside:
                    _, second, third = [await one(beside) for _ in range(IN_A_ROW)]
                found[kind] += [(second, first), (third, await one())]
    await connection.close()
    return found


def lost(pairs: list[Pair], rate: str) -> float:
    """The share by which the rate is lower with browsers."""
    return 1 - statistics.median(run[rate] / alone[rate] for run, alone in pairs)


def goals(found: dict[str, list[Pair]]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{what} lost while {BROWSERS} browsers watch ({kind}) a rollout on {NODES} nodes",
            "goal": f"< {MOST_LOST:.0%}",
            "measured": round(100 * lost(pairs, rate), 1),
            "unit": "%",
            "holds": lost(pairs, rate) < MOST_LOST,
        }
        for kind, pairs in found.items()
        for rate, what in RATES.items()
    ]


async def main() -> None:
    home = Home(Path(tempfile.mkdtemp(prefix="bench-")))
    if SESSION:
        nice_session(os.getpid(), SESSION)
    try:
        ours, others = two_processors()
        with on(ours), parts(home) as (where, pids), no_processor_idles(ours, others):
            found = await measured(where, home, pids, ours, others)
    finally:
        shutil.rmtree(home.path, ignore_errors=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"goals": goals(found), "pairs": found}, indent=2) + "\n")
    for goal in goals(found):
        print(
            f"{goal['name']}: {goal['measured']} %, goal {goal['goal']}: {'holds' if goal['holds'] else 'does not hold'}"
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fleet", address, seed, nodes]:
            asyncio.run(serve_fleet(Entry(address, Path(seed)), int(nodes)))
        case ["watch", how, number, address, secret]:
            asyncio.run(watch(how, int(number), address, secret))
        case _:
            asyncio.run(main())
