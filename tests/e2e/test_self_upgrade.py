"""The executors of a whole fleet are replaced by a release: nobody notices, and what does not come up goes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bumpless.common.contract import events as e
from support.executor_tree import BROKEN, KILLS, executor_starts, order_fault, write_executor_release
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import check_log, ended, log_of, on_fleet, publish, results

pytestmark = pytest.mark.timeout(300)

ENOUGH_S = 60.0
"""For a version to come up, on a machine that does much else."""
LIMIT_S = 200.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Nodes that run `core` and `front`, with the executor that is installed."""
    with Lab(len(KILLS), keep_executors=True) as lab:
        asyncio.run(_install(lab))
        yield lab


async def _install(lab: Lab) -> None:
    async with lab.client() as found:
        path = write_release(lab.home.path, "v1", core="v1", gate=None)
        await ended(found, await publish(lab, found, path), "succeeded", LIMIT_S)


async def test_every_executor_is_replaced_and_keeps_its_process(lab: Lab, folder: Path) -> None:
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_executor_release(folder, "e1", ENOUGH_S, **_ALL))
            log = await ended(found, rollout, "succeeded", LIMIT_S)
        await check_log(found, log)
        assert await on_fleet(found, "executor") == dict.fromkeys(lab.nodes, "e1")
        done = {m.node: m.outcome for m in await results(found, e.StepFinished, rollout)}
        assert done == dict.fromkeys(lab.nodes, "done")
    for node in lab.nodes:
        (pid,) = executor_starts(lab.starts_file(node))
        assert "components/executor/versions" in _environ(pid)["PYTHONPATH"]


async def test_a_kill_at_any_point_leaves_an_upgrade_that_ends_right(lab: Lab, folder: Path) -> None:
    for node, point in zip(lab.nodes, KILLS, strict=True):
        order_fault(lab.home.node_dir(node), "e1" if "exchange" in point else "e2", point)
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_executor_release(folder, "e2", ENOUGH_S, **_ALL))
            log = await ended(found, rollout, "succeeded", LIMIT_S)
        await check_log(found, log)
        assert await on_fleet(found, "executor") == dict.fromkeys(lab.nodes, "e2")
    left = [node for node in lab.nodes if (lab.home.node_dir(node) / "fault").exists()]
    assert not left, f"expected every kill to strike, found {left} spared"
    assert all(len(executor_starts(lab.starts_file(node))) == 2 for node in lab.nodes)


async def test_versions_that_do_not_come_up_go_back_and_take_the_release_with_them(
    lab: Lab, folder: Path
) -> None:
    """The first node's executor is replaced before: it is the newer one that obeys the revert."""
    for node, how in zip(lab.nodes[1:], BROKEN, strict=False):
        order_fault(lab.home.node_dir(node), "e3", how)
    broken = lab.nodes[1 : 1 + len(BROKEN)]
    async with lab.client() as found:
        async with lab.load():
            path = write_executor_release(
                folder, "e3", ENOUGH_S, strategy={"kind": "canary", "batch_size": 8}
            )
            rollout = await publish(lab, found, path)
            log = await ended(found, rollout, "reverted", LIMIT_S)
        await check_log(found, log)
        await check_log(found, await log_of(found, log.revert))
        assert await on_fleet(found, "executor") == dict.fromkeys(lab.nodes, "e2")
        said = {m.node: m for m in await results(found, e.StepFinished, rollout)}
        assert said[lab.nodes[0]].outcome == "done"
        for node, how in zip(broken, BROKEN, strict=True):
            assert said[node].outcome == "failed"
            reason = said[node].reason or ""
            assert "a fault of this version" in reason, f"{how}: {reason}"
            assert "found it ended 2 times" in reason, f"{how}: {reason}"


@pytest.mark.faults
@pytest.mark.timeout(3600)
async def test_a_kill_before_any_call_that_changes_the_disk_leaves_an_upgrade_that_ends_right(
    lab: Lab, folder: Path
) -> None:
    """As many calls at a time as there are nodes, until an upgrade has none left that was not killed."""
    async with lab.client() as found:
        await ended(
            found,
            await publish(lab, found, write_executor_release(folder, "c0", ENOUGH_S, **_ALL)),
            "succeeded",
            LIMIT_S,
        )
        for attempt in range(1, 100):
            first = 1 + (attempt - 1) * len(lab.nodes)
            for number, node in enumerate(lab.nodes, start=first):
                order_fault(lab.home.node_dir(node), "any", str(number))
            version = f"c{attempt}"
            async with lab.load():
                path = write_executor_release(folder, version, ENOUGH_S, **_ALL)
                log = await ended(found, await publish(lab, found, path), "succeeded", LIMIT_S)
            await check_log(found, log)
            assert await on_fleet(found, "executor") == dict.fromkeys(lab.nodes, version)
            spared = [node for node in lab.nodes if (lab.home.node_dir(node) / "fault").exists()]
            print(f"killed before calls {first} to {first + len(lab.nodes) - 1}, but for {len(spared)}")
            if len(spared) == len(lab.nodes):
                return
    raise AssertionError("expected an upgrade to change the disk fewer than 500 times")


_ALL = {"strategy": {"kind": "rolling", "batch_size": 8}}


def _environ(pid: int) -> dict[str, str]:
    rows = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {name.decode(): value.decode() for name, _, value in (row.partition(b"=") for row in rows)}
