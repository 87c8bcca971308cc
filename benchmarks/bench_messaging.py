"""What commands and progress cost at 10,000 nodes: atomic batches against single publishes, last values against one
big answer.

    make bench-messaging

Every figure is set against a peer in the same run, on a real nats-server that syncs every write. Writes
`build/bench/messaging.json`.
"""

import asyncio
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from broker import nats_server
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.contract import events as e
from bumpless.common.contract import subjects, wire
from bumpless.common.contract.base import BatchId, Digest, RolloutId, derive_id
from bumpless.common.contract.commands import ApplyBatch
from bumpless.common.contract.envelope import COMMAND_TYPE
from bumpless.common.contract.subjects import Stream
from bumpless.common.engine.expand import node_commands
from bumpless.common.model.plan import Batch, Direction, Plan, Step, Target
from bumpless.common.model.release import Run
from bumpless.common.shell.broker import BATCH_LIMIT, Connection
from bumpless.common.shell.relay import Relay
from bumpless.common.shell.topology import ensure_topology

NODES = int(os.environ.get("BENCH_NODES", "10000"))
SINGLES = min(NODES, 2000)
"""Single publishes measured; their rate does not depend on the count, and they are slow."""
OUT = Path(__file__).resolve().parent.parent / "build" / "bench" / "messaging.json"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_plan() -> Plan:
    target = Target(
        component="api",
        version="v2",
        root=Digest("sha256:" + "1" * 64),
        artifact=Digest("sha256:" + "2" * 64),
        artifact_size=1000,
        run=Run(command=("python3", "main.py"), listen={"http": "tcp://{node.address}:8080"}),
    )
    steps = tuple(Step(node=f"node-{n}", component="api", after=target.id) for n in range(NODES))
    return Plan(
        rollout=RolloutId(derive_id("bench")),
        product="bench",
        release_version="v2",
        release_digest=Digest("sha256:" + "3" * 64),
        generation=1,
        targets={target.id: target},
        batches=(Batch(id=BatchId("api-1"), component="api", steps=steps, apply_timeout_s=60),),
        max_unavailable=NODES,
    )


def a_batch(plan: Plan, sequence: int) -> ApplyBatch:
    return ApplyBatch(
        id=derive_id("bench", str(sequence)),
        at=NOW,
        rollout=plan.rollout,
        batch=plan.batches[0].id,
        plan_hash=plan.hash,
        direction=Direction.FORWARD,
        generation=1,
        sequence=sequence,
        steps=plan.batches[0].steps,
        expires_at=NOW + timedelta(days=1),
    )


async def commands(connection: Connection) -> dict[str, float]:
    plan = a_plan()
    key = SigningKey.generate()

    async def find(_: str) -> Plan:
        return plan

    relay = Relay(connection, "bench", key=key, plans=find)
    first = await timed(relay.send([a_batch(plan, 1)]))
    again = await timed(relay.send([a_batch(plan, 1)]))
    later = await timed(relay.send([a_batch(plan, 2)]))
    signed = [
        (subjects.subject_of(c), key.sign(COMMAND_TYPE, wire.encode(c)).to_bytes(), c.id)
        for c in node_commands(plan, a_batch(plan, 3))[:SINGLES]
    ]
    gate = asyncio.Semaphore(64)

    async def one(subject: str, body: bytes, message_id: str) -> None:
        async with gate:
            await connection.js.publish(subject, body, headers={"Nats-Msg-Id": message_id})

    singles = await timed(asyncio.gather(*(one(*item) for item in signed)))

    async def in_batches() -> None:
        for start in range(0, len(signed), BATCH_LIMIT):
            chunk = signed[start : start + BATCH_LIMIT]
            await connection.publish_batch([(s, body, {"Nats-Msg-Id": i + "-b"}) for s, body, i in chunk])

    batches = await timed(in_batches())
    return {
        "nodes": NODES,
        "signed_and_sent_first_per_s": NODES / first,
        "signed_and_sent_later_per_s": NODES / later,
        "repeat_that_changes_nothing_s": again,
        "publish_in_batches_per_s": SINGLES / batches,
        "publish_single_64_in_flight_per_s": SINGLES / singles,
    }


async def late_dashboard(connection: Connection) -> dict[str, float]:
    rollout = RolloutId(derive_id("bench"))
    messages = [
        e.StepProgressed(
            id=derive_id("p", str(n)),
            at=NOW,
            rollout=rollout,
            node=f"node-{n}",
            component="api",
            state="serving",
            share=1.0,
        )
        for n in range(NODES)
    ]
    for message in messages:
        await connection.publish(message, source="bench")
    await connection.nc.flush()
    wanted = subjects.subject_for(e.StepProgressed, rollout=rollout)
    found: list[Any] = []

    async def read() -> None:
        found.extend(await connection.snapshot(Stream.PROG, wanted))

    last_values = await timed(read())
    if len(found) != NODES:
        raise SystemExit(f"expected {NODES} last values, found {len(found)}")
    whole = b"[" + b",".join(wire.encode(m) for m in messages) + b"]"
    pieces = [whole[i : i + (4 << 20)] for i in range(0, len(whole), 4 << 20)]

    async def answer(msg: Any) -> None:
        await msg.respond(pieces[int(msg.data)])

    listening = await connection.nc.subscribe("bench.snapshot", cb=answer)

    async def ask() -> None:
        got = b""
        for number in range(len(pieces)):
            got += await connection.request("bench.snapshot", str(number).encode(), 30)
        assert len(json.loads(got)) == NODES

    one_answer = await timed(ask())
    await listening.unsubscribe()
    return {"last_values_s": last_values, "one_answer_s": one_answer, "bytes": len(whole)}


async def timed(work: Any) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def main() -> None:
    with nats_server() as url:
        connection = await Connection.connect(url, name="bench")
        await ensure_topology(connection)
        written = await commands(connection)
        seen = await late_dashboard(connection)
        await connection.close()
    ratio = written["publish_in_batches_per_s"] / written["publish_single_64_in_flight_per_s"]
    goals = [
        goal(
            "publishing signed commands in atomic batches against one by one", ">= 3", ratio, "x", ratio >= 3
        ),
        goal(
            "a late dashboard has every step of 10,000",
            "<= 5",
            seen["last_values_s"],
            "s",
            seen["last_values_s"] <= 5,
        ),
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"goals": goals, "commands": written, "late_dashboard": seen}, indent=2) + "\n")
    print(OUT.read_text())


def goal(name: str, wanted: str, measured: float, unit: str, holds: bool) -> dict[str, Any]:
    return {"name": name, "goal": wanted, "measured": round(measured, 2), "unit": unit, "holds": holds}


if __name__ == "__main__":
    asyncio.run(main())
