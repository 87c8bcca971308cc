"""One URL says which store is meant; what cannot be meant is refused with what can."""

from __future__ import annotations

import pytest

from bumpless.common.artifacts.stores.open_store import open_store, writable
from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.errors import Refused


@pytest.mark.parametrize(
    "url",
    [
        "",
        "artifacts",
        "/srv/blobs",
        "jetstream:",
        "jetstream://artifacts",
        "file://host/srv",
        "file:relative",
        "ftp://host/x",
        "https://",
        "https://host/x?token=1",
        "https://host/x#part",
        "s3:///prefix",
        "s3://bucket/x?key=AKIA",
        "s3://bucket?endpoint",
        "http://[half",
    ],
)
def test_a_url_of_no_known_form_is_refused_with_the_forms(url):
    with pytest.raises(Refused, match="expected a store as jetstream:BUCKET"):
        open_store(url, js=None)


@pytest.mark.parametrize("url", ["https://me:secret@host/x", "s3://AKIA:secret@bucket/x", "https://me@host/"])
def test_passwords_in_urls_are_refused_and_not_repeated(url):
    with pytest.raises(Refused, match="without user and password") as refused:
        open_store(url, js=None)
    assert "secret" not in str(refused.value)


async def test_a_path_may_have_any_character(tmp_path):
    store = open_store(f"file://{tmp_path}/with%20space", js=None)
    await writable(store).put(b"x")
    assert (tmp_path / "with space").is_dir()


async def test_a_web_server_takes_no_blobs(tmp_path):
    with pytest.raises(Refused, match="publish to the store behind it"):
        writable(open_store("https://host/x", js=None))
    store = DirectoryBlobs(tmp_path)
    assert writable(store) is store
