"""`bumpless up` and `bumpless down`: a control plane from nothing, and nothing of it left."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bumpless.cli.home import Home
from support.command_check import faults, words_of
from support.command_table import UP
from support.fleet_lab import processes_of, run_cli
from support.fleet_product import write_release

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    """A home directory with a short path; whatever runs from it is stopped in the end."""
    with tempfile.TemporaryDirectory(prefix="up-") as folder:
        found = Home(Path(folder) / "home")
        yield found
        await run_cli(found, "down")


def assert_only_the_dashboard_gives_way(home: Home) -> None:
    """And in a session with those to whom it gives way; executors, which are elsewhere at a site, have their own."""
    cluster = home.cluster()
    assert cluster is not None
    found = {name: (os.sched_getscheduler(pid), os.getsid(pid)) for name, pid in cluster["parts"].items()}
    ours = os.getsid(cluster["pid"])
    assert found == {
        name: (
            os.SCHED_IDLE if name == "dashboard" else os.SCHED_OTHER,
            cluster["parts"][name] if name in cluster["nodes"] else ours,
        )
        for name in cluster["parts"]
    }


async def test_up_publish_status_down(home: Home) -> None:
    up, again = [
        await run_cli(home, "--output", "json", *words_of("up", run, {})) for run in UP["up"]
    ]  # the second in the same home
    wrong = [
        fault for run, done in zip(UP["up"], (up, again), strict=True) for fault in faults("up", run, done)
    ]
    assert wrong == []
    assert json.loads(up.out)["nodes"] == ["node-1", "node-2"]
    assert_only_the_dashboard_gives_way(home)

    early = await run_cli(home, "status")
    assert (early.code, "none yet" in early.err) == (1, True)
    path = write_release(home.path.parent, "v1", core="v1", gate=None)
    published = await run_cli(home, "release", "publish", str(path), "--wait")
    assert published.code == 0, published.out + published.err
    status = await run_cli(home, "status")
    assert status.code == 0, status.err
    assert "succeeded" in status.out

    running = await asyncio.to_thread(processes_of, home)
    assert len(running) >= 5 + 2 + 4, f"servers, services, executors and what they run, found {running}"
    down = await run_cli(home, "down", "--purge")
    assert down.code == 0, down.err
    assert processes_of(home) == []
    assert not home.path.exists()
