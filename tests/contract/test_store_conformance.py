"""What every blob store does, on a directory and on the object store of a real nats-server."""

from __future__ import annotations

import asyncio
import hashlib
import random

import nats
import pytest

from bumpless.common.artifacts.blobs import hex_name
from bumpless.common.artifacts.errors import BlobMissing, Corrupt, StoreUnavailable, TooLarge
from bumpless.common.artifacts.jetstream import CHUNK, JetStreamBlobs
from bumpless.common.artifacts.store import DirectoryBlobs
from support.servers import NatsServer

BUCKET = "artifacts"
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3]


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory):
    """One server for all of them."""
    with NatsServer(tmp_path_factory.mktemp("broker") / "nats") as server:
        yield server.url


@pytest.fixture
async def jetstream(nats_url):
    client = await nats.connect(nats_url)
    js = client.jetstream(timeout=5)
    await js.create_object_store(BUCKET)
    yield js
    await js.delete_object_store(BUCKET)
    await client.close()


@pytest.fixture(params=["directory", "jetstream"])
def store(request, tmp_path):
    if request.param == "directory":
        return DirectoryBlobs(tmp_path / "blobs")
    return JetStreamBlobs(request.getfixturevalue("jetstream"), BUCKET)


def blob(size):
    return random.Random(size).randbytes(size)


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_comes_back(store, tmp_path, size):
    data = blob(size)
    ref = await store.put(data)
    assert (ref.digest, ref.size) == (digest(data), size)
    assert await store.has(ref.digest)
    assert await store.get(ref.digest, max_size=size) == data
    await store.fetch(ref.digest, tmp_path / "got", size=size)
    assert (tmp_path / "got").read_bytes() == data


@pytest.mark.parametrize("size", [0, CHUNK + 1])
async def test_a_file_is_put_like_its_bytes(store, tmp_path, size):
    (tmp_path / "source").write_bytes(blob(size))
    ref = await store.put(tmp_path / "source")
    assert ref == await store.put(blob(size))
    assert await store.get(ref.digest, max_size=size) == blob(size)


async def test_putting_twice_and_at_once_is_putting_once(store, tmp_path):
    data = blob(3 * CHUNK)
    refs = await asyncio.gather(*(store.put(data) for _ in range(4)))
    assert {ref.digest for ref in refs} == {digest(data)}
    assert await store.get(digest(data), max_size=len(data)) == data


async def test_what_is_not_there_is_missing(store, tmp_path):
    absent = digest(b"absent")
    assert not await store.has(absent)
    with pytest.raises(BlobMissing):
        await store.get(absent, max_size=10)
    with pytest.raises(BlobMissing):
        await store.fetch(absent, tmp_path / "got", size=6)
    assert list(tmp_path.glob("got*")) == []


@pytest.mark.parametrize("wrong", [-1, 1])
async def test_another_size_than_promised_is_refused(store, tmp_path, wrong):
    ref = await store.put(blob(2 * CHUNK))
    with pytest.raises(Corrupt):
        await store.fetch(ref.digest, tmp_path / "got", size=ref.size + wrong)
    assert list(tmp_path.glob("got*")) == []


async def test_a_blob_larger_than_allowed_is_not_collected(store):
    ref = await store.put(blob(2 * CHUNK))
    with pytest.raises(TooLarge):
        await store.get(ref.digest, max_size=ref.size - 1)


async def test_what_a_killed_process_left_is_replaced(store, tmp_path):
    ref = await store.put(blob(1000))
    (tmp_path / "got.part").write_bytes(b"half of something")
    (tmp_path / "got").write_bytes(b"an earlier blob")
    await store.fetch(ref.digest, tmp_path / "got", size=ref.size)
    assert (tmp_path / "got").read_bytes() == blob(1000)
    assert list(tmp_path.glob("got*")) == [tmp_path / "got"]


@pytest.mark.parametrize("name", ["", "abc", "sha256:", "sha256:../../etc/passwd", "sha256:" + "G" * 64])
async def test_only_digests_are_names(store, tmp_path, name):
    for call in (
        store.has(name),
        store.get(name, max_size=1),
        store.fetch(name, tmp_path / "got", size=1),
    ):
        with pytest.raises(ValueError, match="digest"):
            await call


async def test_other_bytes_under_the_name_are_refused(store, tmp_path):
    ref = await store.put(b"honest")
    await replace(store, ref.digest, b"forged")
    with pytest.raises(Corrupt):
        await store.get(ref.digest, max_size=100)
    with pytest.raises(Corrupt):
        await store.fetch(ref.digest, tmp_path / "got", size=ref.size)
    assert list(tmp_path.glob("got*")) == []


async def replace(store, name, data):
    if isinstance(store, DirectoryBlobs):
        (store._path / hex_name(name)).write_bytes(data)
    else:
        await store._objects.put(hex_name(name), data)


async def test_jetstream_a_lost_chunk_is_corrupt_and_does_not_hang(jetstream, tmp_path):
    store = JetStreamBlobs(jetstream, BUCKET)
    ref = await store.put(blob(4 * CHUNK))
    state = (await jetstream.stream_info(f"OBJ_{BUCKET}")).state
    await jetstream.delete_msg(f"OBJ_{BUCKET}", state.first_seq + 2)
    with pytest.raises(Corrupt):
        await store.fetch(ref.digest, tmp_path / "got", size=ref.size)


async def test_jetstream_a_transfer_goes_on_at_the_chunk_it_lost(jetstream, tmp_path):
    class Flaky:
        """Loses every other answer."""

        def __init__(self):
            self.calls = 0

        def __getattr__(self, name):
            return getattr(jetstream, name)

        async def get_msg(self, *arguments, **options):
            self.calls += 1
            if self.calls % 2:
                raise nats.errors.TimeoutError
            return await jetstream.get_msg(*arguments, **options)

    ref = await JetStreamBlobs(jetstream, BUCKET).put(blob(4 * CHUNK))
    flaky = Flaky()
    await JetStreamBlobs(flaky, BUCKET).fetch(ref.digest, tmp_path / "got", size=ref.size)
    assert (tmp_path / "got").read_bytes() == blob(4 * CHUNK)
    assert flaky.calls == 8


async def test_jetstream_a_store_that_is_away_says_so(nats_url, tmp_path):
    client = await nats.connect(nats_url)
    store = JetStreamBlobs(client.jetstream(), "no-such-bucket")
    with pytest.raises(StoreUnavailable):
        await store.put(b"x")
    await client.close()
    with pytest.raises(StoreUnavailable, match=r"ConnectionClosed|connection closed"):
        await store.has(digest(b"x"))
