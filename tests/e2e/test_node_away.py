"""A node whose executor is away: not planned for, or waited for; and what it runs goes on serving."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bumpless.common.contract import events as e
from bumpless.common.contract.subjects import Stream, subject_for
from bumpless.common.model.fleet import Node
from bumpless.common.shell import clock
from bumpless.planner.placement import SEEN_WITHIN_S
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import (
    check_log,
    check_switches,
    ended,
    log_of,
    log_when,
    on_fleet,
    publish,
    refused,
    until_batch,
)

pytestmark = pytest.mark.timeout(300)


async def test_nothing_is_planned_on_a_silent_node(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        # As an executor that was switched off a while ago has left it.
        long_ago = clock.now() - timedelta(seconds=2 * SEEN_WITHIN_S)
        gone = Node(name="node-9", address="127.0.0.1", observed_at=long_ago)
        await found.connection.publish(
            e.NodeObserved(id=clock.fresh_id(), at=long_ago, node=gone), source="executor"
        )
        try:
            rollout = await publish(lab, found, write_release(folder, new, core=new))
            reasons = (await refused(found, rollout)).reasons
            assert any("node-9" in reason and "last seen" in reason for reason in reasons), reasons
            assert not (await log_of(found, rollout)).advanced
        finally:
            subject = subject_for(e.NodeObserved, name="node-9")
            await found.connection.js.purge_stream(Stream.INV.value, subject=subject)


async def test_a_batch_waits_for_a_node_that_comes_back(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, new, core=new))
            await until_batch(found, rollout, "core-1", "baking")
            lab.kill("node-3")
            seen = await until_batch(found, rollout, "core-2", "applying")
            assert seen.forward is not None
            assert seen.forward.steps_done == 1
            lab.start("node-3")
            log = await ended(found, rollout, "succeeded")

        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)


async def test_a_batch_whose_node_stays_away_fails_by_its_deadline(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        before = await on_fleet(found, "core")
        async with lab.load():
            path = write_release(
                folder,
                new,
                core=new,
                limits={"fetch_allowance_s": 1},
                timing={"ready_timeout_s": 2, "drain_timeout_s": 1},
            )
            rollout = await publish(lab, found, path)
            await until_batch(found, rollout, "core-1", "baking")
            lab.kill("node-3")
            log = await log_when(found, rollout, lambda log: log.of(e.RolloutFailed), "its failure")
            # It was commanded, so its word is needed that it runs what it ran before.
            lab.start("node-3")
            reason = log.one(e.RolloutFailed).reason
            assert "no answer in" in reason
            assert "node-3/core" in reason
            log = await ended(found, rollout, "reverted")

        await check_log(found, log)
        assert await on_fleet(found, "core") == before
