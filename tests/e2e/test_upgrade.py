"""A whole upgrade of every component on every node: nobody notices, and the order is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import Message
from support.fleet_lab import Lab
from support.fleet_product import write_release
from support.fleet_watch import check_log, check_switches, ended, on_fleet, publish, results

pytestmark = pytest.mark.timeout(300)


async def test_an_upgrade_of_everything_is_not_noticed(lab: Lab, folder: Path) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        async with lab.load():
            rollout = await publish(lab, found, write_release(folder, new, core=new, front="f2"))
            log = await ended(found, rollout, "succeeded")

        await check_log(found, log)
        await check_switches(lab, found, rollout, "core", new, lab.nodes)
        await check_switches(lab, found, rollout, "front", "f2", lab.nodes)
        assert await on_fleet(found, "core") == dict.fromkeys(lab.nodes, new)
        assert await on_fleet(found, "front") == dict.fromkeys(lab.nodes, "f2")

        staged = await results(found, e.StepStaged, rollout)
        assert {(m.node, m.component) for m in staged} == {
            (n, x) for n in lab.nodes for x in ("core", "front")
        }
        assert {m.used for m in staged} == {"delta"}, staged
        assert sum(m.bytes_fetched for m in staged) < sum(m.full_bytes for m in staged) / 4

        finished = await results(found, e.StepFinished, rollout)
        canary = next(m for m in finished if m.batch == "core-1")
        opened = {m.batch: m for m in log.of(c.OpenGate)}
        assert [member.node for member in opened["core-1"].canary] == [canary.node]
        assert {member.node for member in opened["core-1"].control} == set(lab.nodes) - {canary.node}
        passed = [m for m in log.of(e.VerdictReached) if m.verdict == "pass"]
        assert [m.batch for m in passed] == ["core-1", "core-2"]

        def first_front(message: Message) -> bool:
            inputs = message.inputs if isinstance(message, e.RolloutAdvanced) else ()
            return any(
                item.message.get("batch") == "front-1" and item.message["type"] == "step-finished"
                for item in inputs
            )

        last_verdict = log.index(lambda m: isinstance(m, e.VerdictReached) and m.batch == "core-2")
        assert last_verdict < log.index(first_front)
        fronts = [m.switched_at for m in finished if m.component == "front" and m.switched_at is not None]
        assert min(fronts) > passed[-1].at
