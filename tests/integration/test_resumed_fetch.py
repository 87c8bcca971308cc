"""An executor that is killed in the middle of a package goes on there after its restart; also over HTTP."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

import pytest

from bumpless.common.artifacts.build import BuiltArtifact, build_artifact
from bumpless.common.artifacts.stores.jetstream import JetStreamBlobs
from bumpless.common.artifacts.stores.store import DirectoryBlobs
from bumpless.common.contract.commands import StageComponent
from bumpless.common.contract.events import StepStaged
from bumpless.common.contract.subjects import ARTIFACT_BUCKET
from bumpless.common.model.plan import Target
from bumpless.common.model.release import Run
from integration.test_executor import COMPONENT, Site, site
from support.stores import WebServer
from support.waiting import eventually

__all__ = ["site"]  # the fixture
SIZE = 4_000_000
RATE = 500_000
"""So slow that there is time to kill it."""


@pytest.mark.parametrize("kind", ["jetstream", "http"])
async def test_a_killed_executor_goes_on_with_a_package_where_it_was(site: Site, kind: str) -> None:
    built = await asyncio.to_thread(package, site)
    web = WebServer(built.blobs)
    async with web.running():
        store = JetStreamBlobs(site.connection.js, ARTIFACT_BUCKET)
        for to in (store, DirectoryBlobs(built.blobs)):
            for blob in tuple(built.blobs.iterdir()):
                await to.put(blob)
            ref = await to.put(built.envelope)
        url = web.url if kind == "http" else f"jetstream:{ARTIFACT_BUCKET}"
        slow = {"STORE_URL": url, "FETCH_JITTER_S": "0", "FETCH_BYTES_PER_S": str(RATE)}
        site.start(**slow)
        target = Target.model_validate(
            {
                "component": COMPONENT,
                "version": "v1",
                "root": built.artifact.root,
                "artifact": ref.digest,
                "artifact_size": ref.size,
                "run": Run(command=("true",)),
            }
        )
        fields = site.command((1, 1), target).model_dump(exclude={"type"}) | {"batch": None}
        await site.send(StageComponent.model_validate(fields))
        downloads = site.home / "node" / "downloads"

        async def arrived() -> int:
            return sum(part.stat().st_size for part in downloads.glob("*.part"))

        await eventually(arrived, lambda size: size > RATE, "part of the package")
        await site.stop(signal.SIGKILL)
        held = await arrived()
        assert RATE < held < SIZE
        site.start(STORE_URL=url, FETCH_JITTER_S="0")
        staged = await site.wait(StepStaged)
        assert (staged.ok, staged.bytes_fetched) == (True, built.artifact.full.size - held)
        assert await arrived() == 0
        assert kind != "http" or web.asked[-1] == held


def package(site: Site) -> BuiltArtifact:
    tree: Path = site.home / "large"
    tree.mkdir()
    (tree / "data").write_bytes(random.Random(3).randbytes(SIZE))
    return build_artifact(
        tree, name=COMPONENT, version="v1", previous=[], out=site.home / "built", key=site.release
    )
