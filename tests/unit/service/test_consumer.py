"""What a pause promises about work."""

import asyncio

from bumpless.service.consumer import Consumer


async def test_pause_waits_for_the_lease_and_keeps_what_it_brought() -> None:
    consumer = Consumer()
    leasing, offer, finish, finished = (asyncio.Event() for _ in range(4))
    leases, done = 0, []

    async def lease() -> int:
        nonlocal leases
        leases += 1
        leasing.set()
        await offer.wait()
        return leases

    async def consume() -> None:
        async for job in consumer.jobs(lease):
            await finish.wait()
            done.append(job)
            finished.set()

    task = asyncio.create_task(consume())
    consumer.resume()
    await leasing.wait()
    pausing = asyncio.create_task(consumer.pause())
    await asyncio.sleep(0)
    assert not consumer.taking
    assert not pausing.done()
    offer.set()
    await pausing
    assert consumer.unacknowledged == 1
    finish.set()
    await finished.wait()
    assert (leases, consumer.unacknowledged) == (1, 0)
    offer.clear()
    leasing.clear()
    consumer.resume()
    await leasing.wait()
    consumer.drain()
    offer.set()
    await asyncio.wait_for(task, 5)
    assert (done, consumer.unacknowledged) == ([1, 2], 0)


async def test_a_paused_consumer_ends_when_the_process_drains() -> None:
    consumer = Consumer()
    waiting = asyncio.create_task(consumer.wait_taking())
    await asyncio.sleep(0)
    assert not waiting.done()
    consumer.drain()
    assert await waiting is False
    assert not consumer.taking
