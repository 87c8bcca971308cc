"""What every blob store does: a directory, a real nats-server's object store, a real web server, a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import nats
import pytest
from nats.js.object_store import ObjectStore

from bumpless.common.artifacts.errors import BlobMissing, Corrupt, StoreUnavailable, TooLarge
from bumpless.common.artifacts.stores.blobs import hex_name
from bumpless.common.artifacts.stores.http import HttpBlobs
from bumpless.common.artifacts.stores.jetstream import CHUNK, JetStreamBlobs
from bumpless.common.artifacts.stores.open_store import open_store
from bumpless.common.artifacts.stores.store import BlobReader, BlobStore, DirectoryBlobs
from bumpless.common.shell.clock import now
from support.servers import NatsServer
from support.stores import REGION, S3Server, WebServer
from support.waiting import eventually

BUCKET = "artifacts"
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3]
LARGE = 6 * CHUNK + 5
"""More than one piece of every driver."""
HOUR = timedelta(hours=1)


@dataclass
class Place:
    """A store, and the store that puts blobs where the first one reads them; mostly the same."""

    reader: BlobReader
    writer: BlobStore


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory):
    """One server for all of them."""
    with NatsServer(tmp_path_factory.mktemp("broker") / "nats") as server:
        yield server.url


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory):
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
async def jetstream(nats_url):
    client = await nats.connect(nats_url)
    js = client.jetstream(timeout=5)
    await js.create_object_store(BUCKET)
    yield js
    await js.delete_object_store(BUCKET)
    await client.close()


@pytest.fixture
def s3_url(s3_server, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_access_key)
    return f"s3://{BUCKET}/{tmp_path.name}?endpoint={s3_server.endpoint}&region={REGION}"


@pytest.fixture
async def web(tmp_path) -> AsyncIterator[WebServer]:
    async with WebServer(tmp_path / "blobs").running() as server:
        yield server


@pytest.fixture
async def web_store(web):
    store = open_store(web.url, js=None)
    yield store
    await store.close()


@pytest.fixture
def place(request, kind, tmp_path):
    needed = request.getfixturevalue
    match kind:
        case "directory":
            store = open_store(f"file://{tmp_path}/blobs", js=None)
        case "jetstream":
            store = open_store(f"jetstream:{BUCKET}", js=needed("jetstream"))
        case "s3":
            store = open_store(needed("s3_url"), js=None)
        case "web":
            return Place(needed("web_store"), DirectoryBlobs(tmp_path / "blobs"))
    return Place(store, store)


@pytest.fixture
def reader(place):
    return place.reader


@pytest.fixture
def writer(place):
    return place.writer


every = pytest.mark.parametrize("kind", ["directory", "jetstream", "web", "s3"])
writable = pytest.mark.parametrize("kind", ["directory", "jetstream", "s3"])


def blob(size):
    return random.Random(size).randbytes(size)


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@every
@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_comes_back(reader, writer, tmp_path, size):
    data = blob(size)
    ref = await writer.put(data)
    assert (ref.digest, ref.size) == (digest(data), size)
    assert await reader.has(ref.digest)
    assert await reader.get(ref.digest, max_size=size) == data
    assert await reader.fetch(ref.digest, tmp_path / "got", size=size) == size
    assert (tmp_path / "got").read_bytes() == data


@every
@pytest.mark.parametrize("start", [1, CHUNK, CHUNK + 7, LARGE - 1, LARGE])
async def test_a_blob_is_read_from_any_byte_on(reader, writer, start):
    ref = await writer.put(blob(LARGE))
    assert b"".join([piece async for piece in reader.read(ref.digest, start)]) == blob(LARGE)[start:]


@writable
@pytest.mark.parametrize("size", [0, CHUNK + 1])
async def test_a_file_is_put_like_its_bytes(writer, tmp_path, size):
    (tmp_path / "source").write_bytes(blob(size))
    ref = await writer.put(tmp_path / "source")
    assert ref == await writer.put(blob(size))
    assert await writer.get(ref.digest, max_size=size) == blob(size)


@writable
async def test_putting_twice_and_at_once_is_putting_once(writer):
    data = blob(3 * CHUNK)
    refs = await asyncio.gather(*(writer.put(data) for _ in range(4)))
    assert {ref.digest for ref in refs} == {digest(data)}
    assert await writer.get(digest(data), max_size=len(data)) == data
    assert [(found.digest, found.size) async for found in writer.stored()] == [(digest(data), len(data))]


@every
async def test_what_is_not_there_is_missing(reader, tmp_path):
    absent = digest(b"absent")
    assert not await reader.has(absent)
    with pytest.raises(BlobMissing):
        await reader.get(absent, max_size=10)
    with pytest.raises(BlobMissing):
        await reader.fetch(absent, tmp_path / "got", size=6)
    assert list(tmp_path.glob("got*")) == []


@every
@pytest.mark.parametrize("wrong", [-1, 1])
async def test_another_size_than_promised_is_refused(reader, writer, tmp_path, wrong):
    ref = await writer.put(blob(2 * CHUNK))
    with pytest.raises(Corrupt):
        await reader.fetch(ref.digest, tmp_path / "got", size=ref.size + wrong)
    assert list(tmp_path.glob("got*")) == []


@every
async def test_a_blob_larger_than_allowed_is_not_collected(reader, writer):
    ref = await writer.put(blob(2 * CHUNK))
    with pytest.raises(TooLarge):
        await reader.get(ref.digest, max_size=ref.size - 1)


@every
@pytest.mark.parametrize("held", [1, CHUNK, 2 * CHUNK + 9, LARGE])
async def test_a_killed_fetch_goes_on_where_it_was(reader, writer, tmp_path, held):
    ref = await writer.put(blob(LARGE))
    (tmp_path / "got.part").write_bytes(blob(LARGE)[:held])
    assert await reader.fetch(ref.digest, tmp_path / "got", size=ref.size) == LARGE - held
    assert (tmp_path / "got").read_bytes() == blob(LARGE)
    assert list(tmp_path.glob("got*")) == [tmp_path / "got"]


@every
@pytest.mark.parametrize("left", [b"half of something", blob(LARGE + 1), b"x" * LARGE])
async def test_a_part_that_is_wrong_is_fetched_from_the_start(reader, writer, tmp_path, left):
    ref = await writer.put(blob(LARGE))
    (tmp_path / "got.part").write_bytes(left)
    (tmp_path / "got").write_bytes(b"an earlier blob")
    await reader.fetch(ref.digest, tmp_path / "got", size=ref.size)
    assert (tmp_path / "got").read_bytes() == blob(LARGE)
    assert list(tmp_path.glob("got*")) == [tmp_path / "got"]


@every
async def test_two_fetches_at_once_do_not_meet(reader, writer, tmp_path):
    ref = await writer.put(blob(LARGE))
    places = [tmp_path / f"got-{number}" for number in range(4)]
    part = tmp_path / "got.part"
    await asyncio.gather(*(reader.fetch(ref.digest, into, size=ref.size, part=part) for into in places))
    assert [into.read_bytes() == blob(LARGE) for into in places] == [True] * 4
    assert sorted(tmp_path.glob("got*")) == places


@every
async def test_a_fetch_that_is_cancelled_keeps_what_it_has(reader, writer, tmp_path):
    ref = await writer.put(blob(LARGE))
    reading, first = reader.read, asyncio.Event()

    async def stuck(name, start=0):
        pieces = reading(name, start)
        yield await anext(pieces)
        first.set()
        await asyncio.Event().wait()

    reader.read = stuck
    fetching = asyncio.create_task(reader.fetch(ref.digest, tmp_path / "got", size=ref.size))
    await asyncio.wait_for(first.wait(), 10)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    reader.read = reading
    held = (tmp_path / "got.part").stat().st_size
    assert 0 < held < LARGE
    assert await reader.fetch(ref.digest, tmp_path / "got", size=ref.size) == LARGE - held


@every
@pytest.mark.parametrize("name", ["", "abc", "sha256:", "sha256:../../etc/passwd", "sha256:" + "G" * 64])
async def test_only_digests_are_names(reader, tmp_path, name):
    for call in (
        reader.has(name),
        reader.get(name, max_size=1),
        reader.fetch(name, tmp_path / "got", size=1),
    ):
        with pytest.raises(ValueError, match="digest"):
            await call


@every
async def test_other_bytes_under_the_name_are_refused(kind, reader, writer, tmp_path):
    ref = await writer.put(b"honest")
    await replace(writer, ref.digest, b"forged")
    with pytest.raises(Corrupt):
        await reader.get(ref.digest, max_size=100)
    with pytest.raises(Corrupt):
        await reader.fetch(ref.digest, tmp_path / "got", size=ref.size)
    assert list(tmp_path.glob("got*")) == []


async def replace(store, name, data):
    match store:
        case DirectoryBlobs():
            (store._path / hex_name(name)).write_bytes(data)
        case JetStreamBlobs():
            await store._objects.put(hex_name(name), data)
        case _:
            import obstore

            obstore.put(store._store, hex_name(name), data)


@writable
async def test_what_was_put_before_can_be_deleted(writer):
    kept, gone = await writer.put(b"kept"), await writer.put(b"gone")
    assert not await writer.delete(gone.digest, before=now() - HOUR)
    assert await writer.has(gone.digest)
    assert await writer.delete(gone.digest, before=now() + HOUR)
    assert not await writer.has(gone.digest)
    assert not await writer.delete(gone.digest, before=now() + HOUR)
    assert [found.digest async for found in writer.stored()] == [kept.digest]
    assert await writer.put(b"gone") == gone
    assert await writer.get(gone.digest, max_size=10) == b"gone"


@writable
async def test_putting_again_counts_as_put_now(kind, writer):
    """A publisher relies on what it found there; whoever collects must see that."""
    ref = await writer.put(b"old")
    if kind == "directory":
        os.utime(writer._path / hex_name(ref.digest), (0, 0))
    [before] = [found async for found in writer.stored()]

    async def put_again():
        await writer.put(b"old")
        [after] = [found async for found in writer.stored()]
        return after

    # Servers stamp in steps of up to a second.
    after = await eventually(put_again, lambda found: found.put_at > before.put_at, "a later date")
    between = before.put_at + (after.put_at - before.put_at) / 2
    assert not await writer.delete(ref.digest, before=between)


@writable
async def test_sweeping_takes_nothing_that_is_in_use(writer):
    ref = await writer.put(blob(2 * CHUNK))
    assert await writer.sweep(now() + HOUR) == 0
    assert await writer.get(ref.digest, max_size=ref.size) == blob(2 * CHUNK)


@pytest.mark.parametrize("kind", ["directory"])
async def test_directory_what_a_killed_writer_left_is_swept(writer, tmp_path):
    await writer.put(b"x")
    (tmp_path / "blobs/half.part").write_bytes(b"half")
    assert await writer.sweep(now() - HOUR) == 0
    assert await writer.sweep(now() + HOUR) == 4
    assert not (tmp_path / "blobs/half.part").exists()


async def test_jetstream_chunks_that_belong_to_nobody_are_swept(jetstream):
    """Every first put at once writes chunks; the description of the last one counts."""
    store = JetStreamBlobs(jetstream, BUCKET)
    ref = await store.put(blob(CHUNK + 1))
    for number in range(3):
        await jetstream.publish(f"$O.{BUCKET}.C.killed", blob(number + 1))
    assert await store.sweep(now() - HOUR) == 0
    assert await store.sweep(now() + HOUR) == 6
    state = (await jetstream.stream_info(f"OBJ_{BUCKET}")).state
    assert state.messages == 3  # one description and two chunks
    assert await store.get(ref.digest, max_size=ref.size) == blob(CHUNK + 1)


async def test_jetstream_what_is_put_again_while_it_is_deleted_stays_whole(jetstream):
    class PutMeanwhile:
        """Between looking and removing, a publisher finds the blob and relies on it."""

        def __getattr__(self, name):
            return getattr(jetstream, name)

        async def purge_stream(self, *arguments, **options):
            if options["seq"] is not None:
                await JetStreamBlobs(jetstream, BUCKET).put(b"shared")
            return await jetstream.purge_stream(*arguments, **options)

    ref = await JetStreamBlobs(jetstream, BUCKET).put(b"shared")
    assert not await JetStreamBlobs(PutMeanwhile(), BUCKET).delete(ref.digest, before=now() + HOUR)
    assert await JetStreamBlobs(jetstream, BUCKET).get(ref.digest, max_size=10) == b"shared"


async def test_jetstream_a_lost_chunk_is_corrupt_and_does_not_hang(jetstream, tmp_path):
    store = JetStreamBlobs(jetstream, BUCKET)
    ref = await store.put(blob(4 * CHUNK))
    state = (await jetstream.stream_info(f"OBJ_{BUCKET}")).state
    await jetstream.delete_msg(f"OBJ_{BUCKET}", state.first_seq + 2)
    with pytest.raises(Corrupt):
        await store.fetch(ref.digest, tmp_path / "got", size=ref.size)


async def test_jetstream_a_transfer_goes_on_at_the_chunk_it_lost(jetstream, tmp_path):
    class Flaky:
        """Loses every other answer to a request for a chunk."""

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
    assert flaky.calls == 10  # the description, and four chunks


async def test_jetstream_a_store_that_is_away_says_so(nats_url, tmp_path):
    client = await nats.connect(nats_url)
    store = JetStreamBlobs(client.jetstream(), "no-such-bucket")
    with pytest.raises(StoreUnavailable):
        await store.put(b"x")
    await client.close()
    with pytest.raises(StoreUnavailable, match=r"ConnectionClosed|connection closed"):
        await store.has(digest(b"x"))


async def test_jetstream_blobs_of_the_client_library_are_read(jetstream, tmp_path):
    """Any writer will do, with chunks of its own size."""
    await ObjectStore(BUCKET, f"OBJ_{BUCKET}", jetstream).put(hex_name(digest(blob(LARGE))), blob(LARGE))
    (tmp_path / "got.part").write_bytes(blob(LARGE)[: CHUNK + 11])
    store = JetStreamBlobs(jetstream, BUCKET)
    assert await store.fetch(digest(blob(LARGE)), tmp_path / "got", size=LARGE) == LARGE - CHUNK - 11


async def test_web_addresses_end_in_the_digest_with_or_without_a_slash(web):
    ref = await DirectoryBlobs(web.directory).put(b"x")
    for url in (web.url, web.url.rstrip("/")):
        store = HttpBlobs(url)
        assert await store.get(ref.digest, max_size=1) == b"x"
        await store.close()
