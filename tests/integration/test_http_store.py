"""Web servers as they are: without ranges, breaking off, sending elsewhere, with certificates of their own."""

from __future__ import annotations

import random
import shutil
import socket

import pytest

from bumpless.common.artifacts.errors import StoreUnavailable
from bumpless.common.artifacts.stores.http import HttpBlobs
from bumpless.common.artifacts.stores.store import DirectoryBlobs
from support.stores import WebServer, certificate

SIZE = 5_000_000
DATA = random.Random(1).randbytes(SIZE)


@pytest.fixture
async def stored(tmp_path):
    return await DirectoryBlobs(tmp_path / "blobs").put(DATA)


async def fetch(server, ref, into, **options):
    store = HttpBlobs(server.url, retry_s=(0.0, 0.0), **options)
    try:
        return await store.fetch(ref.digest, into, size=ref.size)
    finally:
        await store.close()


async def test_a_cut_transfer_goes_on_where_it_was_cut(stored, tmp_path):
    async with WebServer(tmp_path / "blobs", cut_after=1_000_000, cuts=3).running() as server:
        assert await fetch(server, stored, tmp_path / "got") == SIZE
    assert (tmp_path / "got").read_bytes() == DATA
    assert len(server.asked) == 4
    assert server.asked == sorted(server.asked)
    assert 0 < server.asked[1] <= 1_000_000


async def test_a_server_without_ranges_is_read_from_its_start(stored, tmp_path):
    (tmp_path / "got.part").write_bytes(DATA[:2_000_000])
    async with WebServer(tmp_path / "blobs", ranges=False, cut_after=3_000_000, cuts=1).running() as server:
        assert await fetch(server, stored, tmp_path / "got") == SIZE - 2_000_000
    assert (tmp_path / "got").read_bytes() == DATA
    assert server.asked[0] == 2_000_000


async def test_a_server_that_gets_nowhere_is_given_up_and_the_part_kept(stored, tmp_path):
    async with WebServer(tmp_path / "blobs", ranges=False, cut_after=1_000_000, cuts=99).running() as server:
        with pytest.raises(StoreUnavailable):
            await fetch(server, stored, tmp_path / "got")
        held = (tmp_path / "got.part").stat().st_size
        assert 0 < held <= 1_000_000
        server.cuts, server.ranges = 0, True
        assert await fetch(server, stored, tmp_path / "got") == SIZE - held
        assert server.asked[-1] == held


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_is_busy_is_asked_again(stored, tmp_path, status):
    async with WebServer(tmp_path / "blobs", answer=status, answers=1).running() as server:
        assert await fetch(server, stored, tmp_path / "got") == SIZE


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_refused(stored, tmp_path, status):
    async with WebServer(tmp_path / "blobs").running() as other:
        elsewhere = other.url + stored.digest.removeprefix("sha256:")
        server = WebServer(tmp_path / "blobs", answer=status, answers=9, location=elsewhere)
        async with server.running():
            with pytest.raises(StoreUnavailable, match=r"redirect to .*: name that as the store"):
                await fetch(server, stored, tmp_path / "got")
        assert other.asked == []


async def test_a_server_that_forbids_says_so(stored, tmp_path):
    async with WebServer(tmp_path / "blobs", answer=403, answers=9).running() as server:
        with pytest.raises(StoreUnavailable, match="403 Forbidden"):
            await fetch(server, stored, tmp_path / "got")


async def test_a_server_that_is_not_there_says_so(stored, tmp_path):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and never listens
        server = WebServer(tmp_path / "blobs", url=f"http://127.0.0.1:{reserved.getsockname()[1]}/")
        with pytest.raises(StoreUnavailable, match="try again when the store is back"):
            await fetch(server, stored, tmp_path / "got")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate; not installed")
async def test_a_certificate_counts_with_its_authority_and_not_without(stored, tmp_path):
    tls, authority = certificate(tmp_path)
    async with WebServer(tmp_path / "blobs").running(tls) as server:
        assert await fetch(server, stored, tmp_path / "got", ca_file=authority) == SIZE
        with pytest.raises(StoreUnavailable, match="certificate"):
            await fetch(server, stored, tmp_path / "other")
