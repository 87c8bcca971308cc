"""Takes jobs from the queue of the database and writes receipts. Serves nobody but its executor."""

import asyncio
import contextlib
import uuid

from job import process

from bumpless.service import Client, Consumer, RequestFailed, Service, Upstream
from shop import VERSION, peers

SIDE_BY_SIDE = 4
LEASE_WAIT_S = 1.0

service = Service("worker", version=VERSION)
processed = service.counter("jobs_processed_total", "Jobs processed.", ("outcome",))
queue_length = service.gauge("queue_length", "Jobs that wait for a worker.")
service.gauge("inflight_jobs", "Jobs being processed.", read=lambda: service.unacknowledged)
database = Upstream.parse(Client(timeout_s=5.0), peers("database"))


async def lease() -> dict[str, str] | None:
    try:
        # The token is ours, so a lease whose answer got lost can be asked for again.
        reply = await database.post("/jobs/lease", {"token": uuid.uuid4().hex, "wait_s": LEASE_WAIT_S})
    except RequestFailed:
        reply = None
    if reply is None or reply.status not in (200, 204):
        await asyncio.sleep(0.2)
        return None
    return reply.json() if reply.status == 200 else None


async def acknowledge(job: dict[str, str]) -> None:
    while True:
        try:
            if (await database.post("/jobs/ack", job)).status < 500:
                return
        except RequestFailed:
            pass
        await asyncio.sleep(0.2)


async def consume(consumer: Consumer) -> None:
    async for job in consumer.jobs(lease):
        try:
            await process(job["id"], job["body"])
            await acknowledge(job)
        except asyncio.CancelledError:  # the drain deadline: somebody else does it
            await database.post("/jobs/requeue", job)
            processed.inc(outcome="requeued")
            raise
        processed.inc(outcome="done")


async def watch_queue() -> None:
    while True:
        with contextlib.suppress(RequestFailed, ValueError, KeyError):
            queue_length.set((await database.get("/jobs/length")).json()["pending"])
        await asyncio.sleep(2.0)


service.consumer(consume, count=SIDE_BY_SIDE)
service.background(watch_queue)
