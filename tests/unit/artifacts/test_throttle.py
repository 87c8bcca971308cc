"""The token bucket, with a clock that only moves when somebody waits."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.artifacts.stores.throttle import BURST_S, ThrottledBlobs, TokenBucket


class Time:
    def __init__(self):
        self.now = 1000.0

    async def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


async def test_a_burst_passes_at_once_and_the_rest_at_the_rate():
    time = Time()
    bucket = TokenBucket(100, lambda: time.now, time.sleep)
    await bucket.take(round(100 * BURST_S))
    assert time.now == 1000
    await bucket.take(50)
    assert time.now == 1000.5
    await bucket.take(300)
    assert time.now == 1003.5


async def test_idle_time_saves_up_no_more_than_the_burst():
    time = Time()
    bucket = TokenBucket(100, lambda: time.now, time.sleep)
    burst = round(100 * BURST_S)
    await bucket.take(burst)
    time.now += 3600
    await bucket.take(burst)
    assert time.now == 4600
    await bucket.take(100)
    assert time.now == 4601


@given(st.lists(st.integers(min_value=0, max_value=10_000), max_size=30))
def test_no_amount_passes_faster_than_the_rate(pieces):
    async def work():
        time = Time()
        bucket = TokenBucket(1000, lambda: time.now, time.sleep)
        for piece in pieces:
            await bucket.take(piece)
        return time.now - 1000

    took = asyncio.run(work())
    assert sum(pieces) <= 1000 * (took + BURST_S) * (1 + 1e-9)


async def test_transfers_share_one_bucket(tmp_path):
    time = Time()
    store = DirectoryBlobs(tmp_path / "blobs")
    refs = [await store.put(bytes([n]) * 1_000_000) for n in range(3)]
    throttled = ThrottledBlobs(store, TokenBucket(1_000_000, lambda: time.now, time.sleep))
    await asyncio.gather(*(throttled.fetch(r.digest, tmp_path / r.digest[-8:], size=r.size) for r in refs))
    assert [(tmp_path / r.digest[-8:]).stat().st_size for r in refs] == [1_000_000] * 3
    # Waits of several run at the same time here, and their sum is no less than what they share.
    assert time.now >= 1003 - BURST_S
