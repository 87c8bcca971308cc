"""What a fleet that fetches costs its commands: 30 nodes take a 10 MB package from one broker, all at once, while
signed commands go to them and are answered.

    make bench-fetch

Compared in the same run, on a real nats-server that syncs every write: no fetch at all, the client library's own
`ObjectStore.get`, ours, and ours with the executor's settings for bandwidth and jitter. Nodes hear their commands on the
connection that they fetch over, as executors do. Writes `build/bench/fetch.json`.
"""

import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from broker import nats_server
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.artifacts.stores.blobs import hex_name
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.artifacts.stores.throttle import BURST_S, ThrottledBlobs, TokenBucket
from bumpless.common.contract import wire
from bumpless.common.contract.base import BatchId, Digest, PlanHash, RolloutId, derive_id
from bumpless.common.contract.commands import ApplyComponent
from bumpless.common.contract.envelope import COMMAND_TYPE
from bumpless.common.contract.subjects import ARTIFACT_BUCKET, commands_live, subject_of
from bumpless.common.model.plan import Direction, Target
from bumpless.common.model.release import Run
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology

NODES = int(os.environ.get("BENCH_NODES", "30"))
SIZE = int(os.environ.get("BENCH_BYTES", "10000000"))
RATE = float(os.environ.get("BENCH_BYTES_PER_S", "1000000"))
"""Per node and second, in the limited run."""
JITTER_S = 1.0
ROUNDS = 5
"""Runs of each kind; a package is fetched so fast without a limit that one has few commands in it."""
KINDS = ("idle", "library", "ours", "limited")
WORKERS = 2
IDLE_S = 3.0
HEARD = "bench.heard"
MEMORY = "/dev/shm"
"""Where nodes write: real ones do not share the broker's disk, which it syncs for every command."""
OUT = Path(__file__).resolve().parent.parent / "build" / "bench" / "fetch.json"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def fetch(connection: Connection, how: str, digest: str, into: Path) -> None:
    store = JetStreamBlobs(connection.js, ARTIFACT_BUCKET)
    match how:
        case "library":
            bucket = await connection.js.object_store(ARTIFACT_BUCKET)
            with open(into, "wb") as file:  # noqa: ASYNC230
                await bucket.get(hex_name(digest), writeinto=file)
        case "ours":
            await store.fetch(digest, into, size=SIZE)
        case "limited":
            await asyncio.sleep(random.uniform(0, JITTER_S))
            bucket_of_tokens = TokenBucket(RATE, asyncio.get_running_loop().time)
            await ThrottledBlobs(store, bucket_of_tokens).fetch(digest, into, size=SIZE)


