"""The S3 driver against a server that checks every signature: where credentials come from, and where they do not go."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import obstore
import pytest

from bumpless.common.artifacts.errors import StoreUnavailable
from bumpless.common.artifacts.stores.blobs import hex_name
from bumpless.common.artifacts.stores.open_store import open_store
from bumpless.common.shell.clock import now
from support.stores import REGION, S3Server

BUCKET = "artifacts"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def url(server, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return f"s3://{BUCKET}/a/b?endpoint={server.endpoint}&region={REGION}"


def write_credentials(path, profile, server, secret=None):
    path.write_text(
        f"[{profile}]\naws_access_key_id = {server.access_key_id}\n"
        f"aws_secret_access_key = {secret or server.secret_access_key}\n"
    )


@pytest.mark.parametrize("profile", [None, "releases"])
async def test_credentials_come_from_a_file(server, url, tmp_path, monkeypatch, profile):
    write_credentials(tmp_path / "credentials", profile or "default", server)
    if profile is not None:
        monkeypatch.setenv("AWS_PROFILE", profile)
    store = open_store(url, js=None)
    ref = await store.put(b"x")
    assert await store.get(ref.digest, max_size=1) == b"x"


async def test_credentials_of_the_environment_go_first(server, url, tmp_path, monkeypatch):
    write_credentials(tmp_path / "credentials", "default", server, secret="of-somebody-else")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_access_key)
    store = open_store(url, js=None)
    assert await store.put(b"y")


async def test_a_wrong_secret_is_refused_and_not_repeated(server, url, tmp_path):
    secret = "0123456789-wrong-secret"
    write_credentials(tmp_path / "credentials", "default", server, secret=secret)
    store = open_store(url, js=None)
    with pytest.raises(StoreUnavailable, match="403") as refused:
        await store.put(b"z")
    assert secret not in f"{refused.value!r} {store!r} {vars(store)!r}"
    assert "\n" not in str(refused.value)


async def test_prefixes_do_not_meet(server, url, tmp_path):
    write_credentials(tmp_path / "credentials", "default", server)
    ref = await open_store(url, js=None).put(b"mine")
    other = open_store(url.replace("/a/b", "/a"), js=None)
    assert not await other.has(ref.digest)
    assert [found.digest async for found in other.stored()] == []


async def test_a_copy_that_a_killed_publisher_left_is_swept(server, url, tmp_path):
    write_credentials(tmp_path / "credentials", "default", server)
    store = open_store(url, js=None)
    ref = await store.put(b"whole")
    obstore.copy(store._store, hex_name(ref.digest), hex_name(ref.digest) + ".touched")
    assert ref.digest in [found.digest async for found in store.stored()]
    assert await store.sweep(now() - timedelta(hours=1)) == 0
    assert await store.sweep(now() + timedelta(hours=1)) == ref.size
    assert await store.get(ref.digest, max_size=10) == b"whole"
    assert await store.sweep(now() + timedelta(hours=1)) == 0


def test_the_client_is_not_loaded_by_what_does_not_use_it():
    code = (
        "import sys, bumpless.common.artifacts.stores.open_store as o; o.open_store('file:///x', js=None); "
        "sys.exit('obstore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
