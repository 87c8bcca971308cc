"""What a browser shows of a rollout: all of it, at once, and every change."""

from __future__ import annotations

import re
import statistics
from typing import Any

import pytest

from bumpless.common.contract import events as e
from bumpless.common.contract.base import RolloutId, derive_id
from bumpless.common.shell import clock
from support.dashboard_lab import needs_chromium
from support.dashboard_room import Room, gate, soon, told, with_streams
from support.plans import batch
from support.waiting import comes_true

BIG = 10_000
PAINT_CPU_S, UPDATE_CPU_S = 2.0, 0.2
GROWN_BYTES = 64 << 20

pytestmark = [needs_chromium, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="package")]


async def test_a_late_comer_sees_all_and_then_every_change(room: Room) -> None:
    stage = await told(room, "late")
    page = await room.page(f"/rollouts/{stage.plan.rollout}")
    await page.wait_for_selector("text=Batch api-2 is being applied.")
    for words in (
        "ci@forge",
        "1 of 5 steps",
        "1 batch is still to come.",
        "about to switch",
        "switching",
        "not enough seen yet",
        "Until",
        "at the latest",
    ):
        await soon(page.locator("main")).to_contain_text(words, use_inner_text=True)
    await soon(page.locator(".why dt:text-is('Waits for') + dd")).to_have_text("n2, n3")
    await soon(page.locator("#gates")).to_contain_text(
        "1.65 of 20.1"
    )  # the e-value, and what it must not reach
    await soon(page.locator("figure")).to_have_count(1)  # the evidence against its bound
    await stage.say(gate(stage, "api-1", 1.5))
    await page.wait_for_selector("figure >> text=Canary, baseline and limit over time")
    graph = "api v1 → v2: applying; web v1 → v2: pending after api"
    await soon(page.locator("svg.graph")).to_have_attribute("aria-label", graph)
    await soon(page.locator("svg.graph .box.work, svg.graph .box.idle")).to_have_count(2)
    await soon(page.locator("#batches .timeline li")).to_have_count(2)

    await stage.progress("rolling", {"api-1": "passed", "api-2": "baking"}, done=3)
    await page.wait_for_selector("text=Batch api-2 is baking")
    await stage.progress(
        "succeeded", dict.fromkeys(["api-1", "api-2", "web-1"], "passed"), done=5, until_s=None
    )
    await page.wait_for_selector("text=The rollout has succeeded")
    await soon(page).to_have_title("shop v2 succeeded · Bumpless")
    await page.click("nav >> text=Rollouts")
    row = page.locator("li", has=page.locator(f"a[href='/rollouts/{stage.plan.rollout}']"))
    await soon(row).to_contain_text("5 of 5 steps")


async def test_a_link_shows_the_same_to_another_person(room: Room) -> None:
    """Page, node and filters stand in the address."""
    stage = await told(room, "deep")
    page = await room.page(f"/rollouts/{stage.plan.rollout}?node=n2&log=API-1")
    await page.wait_for_selector("h3:text-is('n2')")
    row = page.locator(".node tbody tr").nth(0)
    said = re.compile(r"^n2/api\s+api-2\s+switching\s+switching\s+warm")
    await soon(row).to_have_text(said, use_inner_text=True)
    await soon(page.locator("#log input")).to_have_value("API-1")
    await page.wait_for_selector("#log li:has-text('api-1')")
    await soon(page.locator("#log li:not(:has-text('api-1'))")).to_have_count(0)
    await page.fill("#log input", "ci@forge")
    await page.wait_for_selector("#log >> text=1 event of")
    await soon(page).to_have_url(re.compile(r"\?node=n2&log=ci%40forge$"))
    await page.click(".node button:text-is('Close')")
    await soon(page).to_have_url(re.compile(r"/[^?/]+\?log=ci%40forge$"))

    revert = RolloutId(derive_id("dashboard", "deep's revert"))
    begun = {"rollout": stage.plan.rollout, "revert": revert, "reason": "slow", "by": "rollback"}
    await stage.say(e.RevertStarted.model_validate({**begun, "id": clock.fresh_id(), "at": clock.now()}))
    await page.wait_for_selector(f"a[href='/rollouts/{revert}'] >> text=taken back by")
    await page.goto(room.dashboard.address + "/rollouts?q=nothing+like+it")
    await page.wait_for_selector("text=None fits the filter.")
    await page.fill("input[type=search]", stage.plan.rollout)
    await page.click(".rows a.name")
    await page.wait_for_selector("h1:text-is('shop v2')")
    await page.go_back()
    await page.wait_for_selector("h1:text-is('Rollouts')")


async def test_nothing_is_missed_while_the_dashboard_is_away(room: Room) -> None:
    stage = await told(room, "away")
    page = await room.page(f"/rollouts/{stage.plan.rollout}")
    await page.wait_for_selector("text=Batch api-2 is being applied.")
    room.dashboard.stop()
    await page.wait_for_selector("text=Connection lost")
    await stage.progress("paused", {"api-1": "passed", "api-2": "baking"}, done=3, reason="a look at it")
    room.dashboard.start()
    await room.dashboard.answers()
    # The new process knows no session of the old one: people log in again, and see where it is now.
    await page.wait_for_selector("text=The session has ended")
    await page.goto(room.login(f"/rollouts/{stage.plan.rollout}"))
    await page.wait_for_selector("text=is paused: no further batch starts: a look at it.")


