"""Pictures of the real dashboard, in Chromium, from a rollout that is told to a real broker.

make screenshots
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId
from bumpless.common.model.verdict import Curve, Evidence, SequentialEvidence, Verdict
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from support.dashboard_lab import Dashboard, Stage, browser
from support.plans import batch, plan
from support.servers import NatsServer

HERE = Path(__file__).resolve().parent
SIZE = 120


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder, NatsServer(Path(folder) / "nats") as nats:
        connection = await Connection.connect(nats.url, name="pictures")
        await ensure_topology(connection)
        with Dashboard(Path(folder), nats.url) as dashboard:
            await dashboard.answers()
            stage = await begun(connection)
            async with browser() as chromium:
                await pictures(chromium, dashboard, stage)
        await connection.close()


async def begun(connection: Connection) -> Stage:
    """A rollout of three components whose second batch is under judgement."""
    nodes = [f"node-{number:03}" for number in range(1, SIZE + 1)]
    stage = Stage(
        connection,
        plan(
            batch("metadata-1", nodes[:4], component="metadata", canary=True),
            batch("metadata-2", nodes[4:60], component="metadata", needs=["metadata-1"]),
            batch("metadata-3", nodes[60:], component="metadata", needs=["metadata-2"]),
            batch("gateway-1", nodes[:60], component="gateway", needs=["metadata-3"]),
            batch("gateway-2", nodes[60:], component="gateway", needs=["gateway-1"]),
            batch("worker-1", nodes, component="worker", needs=["metadata-3"]),
        ),
    )
    await stage.planned(by="ci@forge")
    for step in stage.plan.steps():
        await stage.step(step.node, step.component, "serving", at=stage.began)
    await stage.progress("rolling", {"metadata-1": "applying"})
    await asyncio.sleep(1)
    await stage.progress("rolling", {"metadata-1": "baking"})
    for number in range(12):
        await stage.say(look(stage, "metadata-1", number))
        await asyncio.sleep(0.4)
    for kind, reason in ((c.Pause, "a look at the errors"), (c.Promote, "they were there before")):
        await ordered(stage, kind, reason)
    await stage.progress("rolling", {"metadata-1": "passed", "metadata-2": "applying"}, done=4)
    for number, node in enumerate(nodes[4:60]):
        state = ("serving", "draining", "switching", "starting")[number // 20] if number < 50 else "starting"
        await stage.step(node, "metadata", state)
    await asyncio.sleep(1)
    return stage


async def ordered(stage: Stage, kind: type[c.OperatorCommand], reason: str) -> None:
    """A person's order, and that it was accepted."""
    about = {"at": clock.now(), "rollout": stage.plan.rollout}
    order = kind.model_validate(
        {**about, "id": clock.fresh_id(), "by": "ada", "reason": reason, "to": "planner"}
    )
    name = str(kind.model_fields["type"].default)
    await stage.say(order)
    await stage.say(
        e.CommandAnswered.model_validate(
            {
                **about,
                "id": clock.fresh_id(),
                "cause": order.id,
                "command": name,
                "accepted": True,
                "text": f"{name} is done",
            }
        )
    )


def look(stage: Stage, name: str, number: int) -> e.GateProgressed:
    grown = tuple(-0.05 * place + (0.4 if place % 3 == 0 else 0.1) for place in range(number + 1))
    observed = 0.0035 + 0.0006 * (number % 3)
    evidence = SequentialEvidence(
        alpha=0.05,
        batches=3,
        log_batch=grown[-1],
        log_release=grown[-1],
        control="peers",
        nodes=(4, SIZE - 4),
        history_s=60,
        judged_s=number,
        curve=Curve(since=stage.began, step_s=0.4, bound=3.0, log_m=grown),
    )
    rule = Evidence(
        rule="error_rate",
        verdict=Verdict.PASS,
        observed=observed,
        baseline=0.0038,
        limit=0.0076,
        samples=180 * (number + 1),
        text=f"error rate {observed:.2%}, baseline 0.38%, limit 0.76%",
        sequential=evidence,
    )
    return e.GateProgressed(
        id=clock.fresh_id(),
        at=clock.now(),
        rollout=stage.plan.rollout,
        batch=BatchId(name),
        detail="the window is not over",
        evidence=(rule,),
    )


async def pictures(chromium: Any, dashboard: Dashboard, stage: Stage) -> None:
    context = await chromium.new_context(viewport={"width": 1180, "height": 900})
    page = await context.new_page()
    await page.goto(dashboard.link())
    await page.wait_for_selector("nav")
    await page.goto(f"{dashboard.address}/rollouts/{stage.plan.rollout}")
    await page.wait_for_selector("canvas")
    await page.wait_for_selector("figure")
    await page.screenshot(path=HERE / "dashboard-rollout.png", full_page=True)
    await page.emulate_media(color_scheme="dark")
    await page.screenshot(path=HERE / "dashboard-dark.png")
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.screenshot(path=HERE / "dashboard-phone.png")


if __name__ == "__main__":
    asyncio.run(main())
