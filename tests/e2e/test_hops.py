"""Real rollouts through intermediate versions: every hop on every node, from wherever it is, and back the same way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bumpless.cli.client import Client
from bumpless.cli.watched import Watched
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId
from support.fleet_lab import Lab
from support.fleet_product import write_release, write_tree
from support.fleet_watch import check_log, ended, on_fleet, publish, results, until

pytestmark = pytest.mark.timeout(300)

NODES = ("node-1", "node-2")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes that run `core` 1.0.0."""
    with Lab(len(NODES)) as lab:
        asyncio.run(_install(lab))
        yield lab


async def _install(lab: Lab) -> None:
    async with lab.client() as found:
        await ended(found, await publish(lab, found, product(lab.home.path, ["1.0.0"])), "succeeded")


def product(folder: Path, way: Sequence[str], **more: Any) -> Path:
    """A release to the last version of `way`, which may be reached only over the others, with their trees."""
    path = write_release(folder, f"{way[-1]}-{len(way)}", core=way[-1], front=None, gate=None, **more)
    body = json.loads(path.read_text())
    body["components"][0]["through"] = [
        {"version": version, "artifact": str(write_tree(folder / "trees", "core", version))}
        for version in way[1:-1]
    ]
    if len(way) > 1:
        hops = {f"{old}>{new}": "backward" for old, new in pairwise(way)}
        body["compat"] = {"levels": {"core": hops}}
    path.write_text(json.dumps(body))
    return path


async def serving(found: Client) -> int:
    """The major version that every node runs."""
    [version] = set((await on_fleet(found, "core")).values())
    return int(str(version).split(".")[0])


async def switches(found: Client, rollout: str) -> dict[str, list[str]]:
    """The versions that each node came to, in their order."""
    done = [m for m in await results(found, e.StepFinished, rollout) if m.switched_at is not None]
    once = {(m.node, m.sequence): m for m in done}
    return {node: [str(m.version) for (n, _), m in sorted(once.items()) if n == node] for node in NODES}


async def test_every_node_goes_through_the_version_between(lab: Lab, folder: Path) -> None:
    async with lab.client() as found:
        at = await serving(found)
        way = [f"{at + k}.0.0" for k in range(3)]
        async with lab.load("core"):
            rollout = await publish(lab, found, product(folder, way))
            log = await ended(found, rollout, "succeeded")
        await check_log(found, log)
        assert await switches(found, rollout) == dict.fromkeys(NODES, way[1:])
        staged = await results(found, e.StepStaged, rollout)
        assert sorted(m.node for m in staged) == list(NODES)
        done = await results(found, e.StepFinished, rollout)
        first = [m.at for m in done if m.version == way[1]]
        second = [m.at for m in done if m.version == way[2]]
        assert max(first) < min(second)
        assert await on_fleet(found, "core") == dict.fromkeys(NODES, way[2])


async def test_nodes_of_a_mixed_fleet_go_from_where_they_are(lab: Lab, folder: Path) -> None:
    async with lab.client() as found:
        at = await serving(found)
        way = [f"{at + k}.0.0" for k in range(3)]
        ahead = await publish(lab, found, product(folder, way[:2], nodes=["node-1"]))
        await ended(found, ahead, "succeeded")
        rollout = await publish(lab, found, product(folder, way))
        await ended(found, rollout, "succeeded")
        assert await switches(found, rollout) == {"node-1": way[2:], "node-2": way[1:]}
        assert await on_fleet(found, "core") == dict.fromkeys(NODES, way[2])


async def test_a_last_hop_that_fails_is_taken_back_through_the_version_between(
    lab: Lab, folder: Path
) -> None:
    async with lab.client() as found:
        at = await serving(found)
        way = [f"{at + k}.0.0" for k in range(3)]
        limits = {"ready_timeout_s": 5}
        path = product(folder, way, mode="never-ready", timing=limits)
        rollout = await publish(lab, found, path)
        log = await ended(found, rollout, "reverted")
        assert log.one(e.RolloutFailed).switched_anything
        assert await switches(found, rollout) == dict.fromkeys(NODES, way[1:2])
        assert await on_fleet(found, "core") == dict.fromkeys(NODES, way[0])


async def test_an_executor_that_is_killed_between_two_hops_goes_on(lab: Lab, folder: Path) -> None:
    async with lab.client() as found:
        at = await serving(found)
        # The failed version of the test before has the next numbers.
        way = [f"{at}.0.0", f"{at}.1.0", f"{at + 9}.0.0"]
        rollout = await publish(lab, found, product(folder, way, timing={"soak_s": 1}))

        def first_hop_done(seen: Watched) -> bool:
            return seen.forward is not None and seen.forward.batches.get(BatchId("core-1")) == "passed"

        await until(found, rollout, first_hop_done, "the first hop to be done")
        lab.kill("node-2")
        lab.heal()
        log = await ended(found, rollout, "succeeded")
        await check_log(found, log)
        assert await on_fleet(found, "core") == dict.fromkeys(NODES, way[2])
        assert (await switches(found, rollout))["node-1"] == way[1:]