async def test_a_broker_that_starts_again_is_followed_on(room: Room) -> None:
    stage = await told(room, "broker")
    page = await room.page(f"/rollouts/{stage.plan.rollout}")
    await page.wait_for_selector("text=Batch api-2 is being applied.")
    room.nats.stop()
    await page.wait_for_selector(".link.behind >> text=What is shown may be old")
    room.nats.start()
    await page.wait_for_selector(".link.live")
    await comes_true(lambda: room.connection.nc.is_connected, "the test to be connected again")
    await with_streams(room.connection)  # the services do that: what it held in memory is gone
    await stage.progress("rolling", {"api-1": "passed", "api-2": "baking"}, done=3)
    await page.wait_for_selector("text=Batch api-2 is baking")
    await page.wait_for_selector("#log li")
    # Its end is told by the log alone: progress that nobody kept does not come again.
    await stage.say(
        e.RolloutSucceeded(
            id=clock.fresh_id(),
            at=clock.now(),
            rollout=stage.plan.rollout,
            product=stage.plan.product,
            release_version=stage.plan.release_version,
        )
    )
    await page.wait_for_selector("text=The rollout has succeeded")


async def test_changes_after_a_number_come_without_a_gap(room: Room) -> None:
    """What a browser asks for when its connection breaks: the changes after the last it has, each once."""
    stage = await told(room, "numbers")
    page = await room.page(f"/rollouts/{stage.plan.rollout}")
    await page.wait_for_selector("[data-cells='5']")
    url = f"{room.dashboard.address}/api/topics/{stage.plan.rollout}"
    mark = (await page.request.get(url)).headers["x-mark"]
    for number in range(5):
        await stage.step("n3", "api", "starting", f"try {number}")
        await page.wait_for_function(
            "(after) => fetch(after[0]).then((a) => a.json()).then((a) => a.values['s/n3/api'][2] === after[1])",
            arg=[url, f"try {number}"],
        )
    script = """([url, mark]) => new Promise((done) => { const seen = []; const source = new EventSource(`${url}/changes?after=${mark}`);
        source.addEventListener('change', (event) => { const said = JSON.parse(event.data); seen.push([event.lastEventId, said.values['s/n3/api']?.[2]]);
            if (seen.at(-1)[1] === 'try 4') { source.close(); done(seen); } });
        source.addEventListener('stale', () => { source.close(); done('stale'); }); })"""
    seen = await page.evaluate(script, [url, mark])
    numbers = [int(entry[0].split(".")[-1]) for entry in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] == int(mark.split(".")[-1]) + 1
    tries = [entry[1] for entry in seen if entry[1]]  # what comes within a tick is one change
    assert tries == sorted(set(tries))
    assert tries[-1] == "try 4"
    assert await page.evaluate(script, [url, "another-process.3"]) == "stale"


async def test_ten_thousand_nodes(room: Room) -> None:
    names = [f"n{number:05}" for number in range(BIG)]
    size = BIG // 20
    stage = room.stage(
        "big",
        *(
            batch(
                f"api-{place + 1}",
                names[place * size : (place + 1) * size],
                needs=[f"api-{place}"] if place else [],
            )
            for place in range(20)
        ),
    )
    await stage.planned()
    await stage.progress("rolling", {"api-1": "applying"})
    for name in names:
        await stage.step(name, "api", "switching")
    await stage.flush()
    page = await room.page()
    before = await busy_s(room)
    await page.goto(f"{room.dashboard.address}/rollouts/{stage.plan.rollout}")
    await page.wait_for_selector(f"[data-cells='{BIG}']")
    assert await busy_s(room) - before < PAINT_CPU_S
    await page.wait_for_selector(f"text=switching {size}")
    await page.wait_for_selector(f"text=fetched {BIG - size:,}")
    await page.hover("canvas", position={"x": 3, "y": 3})
    used = []
    for turn in range(9):
        before = await busy_s(room)
        await stage.step(names[0], "api", "switching", f"turn {turn}")
        await page.wait_for_selector(f".told >> text=turn {turn}")
        used.append(await busy_s(room) - before)
    assert statistics.median(used) < UPDATE_CPU_S, used

    first = await heap(page)
    for state in ("starting", "draining", "serving"):
        for name in names[:size]:
            await stage.step(name, "api", state)
    await stage.flush()
    await page.wait_for_selector(f"text=done {size}")
    assert await heap(page) < first + GROWN_BYTES
    await page.wait_for_function("document.querySelectorAll('*').length < 2_000")
    await page.wait_for_function("document.querySelector('canvas').getBoundingClientRect().height < 600")
    await page.wait_for_selector("text=n00000/api in batch api-1: done")


async def busy_s(room: Room) -> float:
    """Processor time of the browser's processes so far: what a picture takes, whoever else uses the machine."""
    session = await room.chromium.new_browser_cdp_session()
    found = await session.send("SystemInfo.getProcessInfo")
    await session.detach()
    return sum(float(process["cpuTime"]) for process in found["processInfo"])


async def heap(page: Any) -> int:
    """Bytes that the page's scripts hold."""
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.collectGarbage")
    return int((await session.send("Runtime.getHeapUsage"))["usedSize"])
