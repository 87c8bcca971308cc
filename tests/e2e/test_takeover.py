"""The planner away: dead while a person takes a rollout back, and frozen while another one works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.envelope import Envelope
from bumpless.common.contract.subjects import Stream
from bumpless.common.model.plan import Direction
from bumpless.common.shell import clock
from bumpless.common.shell.service import LEASE_S
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import (
    batch,
    check_log,
    check_switches,
    ended,
    log_of,
    log_when,
    on_fleet,
    publish,
    until,
    until_batch,
)
from support.waiting import comes_true, eventually

pytestmark = pytest.mark.timeout(300)


async def test_a_rollback_while_the_planner_is_dead(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        before = await on_fleet(found, "core")
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, new, core=new))
            await until_batch(found, rollout, "core-2", "baking")
            lab.kill("planner")
            order = c.Rollback(id=clock.fresh_id(), at=clock.now(), rollout=rollout, by="operator")
            answer = await found.command(order)
            assert answer.accepted, answer.text
            log = await log_when(
                found, rollout, lambda log: log.of(e.RolloutReverted), "the fleet to be back"
            )

            assert await on_fleet(found, "core") == before
            assert log.one(e.RevertStarted).by == "operator"
            assert not lab.runs("planner")
            commands = (await found.connection.js.stream_info(Stream.CMD.value)).state.last_seq
            lab.start("planner")
            log = await ended(found, rollout, "reverted")
            again = await found.command(
                c.Pause(id=clock.fresh_id(), at=clock.now(), rollout=rollout, by="operator")
            )
            assert not again.accepted

        await check_log(found, log)
        await check_log(found, await log_of(found, log.revert))
        assert (await found.connection.js.stream_info(Stream.CMD.value)).state.last_seq == commands
        for item in await found.connection.snapshot(Stream.CMD, [f"cmd.{node}.core" for node in lab.nodes]):
            standing = json.loads(Envelope.from_bytes(item.data).payload)
            assert (standing["direction"], standing["rollout"]) == (Direction.REVERT, log.revert)
        assert await on_fleet(found, "core") == before


async def test_two_planners_one_of_them_frozen_for_longer_than_its_lease(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            first = lab.lease_of("planner")
            second = lab.start_second("planner")
            rollout = await publish(lab, found, write_release(folder, new, core=new))
            await until_batch(found, rollout, "core-1", "baking")
            assert lab.lease_of("planner") == first
            lab.freeze("planner")

            async def lease() -> bytes | None:
                return lab.lease_of("planner")

            taken = await eventually(
                lease, lambda now: now not in (None, first), f"a new lease after {LEASE_S} s"
            )
            lab.thaw("planner")
            await until(found, rollout, batch("core-2", "baking"), "the second planner to go on")
            assert lab.lease_of("planner") == taken
            log = await ended(found, rollout, "succeeded")
            lab.end(second)

        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)


async def test_a_planner_that_was_killed_is_followed_at_once_by_the_next_one_in_its_place(lab: Lab) -> None:
    ours = (lab.home.state("planner") / "planner.process").read_bytes()
    await comes_true(lambda: (lab.lease_of("planner") or b"").startswith(ours), "it to hold the lease")
    before = lab.lease_of("planner")
    lab.kill("planner")
    lab.hold_lease("planner", 3600)
    lab.start("planner")
    await comes_true(lambda: lab.lease_of("planner") != before, "the next one to hold the lease")
