"""Every part is killed in the middle of a rollout: it ends as it would have, nothing is done twice, nobody notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from bumpless.common.contract import events as e
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
    results,
    step,
    until,
    until_batch,
)

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("part", ["planner", "redis", "nats"])
async def test_while_the_canary_bakes(lab: Lab, folder: Path, part: str) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, new, core=new))
            await until_batch(found, rollout, "core-1", "baking")
            lab.kill(part)
            lab.start(part)
            log = await ended(found, rollout, "succeeded")

        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)
        assert await on_fleet(found, "core") == dict.fromkeys(lab.nodes, new)


async def test_the_health_gate_while_it_judges(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, new, core=new))
            await until(found, rollout, lambda seen: "core-1" in seen.gates, "a judgement")
            lab.kill("health-gate")
            lab.start("health-gate")
            log = await ended(found, rollout, "succeeded")

        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)


async def test_the_broker_right_after_a_result_while_nobody_listens(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, new, core=new))
            await until(found, rollout, step("node-1", "core", "draining"), "node-1 to be draining")
            lab.kill("planner")
            await until(found, rollout, step("node-1", "core", "serving"), "node-1 to be done")
            lab.kill("nats")
            lab.start("nats", "planner")
            log = await ended(found, rollout, "succeeded")

        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)


@pytest.mark.parametrize("part", ["planner", "nats", "redis"])
async def test_while_nodes_switch(lab: Lab, folder: Path, part: str) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, new, core=new))
            await until_batch(found, rollout, "core-2", "applying")
            lab.kill(part)
            lab.start(part)
            log = await ended(found, rollout, "succeeded")

        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)


async def test_executors_in_the_middle_of_their_switch(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, new, core=new))
            for node, state in (("node-1", "starting"), ("node-2", "draining")):
                await until(found, rollout, step(node, "core", state), f"{node} to be {state}")
                lab.kill(node)
                lab.start(node)
            log = await ended(found, rollout, "succeeded")

        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)


async def test_the_rollback_service_in_the_middle_of_a_revert(lab: Lab, folder: Path) -> None:
    bad = lab.fresh()
    async with lab.client() as found:
        before = await on_fleet(found, "core")
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, bad, core=bad, mode="errors"))
            started = await log_when(found, rollout, lambda log: log.of(e.RevertStarted), "a revert")
            lab.kill("rollback")
            lab.start("rollback")
            log = await ended(found, rollout, "reverted")

        revert = await log_of(found, started.revert)
        await check_log(found, log)
        await check_log(found, revert)
        assert await on_fleet(found, "core") == before
        done = await results(found, e.StepFinished, started.revert)
        assert [(m.node, m.outcome) for m in done] == [("node-1", "done")]
