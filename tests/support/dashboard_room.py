"""Broker, dashboard and browser for tests of pages, and a rollout that is told to them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, RolloutId, derive_id
from bumpless.common.model.verdict import Curve, Verdict
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Connection, Received
from bumpless.common.shell.nats_client import Away
from bumpless.common.shell.reading import read
from bumpless.common.shell.topology import ensure_topology
from support.dashboard_lab import LIMIT_MS, Dashboard, Stage
from support.evidence import found_by_test
from support.plans import batch, plan
from support.servers import NatsServer
from support.waiting import eventually

AXE = Path(__file__).resolve().parents[1] / "fixtures" / "axe" / "axe.min.js"


class Room:
    """Broker, dashboard and browser. `page` opens a page that is logged in by a link; faults of it are collected."""

    def __init__(self, nats: NatsServer, connection: Connection, dashboard: Dashboard, chromium: Any) -> None:
        self.nats, self.connection, self.dashboard, self.chromium = nats, connection, dashboard, chromium
        self.faults: list[str] = []
        self._contexts: list[Any] = []

    async def page(self, path: str = "/", *, login: bool = True, **options: Any) -> Any:
        context = await self.chromium.new_context(**options)
        self._contexts.append(context)
        context.set_default_timeout(LIMIT_MS)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on(
            "console",
            lambda said: self.faults.append(said.text) if "Content Security Policy" in said.text else None,
        )
        await page.goto(self.login(path) if login else self.dashboard.address + path)
        if login:
            await page.wait_for_selector("nav")
        return page

    def login(self, path: str) -> str:
        """The page's address, with a link's means to log in once."""
        return self.dashboard.link().replace("/#login", f"{path}#login")

    async def close_pages(self) -> None:
        while self._contexts:
            await self._contexts.pop().close()

    def stage(self, name: str, *batches: Any, **more: Any) -> Stage:
        return Stage(self.connection, plan(*batches, rollout=RolloutId(derive_id("dashboard", name)), **more))


async def told(room: Room, name: str) -> Stage:
    """A rollout of two components that is in the middle of its second batch."""
    stage = room.stage(
        name,
        batch("api-1", ["n1"], canary=True),
        batch("api-2", ["n2", "n3"], needs=["api-1"]),
        batch("web-1", ["n1", "n2"], component="web", needs=["api-2"]),
    )
    await stage.planned(by="ci@forge")
    for step in stage.plan.steps():
        await stage.step(step.node, step.component, "serving", at=stage.began)
    await stage.progress("rolling", {"api-1": "applying"})
    await stage.progress("rolling", {"api-1": "baking"})
    await stage.say(gate(stage, "api-1", 0.5))
    await stage.progress("rolling", {"api-1": "passed", "api-2": "applying"}, done=1)
    await stage.step("n2", "api", "switching", "warm")
    return stage


def gate(stage: Stage, name: str, observed: float) -> e.GateProgressed:
    rule = found_by_test(
        Verdict.INCONCLUSIVE,
        Curve(since=stage.began, step_s=1, bound=3.0, log_m=(0.1, 0.4, observed)),
        rule="error_rate",
        observed=observed,
        text="so far within its limit",
    )
    return e.GateProgressed(
        id=clock.fresh_id(),
        at=clock.now(),
        rollout=stage.plan.rollout,
        batch=BatchId(name),
        detail="not enough seen yet",
        evidence=(rule,),
    )


@contextlib.asynccontextmanager
async def answering(room: Room, stage: Stage) -> AsyncIterator[list[c.OperatorCommand]]:
    """The orders that came; each is answered, and accepted unless its reason is `no`."""
    given: list[c.OperatorCommand] = []

    async def answer(item: Received) -> None:
        order = read(item)
        assert isinstance(order, c.OperatorCommand)
        given.append(order)
        kind: str = order.type  # type: ignore[attr-defined]
        await stage.say(
            e.CommandAnswered(
                id=clock.fresh_id(),
                at=clock.now(),
                cause=order.id,
                rollout=order.rollout,
                command=kind,
                accepted=order.reason != "no",
                text=f"{kind} it is",
            )
        )

    listening = await room.connection.subscribe(f"op.*.{stage.plan.rollout}.*", answer)
    try:
        yield given
    finally:
        await listening.unsubscribe()


def soon(found: Any) -> Any:
    """Playwright's `expect`, for a page or what is on it: whatever comes about is on the page a while later."""
    from playwright.async_api import expect

    expect.set_options(timeout=LIMIT_MS)
    return expect(found)


async def with_streams(connection: Connection) -> None:
    async def tried() -> bool:
        try:
            await ensure_topology(connection)
        except Away:
            return False
        return True

    await eventually(tried, bool, "the streams to be there")


async def serious(page: Any) -> list[str]:
    """What axe finds that is serious or worse, by rule and place."""
    # Through the debugger, as a person's extension would: our policy lets no script of others in.
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run()")
    return [
        f"{fault['id']}: {place['html'][:160]} {place.get('failureSummary', '')[:300]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for place in fault["nodes"]
    ]
