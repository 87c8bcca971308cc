"""`artifact gc` against a broker's log: what it removes, what a publisher saves, and when it touches nothing."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bumpless.cli.context import Context
from bumpless.cli.home import Home
from bumpless.cli.output import Format, Output
from bumpless.cli.publishing import BuiltComponent, BuiltRelease, upload
from bumpless.cli.store_commands import gc
from bumpless.common.artifacts.build import build_artifact
from bumpless.common.artifacts.manifest import BlobRef
from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.artifacts.stores.http import HttpBlobs
from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.contract.base import canonical_json, derive_id
from bumpless.common.contract.envelope import RELEASE_TYPE
from bumpless.common.contract.events import NodeObserved
from bumpless.common.errors import Refused
from bumpless.common.model.fleet import Node
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from support import plans

OLD_S = 48 * 3600


class Shop:
    """A product with one component, its store, and whoever publishes."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home, self.key = url, home, SigningKey.generate()
        self.store = DirectoryBlobs(home / "store")
        self.command = typer.Typer()
        self.command.command()(gc)

    def build(self, version: str) -> BuiltRelease:
        tree = self.home / "trees" / version
        tree.mkdir(parents=True)
        (tree / "file").write_text(version * 100)
        out = self.home / "built" / version
        built = build_artifact(tree, name="api", version=version, previous=[], out=out, key=self.key)
        description = BlobRef(
            digest=DirectoryBlobs(out).write(built.envelope).digest, size=len(built.envelope)
        )
        component = plans.component(
            "api",
            version,
            root=built.artifact.root,
            artifact=description.digest,
            artifact_size=description.size,
        )
        release = plans.release(component, version=version)
        envelope = self.key.sign(RELEASE_TYPE, canonical_json(release.model_dump(mode="json")))
        local = BuiltComponent(built.artifact, built.envelope, built.blobs)
        return BuiltRelease(release, envelope, {"api": local})

    async def upload(self, built: BuiltRelease) -> int:
        return await upload(built, self.store, lambda text: None)

    async def announce(self, built: BuiltRelease) -> None:
        await self.say(built.announcement(by="test"))

    async def say(self, message) -> None:
        connection = await Connection.connect(self.url, name="test")
        await ensure_topology(connection)
        await connection.publish(message, source="test")
        await connection.close()

    def publish(self, version: str) -> BuiltRelease:
        built = self.build(version)
        asyncio.run(self.upload(built))
        asyncio.run(self.announce(built))
        return built

    def grow_old(self) -> None:
        for blob in (self.home / "store").iterdir():
            moment = blob.stat().st_mtime - OLD_S
            os.utime(blob, (moment, moment))

    def has(self, built: BuiltRelease) -> set[bool]:
        component = built.release.components[0]
        names = (component.artifact, built.components["api"].artifact.full.digest)
        return {(self.home / "store" / name.removeprefix("sha256:")).exists() for name in names}

    def gc(self, *options: str) -> dict:
        context = Context(Home(self.home), self.url, Output(Format.JSON))
        result = CliRunner().invoke(self.command, options, obj=context, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def shop(nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("BUMPLESS_STORE_URL", f"file://{tmp_path}/store")
    return Shop(nats_url, tmp_path)


def test_what_no_kept_release_names_is_removed_and_a_dry_run_removes_nothing(shop: Shop) -> None:
    v1, v2, v3 = (shop.publish(version) for version in ("v1", "v2", "v3"))
    shop.grow_old()
    shown = shop.gc("--keep-last", "2", "--dry-run")
    assert (len(shown["removed"]), shown["kept"], shown["dry_run"]) == (2, 4, True)
    assert shop.has(v1) == {True}
    done = shop.gc("--keep-last", "2")
    assert (done["removed"], done["bytes"]) == (shown["removed"], shown["bytes"])
    assert (shop.has(v1), shop.has(v2), shop.has(v3)) == ({False}, {True}, {True})
    assert shop.gc("--keep-last", "2")["removed"] == []


def test_what_a_node_runs_stays(shop: Shop) -> None:
    v1 = shop.publish("v1")
    shop.publish("v2")
    component = v1.release.components[0]
    target = plans.target("api", "v1").model_copy(
        update={"root": component.root, "artifact": component.artifact}
    )
    node: Node = plans.node("a", {"api": target})
    asyncio.run(shop.say(NodeObserved(id=derive_id("seen"), at=plans.T0, node=node)))
    shop.grow_old()
    shop.gc("--keep-last", "1")
    assert shop.has(v1) == {True}


def test_a_publisher_that_has_not_announced_yet_loses_nothing(shop: Shop) -> None:
    """Neither what it has just put, nor what it found there and is old."""
    v1 = shop.publish("v1")
    shop.publish("v2")
    shop.grow_old()
    assert asyncio.run(shop.upload(v1)) == 0
    coming = shop.build("v3")
    assert asyncio.run(shop.upload(coming)) > 0
    assert shop.gc("--keep-last", "1")["removed"] == []
    assert (shop.has(v1), shop.has(coming)) == ({True}, {True})


def test_without_any_release_nothing_is_touched(shop: Shop) -> None:
    left = shop.build("v1")
    asyncio.run(shop.upload(left))
    asyncio.run(shop.say(NodeObserved(id=derive_id("seen"), at=plans.T0, node=plans.node("a", {}))))
    shop.grow_old()
    with pytest.raises(Refused, match="nothing was removed"):
        shop.gc()
    assert shop.has(left) == {True}


async def test_publishing_to_a_web_server_is_refused(shop: Shop) -> None:
    with pytest.raises(Refused, match="publish to the store behind it"):
        await upload(shop.build("v1"), HttpBlobs("https://127.0.0.1/blobs"), lambda text: None)