async def nodes(url: str, how: str, digest: str, names: list[str]) -> None:
    """Connect and listen, say so, and fetch when a line comes in; answer commands until the input ends."""
    connections = []
    for name in names:
        connection = await Connection.connect(url, name=name)

        async def heard(received: Any, connection: Connection = connection) -> None:
            await connection.nc.publish(HEARD, received.data)

        await connection.subscribe(commands_live(name), heard)
        await connection.nc.flush()
        connections.append(connection)
    print("listening", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        await asyncio.gather(
            *(fetch(c, how, digest, Path(folder) / n) for c, n in zip(connections, names, strict=True))
        )
    print("fetched", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def signed(key: SigningKey, node: str, number: int) -> tuple[str, bytes]:
    target = Target(
        component="api",
        version="v2",
        root=Digest("sha256:" + "1" * 64),
        artifact=Digest("sha256:" + "2" * 64),
        artifact_size=1000,
        run=Run(command=("python3", "main.py"), listen={"http": "tcp://{node.address}:8080"}),
    )
    command = ApplyComponent(
        id=derive_id("bench", str(number)),
        at=NOW,
        rollout=RolloutId("r"),
        batch=BatchId("api-1"),
        plan_hash=PlanHash("sha256:" + "3" * 64),
        direction=Direction.FORWARD,
        generation=1,
        sequence=number,
        node=node,
        component="api",
        target=target,
        before=None,
        expires_at=NOW + timedelta(days=1),
    )
    return subject_of(command), key.sign(COMMAND_TYPE, wire.encode(command)).to_bytes()


def summary(how: str, runs: list[tuple[list[float], float]]) -> dict[str, float]:
    trips = [trip for found, _ in runs for trip in found]
    took = statistics.median(took for _, took in runs)
    percentiles = statistics.quantiles(trips, n=100, method="inclusive")
    found = {
        "commands": len(trips),
        "p50_ms": 1000 * statistics.median(trips),
        "p95_ms": 1000 * percentiles[94],
        "longest_ms": 1000 * max(trips),
    }
    return found if how == "idle" else {**found, "fetched_in_s": took, "mb_per_s": NODES * SIZE / took / 1e6}


async def run(url: str, how: str, digest: str) -> tuple[list[float], float]:
    """Command after command to node after node while they fetch: until stored, heard by the node and answered."""
    names = [f"node-{n}" for n in range(NODES)]
    commands = [sys.executable, __file__, "nodes", url, how, digest]
    workers = [
        await asyncio.create_subprocess_exec(
            *commands, *names[n::WORKERS], stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        for n in range(WORKERS)
    ]
    for worker in workers:
        assert worker.stdout is not None
        await worker.stdout.readline()
    connection = await Connection.connect(url, name="bench")
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def answered(received: Any) -> None:
        answers.put_nowait(received.data)

    await connection.subscribe(HEARD, answered)
    key, trips = SigningKey.generate(), []
    began = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
    fetching = asyncio.gather(*(w.stdout.readline() for w in workers if w.stdout is not None))
    number = 0
    while not fetching.done() or (how == "idle" and time.perf_counter() - began < IDLE_S):
        number += 1
        subject, body = signed(key, names[number % NODES], number)
        sent = time.perf_counter()
        await connection.js.publish(subject, body)
        async with asyncio.timeout(60):
            while await answers.get() != body:
                pass
        trips.append(time.perf_counter() - sent)
        await asyncio.sleep(0.005)
    took = time.perf_counter() - began
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write_eof()
        await worker.wait()
    await connection.close()
    return trips, took


async def main() -> None:
    runs: dict[str, list[tuple[list[float], float]]] = {how: [] for how in KINDS}
    with nats_server() as url:
        connection = await Connection.connect(url, name="bench")
        await ensure_topology(connection)
        ref = await JetStreamBlobs(connection.js, ARTIFACT_BUCKET).put(os.urandom(SIZE))
        await connection.close()
        for _ in range(ROUNDS):  # in turns, so that whatever else the machine does meets all of them
            for how in KINDS:
                runs[how].append(await run(url, how, ref.digest))
    found = {how: summary(how, runs[how]) for how in KINDS}
    idle, library, ours, limited = (found[how] for how in KINDS)
    fastest_s = SIZE / RATE - BURST_S + JITTER_S
    goals = [
        goal("p95 of commands during fetches, against the library's", 1, ours["p95_ms"] / library["p95_ms"]),
        goal("time of all fetches, against the library's", 2, ours["fetched_in_s"] / library["fetched_in_s"]),
        goal(
            "median of commands during limited fetches, against none", 1.5, limited["p50_ms"] / idle["p50_ms"]
        ),
        goal(
            "p95 of commands during limited fetches, against the library's",
            0.25,
            limited["p95_ms"] / library["p95_ms"],
        ),
        goal("time of limited fetches, against the limit's", 1.2, limited["fetched_in_s"] / fastest_s),
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    setting = {"nodes": NODES, "bytes": SIZE, "limit_bytes_per_s": RATE}
    OUT.write_text(json.dumps({"goals": goals, **setting, **found}, indent=2) + "\n")
    print(OUT.read_text())


def goal(name: str, at_most: float, measured: float) -> dict[str, Any]:
    return {
        "name": name,
        "goal": f"<= {at_most:g}",
        "measured": round(measured, 2),
        "unit": "x",
        "holds": measured <= at_most,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["nodes"]:
        asyncio.run(nodes(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]))
    else:
        asyncio.run(main())
