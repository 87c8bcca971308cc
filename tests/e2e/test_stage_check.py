"""A person asks whether the fleet could take a release; and takes it then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bumpless.cli.client import Client
from bumpless.common.contract.subjects import Stream
from support.fleet_lab import Ended, Lab
from support.fleet_product import write_release
from support.fleet_watch import ended, on_fleet, publish

pytestmark = pytest.mark.timeout(300)


async def check(lab: Lab, path: Path, *words: str) -> tuple[Ended, list[dict[str, Any]]]:
    done = await lab.cli("--output", "json", "stage", str(path), "--check", *words)
    return done, json.loads(done.out or "[]")


def left(lab: Lab) -> list[Path]:
    return [path for node in lab.nodes for path in lab.home.node_dir(node).glob("checks/*")]


async def announced(found: Client) -> int:
    return (await found.connection.js.stream_info(Stream.REL.value)).state.last_seq


async def test_a_ready_fleet_then_nodes_that_cannot_then_the_release(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    path = write_release(folder, new, core=new, gate=None)
    async with lab.client() as found:
        before, count = await on_fleet(found, "core"), await announced(found)

        done, rows = await check(lab, path)
        assert done.code == 0, done.err
        told = [(r["node"], r["component"], r["version"], r["answer"], r["by"]) for r in rows]
        assert told == [(node, "core", new, "ready", "delta") for node in lab.nodes]
        assert all(row["fetched"] > 0 < row["free"] for row in rows)
        assert "3 of 3 ready; nothing was announced" in done.err

        downloads = lab.home.node_dir("node-2") / "downloads"
        shutil.rmtree(downloads)
        downloads.write_text("in the way")
        lab.kill("node-3")
        try:
            done, rows = await check(lab, path)
            assert done.code == 1
            assert [row["answer"] for row in rows] == ["ready", "not ready", "no answer"]
            assert "File exists" in rows[1]["reason"]
            assert "see that its executor runs" in rows[2]["reason"]
            assert "1 of 3 ready" in done.err

            table = await lab.cli("stage", str(path), "--check", "--node", "node-1")
            assert (table.code, table.out.count("node-1"), "node-2" in table.out) == (0, 1, False)
            strange = await lab.cli("stage", str(path), "--check", "--node", "node-9")
            assert strange.code == 1
            assert "expected nodes that this release would reach: node-1, node-2, node-3" in strange.err
        finally:
            downloads.unlink()
            lab.start("node-3")

        assert await on_fleet(found, "core") == before
        assert await announced(found) == count
        assert left(lab) == []
        await ended(found, await publish(lab, found, path), "succeeded")

        done, rows = await check(lab, path)
        assert (done.code, rows) == (0, [])
        assert "nothing to change" in done.err


async def test_without_the_option_it_explains_itself(lab: Lab, folder: Path) -> None:
    done = await lab.cli("stage", str(folder / "none.yaml"))
    assert done.code == 1
    assert "a rollout stages by itself" in done.err
    assert "none.yaml --check" in done.err
