"""People watch and steer real rollouts in a browser: what every service, node and gate does shows up by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bumpless.common.access.rights import DASHBOARD
from bumpless.common.contract import events as e
from support.dashboard_lab import LIMIT_MS, Dashboard, browser, needs_chromium
from support.fleet_lab import Lab
from support.fleet_product import PATIENT_GATE, write_release
from support.fleet_watch import log_of, on_fleet, publish

pytestmark = [needs_chromium, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """Stays open from one test to the next, as a person's would."""
    seed = lab.home.seed(DASHBOARD)
    with Dashboard(tmp_path_factory.mktemp("dashboard"), lab.nats_url, seed) as dashboard:
        await dashboard.answers()
        async with browser() as chromium:
            page = await chromium.new_page()
            page.set_default_timeout(LIMIT_MS)
            await page.goto(dashboard.link())
            await page.wait_for_selector("nav")
            yield page


async def order(page: Any, name: str, answer: str = "Accepted") -> None:
    await page.click(f".actions button:text-is('{name}')")
    await page.fill("textarea[name=reason]", f"{name} for the test")
    await page.click(f"dialog button:text-is('Yes, {name}')")
    await page.wait_for_selector(f".answer:has-text('{answer}')")


async def baking(page: Any, batch: str) -> None:
    await page.wait_for_selector(f"text=Batch {batch} is baking")


async def test_an_upgrade_is_steered_and_taken_back(lab: Lab, folder: Path, page: Any) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        before = await on_fleet(found, "core")
        path = write_release(folder, new, core=new, gate=PATIENT_GATE, approval=True)
        rollout = await publish(lab, found, path)
        await page.click("nav >> text=Rollouts")
        await page.click(f"a[href='/rollouts/{rollout}']")
        await order(page, "approve")
        await baking(page, "core-1")
        await order(page, "pause")
        await page.wait_for_selector(".head .chip:has-text('paused')")
        await order(page, "promote")
        await order(page, "resume")
        await baking(page, "core-2")
        lab.kill("nats")
        lab.start("nats")
        await order(page, "promote")
        await page.wait_for_selector("text=The rollout has succeeded")
        await page.wait_for_selector(f".legend >> text=done {len(lab.nodes)}")
        assert await on_fleet(found, "core") == dict.fromkeys(lab.nodes, new)

        await order(page, "rollback")
        await page.wait_for_selector("text=The rollout is taken back")
        await page.wait_for_selector("text=Every node runs again what it ran before")
        assert await on_fleet(found, "core") == before
        answers = (await log_of(found, rollout)).of(e.CommandAnswered)
        assert [(a.command, a.accepted) for a in answers] == [
            (name, True) for name in ("approve", "pause", "promote", "resume", "promote", "rollback")
        ]


async def test_an_abort_and_a_retry(lab: Lab, folder: Path, page: Any) -> None:
    new = lab.fresh()
    async with lab.client() as found:
        rollout = await publish(lab, found, write_release(folder, new, core=new, gate=PATIENT_GATE))
        await page.click("nav >> text=Rollouts")
        await page.click(f"a[href='/rollouts/{rollout}']")
        await baking(page, "core-1")
        await order(page, "abort")
        await page.wait_for_selector("text=Every node runs again what it ran before")
        await order(page, "retry")
        again = (await page.inner_text(".answer")).split()[-1]
        await page.click("nav >> text=Rollouts")
        await page.click(f"a[href='/rollouts/{again}']")
        for batch in ("core-1", "core-2"):
            await baking(page, batch)
            await order(page, "promote")
        await page.wait_for_selector("text=The rollout has succeeded")
        await page.click("nav >> text=Fleet")
        await page.wait_for_selector(f".tiles >> text={new}")
        assert await on_fleet(found, "core") == dict.fromkeys(lab.nodes, new)
