"""From a built tree to a staged one, also when the cheap way fails."""

from __future__ import annotations

import shutil

import pytest

from bumpless.common.artifacts.build import PreviousTree, build_artifact
from bumpless.common.artifacts.errors import BlobMissing, Corrupt, StoreUnavailable, TooLarge
from bumpless.common.artifacts.limits import Limits
from bumpless.common.artifacts.manifest import open_artifact
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.artifacts.stage import rebuild_from_store
from bumpless.common.artifacts.stores.blobs import hex_name
from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.artifacts.tree import scan

from .trees import NEW, OLD, listing, noise, write_tree


class Node:
    """A builder's output and one node's directories."""

    def __init__(self, tmp_path):
        self.key = SigningKey.generate()
        self.old, self.new = write_tree(tmp_path / "old", OLD), write_tree(tmp_path / "new", NEW)
        self.older = write_tree(tmp_path / "older", OLD | {"bin/app": noise(1, 60_000)})
        self.other = write_tree(tmp_path / "other", {"x": noise(4, 100)})
        self.progress = []
        previous = [
            PreviousTree(version=v, path=p)
            for v, p in (("0.9", self.older), ("1.0", self.old), ("0.1", self.other))
        ]
        self.built = build_artifact(
            self.new,
            name="api",
            version="1.1",
            previous=previous,
            out=tmp_path / "built",
            key=self.key,
            on_progress=lambda *step: self.progress.append(step),
        )
        self.artifact = self.built.artifact
        self.store = DirectoryBlobs(self.built.blobs)
        self.out, self.work = tmp_path / "node/releases/1.1", tmp_path / "node/work"
        self.bases = {scan(self.old).root: self.old, scan(self.older).root: self.older}

    def blob(self, ref):
        return self.built.blobs / hex_name(ref.digest)

    @property
    def delta(self):
        return min(self.artifact.deltas, key=lambda d: d.size)

    async def stage(self, **changes):
        arguments = {"bases": self.bases, "out_dir": self.out, "work_dir": self.work} | changes
        return await rebuild_from_store(self.artifact, arguments.pop("store", self.store), **arguments)

    def is_staged(self):
        return scan(self.out).root == self.artifact.root and listing(self.work) == []


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def test_a_build_is_a_signed_description_and_its_blobs(node):
    envelope = node.built.envelope_path
    assert envelope.name == "api-1.1.artifact.json"
    assert open_artifact(envelope.read_bytes(), TrustStore.of(release=node.key.public)) == node.artifact
    assert {d.from_version for d in node.artifact.deltas} == {"0.9", "1.0"}
    assert node.built.dropped == ("0.1",)
    assert node.artifact.tree_size == scan(node.new).size
    assert {p.stat().st_size for p in node.built.blobs.iterdir()} == {
        r.size for r in (node.artifact.full, *node.artifact.deltas)
    }
    assert list(dict.fromkeys(what for what, _, _ in node.progress)) == [
        "full",
        "from 0.9",
        "from 1.0",
        "from 0.1",
    ]
    assert all(0 < done <= total for _, done, total in node.progress)


async def test_the_smallest_delta_is_used(node):
    report = await node.stage()
    assert (report.used, report.fell_back) == ("delta", None)
    assert report.bytes_fetched == node.delta.size
    assert node.delta.from_version == "1.0"
    assert node.is_staged()


async def test_staging_again_changes_nothing(node):
    await node.stage()
    again = await node.stage()
    assert (again.used, again.bytes_fetched) == ("present", 0)


async def test_without_a_base_the_full_package_is_used(node):
    report = await node.stage(bases={})
    assert (report.used, report.bytes_fetched) == ("full", node.artifact.full.size)
    assert "no delta" in report.fell_back
    assert node.is_staged()


async def test_a_wrong_base_falls_back(node):
    (node.old / "etc/app.conf").write_bytes(b"edited by hand")
    report = await node.stage()
    assert report.used == "full"
    assert report.fell_back.startswith("WrongBase")
    assert report.bytes_fetched == node.artifact.full.size + node.delta.size
    assert node.is_staged()


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
async def test_a_damaged_delta_falls_back(node, damage):
    path = node.blob(node.delta)
    data = bytearray(path.read_bytes())
    match damage:
        case "flipped":
            data[-1] ^= 1
            path.write_bytes(data)
        case "cut":
            path.write_bytes(data[:-1])
        case "missing":
            path.unlink()
    report = await node.stage()
    assert report.used == "full"
    assert report.fell_back.startswith("BlobMissing" if damage == "missing" else "Corrupt")
    assert node.is_staged()


async def test_a_damaged_full_package_is_an_error_that_leaves_nothing(node):
    node.blob(node.artifact.full).write_bytes(b"x" * node.artifact.full.size)
    with pytest.raises(Corrupt):
        await node.stage(bases={})
    assert listing(node.out.parent) == listing(node.work) == []


async def test_a_missing_full_package_is_an_error(node):
    node.blob(node.artifact.full).unlink()
    with pytest.raises(BlobMissing):
        await node.stage(bases={})


async def test_a_store_that_is_away_is_not_asked_for_more(node):
    class Away(DirectoryBlobs):
        asked = 0

        async def fetch(self, digest, into, *, size, part=None):
            self.asked += 1
            raise StoreUnavailable("the store", "silence")

    store = Away(node.built.blobs)
    with pytest.raises(StoreUnavailable):
        await node.stage(store=store)
    assert store.asked == 1


async def test_a_directory_with_another_content_is_left_alone(node):
    node.out.mkdir(parents=True)
    (node.out / "mine").write_bytes(b"x")
    with pytest.raises(Corrupt):
        await node.stage()
    assert listing(node.out) == ["mine"]


async def test_leftovers_of_a_killed_call_are_removed(node):
    write_tree(node.work / "tree", {"half": b"x"})
    (node.work / f"{hex_name(node.delta.digest)}.part").write_bytes(b"half")
    await node.stage()
    assert node.is_staged()


async def test_what_a_broken_fetch_has_got_is_not_fetched_again(node, tmp_path):
    class BreaksOff(DirectoryBlobs):
        async def read(self, digest, start=0):
            pieces = super().read(digest, start)
            yield (await anext(pieces))[:1000]
            raise StoreUnavailable("the store", "silence")

    downloads = tmp_path / "node/downloads"
    downloads.mkdir(parents=True)
    with pytest.raises(StoreUnavailable):
        await node.stage(bases={}, downloads=downloads, store=BreaksOff(node.built.blobs))
    shutil.rmtree(node.work)  # as the executor does after a crash
    report = await node.stage(bases={}, downloads=downloads)
    assert report.bytes_fetched == node.artifact.full.size - 1000
    assert node.is_staged()
    assert listing(downloads) == []


async def test_limits_reach_the_rebuild(node):
    with pytest.raises(TooLarge):
        await node.stage(limits=Limits(tree=10))
