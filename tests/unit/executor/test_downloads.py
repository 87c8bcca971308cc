"""What a node keeps of packages and descriptions, and when it goes."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from bumpless.common.artifacts.build import BuiltArtifact, build_artifact
from bumpless.common.artifacts.errors import StoreUnavailable
from bumpless.common.artifacts.signing import SigningKey, TrustStore
from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.contract.base import Digest
from bumpless.common.model.plan import Target
from bumpless.common.shell import clock
from bumpless.executor.drivers.artifacts import KEPT, StoredArtifacts
from bumpless.executor.layout import Layout
from unit.executor.making import target


class Site:
    def __init__(self, home: Path) -> None:
        self.home, self.key = home, SigningKey.generate()
        self.store = DirectoryBlobs(home / "store")
        self.layout = Layout(home / "components", "api")
        self.downloads = home / "downloads"
        self.delays: list[float] = []
        self.source = StoredArtifacts(
            self.store,
            TrustStore.of(release=self.key.public, deploy=SigningKey.generate().public),
            downloads=self.downloads,
            checks=home / "checks",
            start_delay=self._delay,
        )

    def _delay(self) -> float:
        self.delays.append(0.0)
        return 0.0

    async def publish(self, version: str) -> tuple[Target, BuiltArtifact]:
        tree = self.home / "trees" / version
        tree.mkdir(parents=True)
        (tree / "file").write_text(version * 1000)
        built = build_artifact(
            tree, name="api", version=version, previous=[], out=self.home / "built" / version, key=self.key
        )
        for blob in built.blobs.iterdir():
            await self.store.put(blob)
        ref = await self.store.put(built.envelope)
        fields = {"root": built.artifact.root, "artifact": ref.digest, "artifact_size": ref.size}
        return target(version).model_copy(update=fields), built

    async def stage(self, wanted: Target) -> int:
        return (await self.source.stage(wanted, self.layout, frozenset())).bytes_fetched

    def descriptions(self) -> set[str]:
        return {path.name for path in self.layout.descriptions.iterdir()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def name(digest: str) -> str:
    return digest.removeprefix("sha256:")


async def test_descriptions_go_with_their_trees(site: Site) -> None:
    v1, _ = await site.publish("v1")
    v2, _ = await site.publish("v2")
    await site.stage(v1)
    await site.stage(v2)
    (site.layout.descriptions / ("0" * 64)).write_bytes(b"damaged")
    assert site.layout.collect([v2.root]) == (v1.root,)
    assert site.descriptions() == {name(v2.artifact)}
    assert site.layout.present().keys() == {v2.root}


async def test_the_description_of_what_may_run_again_stays(site: Site) -> None:
    v1, _ = await site.publish("v1")
    v2, _ = await site.publish("v2")
    await site.stage(v1)
    await site.stage(v2)
    site.layout.point(v2.root, v1.root)
    site.layout.collect([])
    assert site.descriptions() == {name(v1.artifact), name(v2.artifact)}


async def test_part_of_a_package_is_used_while_it_is_young(site: Site) -> None:
    v1, built = await site.publish("v1")
    full = built.artifact.full
    site.downloads.mkdir()
    (site.downloads / f"{name(full.digest)}.part").write_bytes(
        (built.blobs / name(full.digest)).read_bytes()[:50]
    )
    assert await site.stage(v1) == full.size - 50
    assert list(site.downloads.iterdir()) == []


async def test_parts_that_nobody_goes_on_with_are_removed(site: Site) -> None:
    v1, _ = await site.publish("v1")
    site.downloads.mkdir()
    for part, age in (("old", KEPT + timedelta(hours=1)), ("young", KEPT - timedelta(hours=1))):
        (site.downloads / f"{part}.part").write_bytes(b"x")
        moment = (clock.now() - age).timestamp()
        os.utime(site.downloads / f"{part}.part", (moment, moment))
    await site.stage(v1)
    assert [path.name for path in site.downloads.iterdir()] == ["young.part"]


async def test_the_start_is_delayed_where_the_store_is_asked_for_a_tree(site: Site) -> None:
    v1, _ = await site.publish("v1")
    await site.stage(v1)
    await site.stage(v1)
    assert len(site.delays) == 1


async def test_a_store_that_breaks_off_leaves_the_part_and_no_rubbish(site: Site) -> None:
    v1, built = await site.publish("v1")
    blob = site.home / "store" / name(built.artifact.full.digest)

    class BreaksOff(DirectoryBlobs):
        async def read(self, digest, start=0):  # type: ignore[no-untyped-def]
            if digest != built.artifact.full.digest:
                async for piece in super().read(digest, start):
                    yield piece
                return
            yield blob.read_bytes()[start : start + 40]
            raise StoreUnavailable("the store", "silence")

    site.source._store = BreaksOff(site.home / "store")
    for times in (1, 2):
        with pytest.raises(StoreUnavailable):
            await site.stage(v1)
        [part] = site.downloads.iterdir()
        assert part.stat().st_size == 40 * times
    assert list(site.layout.staging.iterdir()) == []
    assert Digest(v1.root) not in site.layout.present()
