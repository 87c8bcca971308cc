"""The dashboard in a real browser, against a real broker and a rollout that the test tells."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.contract.base import BatchId, RolloutId, derive_id
from bumpless.common.model.verdict import Curve, Evidence, SequentialEvidence, Verdict
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Away, Connection, Received
from bumpless.common.shell.reading import read
from bumpless.common.shell.topology import ensure_topology
from bumpless.dashboard.users import Role
from support.dashboard_lab import LIMIT_MS, PASSWORD, Dashboard, Stage, browser, needs_chromium
from support.plans import batch, node, plan, target
from support.servers import NatsServer
from support.waiting import comes_true, eventually

pytestmark = [needs_chromium, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

AXE = Path(__file__).resolve().parents[1] / "fixtures" / "axe" / "axe.min.js"
BIG = 10_000


class Room:
    """Broker, dashboard and browser. `page` opens a page that is logged in by a link; faults of it are collected."""

    def __init__(self, nats: NatsServer, connection: Connection, dashboard: Dashboard, chromium: Any) -> None:
        self.nats, self.connection, self.dashboard, self.chromium = nats, connection, dashboard, chromium
        self.faults: list[str] = []

    async def page(self, path: str = "/", *, login: bool = True, **options: Any) -> Any:
        context = await self.chromium.new_context(**options)
        context.set_default_timeout(LIMIT_MS)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on(
            "console",
            lambda said: self.faults.append(said.text) if "Content Security Policy" in said.text else None,
        )
        if login:
            await page.goto(self.dashboard.link())
            await page.wait_for_selector("nav")
        await page.goto(self.dashboard.address + path)
        return page

    def stage(self, name: str, *batches: Any, **more: Any) -> Stage:
        return Stage(self.connection, plan(*batches, rollout=RolloutId(derive_id("dashboard", name)), **more))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    folder = tmp_path_factory.mktemp("dashboard")
    with NatsServer(folder / "nats") as nats:
        connection = await Connection.connect(nats.url, name="test")
        try:
            await ensure_topology(connection)
            with Dashboard(folder, nats.url) as dashboard:
                await dashboard.answers()
                async with browser() as chromium:
                    yield Room(nats, connection, dashboard, chromium)
        finally:
            await connection.close()


@pytest.fixture(autouse=True)
def no_faults(room: Room) -> Any:
    """No script of ours failed and the content security policy was never broken."""
    room.faults.clear()
    yield
    assert room.faults == []


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
    sequential = SequentialEvidence(
        alpha=0.05,
        batches=2,
        log_batch=1.0,
        log_release=1.2,
        control="peers",
        nodes=(1, 2),
        history_s=60,
        judged_s=30,
        curve=Curve(since=stage.began, step_s=1, bound=3.0, log_m=(0.1, 0.4, observed)),
    )
    rule = Evidence(
        rule="error_rate",
        verdict=Verdict.INCONCLUSIVE,
        observed=observed,
        baseline=0.4,
        limit=2.0,
        samples=100,
        text="so far within its limit",
        sequential=sequential,
    )
    return e.GateProgressed(
        id=clock.fresh_id(),
        at=clock.now(),
        rollout=stage.plan.rollout,
        batch=BatchId(name),
        detail="not enough seen yet",
        evidence=(rule,),
    )


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
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run()")
    return [
        f"{fault['id']}: {place['html'][:160]} {place.get('failureSummary', '')[:300]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for place in fault["nodes"]
    ]


async def test_a_late_comer_sees_all_and_then_every_change(room: Room) -> None:
    stage = await told(room, "late")
    page = await room.page(f"/rollouts/{stage.plan.rollout}")
    await page.wait_for_selector("text=Batch api-2 is being applied.")
    text = await page.inner_text("main")
    for words in (
        "ci@forge",
        "1 of 5 steps",
        "1 batch is still to come.",
        "about to switch",
        "switching",
        "not enough seen yet",
    ):
        assert words in text, text
    assert await page.locator("figure").count() == 1  # the evidence against its bound
    await stage.say(gate(stage, "api-1", 1.5))
    await page.wait_for_selector("figure >> text=Canary, baseline and limit over time")
    label = await page.locator("svg.graph").get_attribute("aria-label")
    assert label == "api applying; web pending after api"

    await stage.progress("rolling", {"api-1": "passed", "api-2": "baking"}, done=3)
    await page.wait_for_selector("text=Batch api-2 is baking")
    await stage.progress(
        "succeeded", dict.fromkeys(["api-1", "api-2", "web-1"], "passed"), done=5, until_s=None
    )
    await page.wait_for_selector("text=The rollout has succeeded")
    assert await page.title() == "shop v2 succeeded · Bumpless"
    await page.click("nav >> text=Rollouts")
    row = page.locator("li", has=page.locator(f"a[href='/rollouts/{stage.plan.rollout}']"))
    assert "5 of 5 steps" in await row.inner_text()


async def test_nothing_is_missed_while_the_dashboard_is_away(room: Room) -> None:
    stage = await told(room, "away")
    page = await room.page(f"/rollouts/{stage.plan.rollout}")
    await page.wait_for_selector("text=Batch api-2 is being applied.")
    room.dashboard.stop()
    await page.wait_for_selector("text=Connection lost")
    await stage.progress("paused", {"api-1": "passed", "api-2": "baking"}, done=3, reason="a look at it")
    room.dashboard.start()
    # The new process knows no session of the old one: people log in again, and see where it is now.
    await page.wait_for_selector("text=The session has ended")
    await page.goto(room.dashboard.link().replace("/#", f"/rollouts/{stage.plan.rollout}#"))
    await page.wait_for_selector("text=is paused: no further batch starts: a look at it.")


async def test_a_broker_that_starts_again_is_followed_on(room: Room) -> None:
    stage = await told(room, "broker")
    page = await room.page(f"/rollouts/{stage.plan.rollout}")
    await page.wait_for_selector("text=Batch api-2 is being applied.")
    room.nats.stop()
    room.nats.start()
    await comes_true(lambda: room.connection.nc.is_connected, "the test to be connected again")
    await with_streams(room.connection)  # the services do that: what it held in memory is gone
    await stage.progress("rolling", {"api-1": "passed", "api-2": "baking"}, done=3)
    await page.wait_for_selector("text=Batch api-2 is baking")
    assert await page.locator("#log li").count() >= 1
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


async def test_orders_are_those_of_the_command_line(room: Room) -> None:
    stage = await told(room, "orders")
    given: list[c.OperatorCommand] = []

    async def answer(item: Received) -> None:
        order = read(item)
        assert isinstance(order, c.OperatorCommand)
        given.append(order)
        text = f"{order.type} it is"  # type: ignore[attr-defined]
        await stage.say(
            e.CommandAnswered(
                id=clock.fresh_id(),
                at=clock.now(),
                cause=order.id,
                rollout=order.rollout,
                command=order.type,  # type: ignore[attr-defined]
                accepted=order.reason != "no",
                text=text,
            )
        )

    listening = await room.connection.subscribe(f"op.*.{stage.plan.rollout}.*", answer)
    try:
        page = await room.page(f"/rollouts/{stage.plan.rollout}")
        await stage.progress("rolling", {"api-1": "baking", "web-1": "awaiting-approval"})
        for name in ("pause", "promote", "approve", "abort", "rollback"):
            await page.click(f".actions button:text-is('{name}')")
            await page.wait_for_selector("textarea[name=reason]:focus")
            await page.fill("textarea[name=reason]", f"because of {name}")
            await page.click(f"dialog button:text-is('Yes, {name}')")
            await page.wait_for_selector(f"text=Accepted: {name} it is")
        await stage.progress("paused", {})
        await page.click(".actions button:text-is('resume')")
        await page.fill("textarea[name=reason]", "no")
        await page.click("dialog button:text-is('Yes, resume')")
        await page.wait_for_selector("text=Refused: resume it is")
        await stage.progress("failed", {"api-1": "failed"})
        await page.click(".actions button:text-is('retry')")
        await page.click("dialog button:text-is('Cancel')")
        await page.wait_for_selector("dialog", state="detached")
        await page.click(".actions button:text-is('retry')")
        await page.fill("textarea[name=reason]", "again")
        await page.click("dialog button:text-is('Yes, retry')")
        await page.wait_for_selector("text=Accepted: retry it is")
        await page.wait_for_selector("#log >> text=because of rollback")
    finally:
        await listening.unsubscribe()
    assert [(type(order), order.to, order.by, order.reason) for order in given] == [
        (c.Pause, "planner", "ada@here", "because of pause"),
        (c.Promote, "planner", "ada@here", "because of promote"),
        (c.Approve, "planner", "ada@here", "because of approve"),
        (c.Abort, "planner", "ada@here", "because of abort"),
        (c.Rollback, "rollback", "ada@here", "because of rollback"),
        (c.Resume, "planner", "ada@here", "no"),
        (c.Retry, "planner", "ada@here", "again"),
    ]
    promote, approve = given[1], given[2]
    assert isinstance(promote, c.Promote)
    assert promote.batch == "api-1"
    assert isinstance(approve, c.Approve)
    assert (approve.batch, approve.plan_hash) == ("web-1", stage.plan.hash)


async def test_roles_and_what_a_page_of_others_cannot_do(room: Room) -> None:
    stage = await told(room, "roles")
    room.dashboard.let_in(vera=[Role.VIEWER], otto=[Role.OPERATOR], ann=[Role.APPROVER])
    path = f"/rollouts/{stage.plan.rollout}"
    await stage.progress("rolling", {"api-1": "baking", "api-2": "awaiting-approval"})
    seen = {}
    for name in ("vera", "otto", "ann"):
        page = await room.page(path, login=False)
        await page.fill("input[name=name]", name)
        await page.fill("input[name=password]", "wrong " + PASSWORD)
        await page.click("button:text-is('Log in')")
        await page.wait_for_selector("text=expected a known name and its password")
        await page.fill("input[name=password]", PASSWORD)
        await page.click("button:text-is('Log in')")
        await page.wait_for_selector(".actions")
        seen[name] = await page.locator(".actions .buttons button").all_inner_texts()
        # The buttons are a courtesy: the server decides.
        csrf = (await (await page.request.get(f"{room.dashboard.address}/api/session")).json())["csrf"]
        url = f"{room.dashboard.address}/api/rollouts/{stage.plan.rollout}/approve"
        headers = {"X-CSRF-Token": csrf}
        if name != "ann":
            refused = await page.request.post(url, data={"reason": "x"}, headers=headers)
            assert (refused.status, (await refused.json())["error"]) == (
                403,
                f"expected the role approver, found {'viewer' if name == 'vera' else 'operator'}",
            )
        else:
            forged = await page.request.post(url, data={"reason": "x"})
            assert forged.status == 403
            foreign = await page.request.post(
                url, data={"reason": "x"}, headers={**headers, "Origin": "https://elsewhere.example"}
            )
            assert "another origin" in (await foreign.json())["error"]
            renamed = await page.request.get(
                f"{room.dashboard.address}/api/session", headers={"Host": "rebound.example"}
            )
            assert renamed.status == 403
            cookie = (await page.context.cookies())[0]
            assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
            room.dashboard.let_in(vera=[Role.VIEWER])  # her access ends with her entry
            gone = await page.request.get(f"{room.dashboard.address}/api/topics/fleet")
            assert gone.status == 401
    assert seen == {"vera": [], "otto": ["Pause", "Promote", "Abort", "Rollback"], "ann": ["Approve"]}


async def test_a_link_logs_in_once(room: Room) -> None:
    link = room.dashboard.link()
    page = await room.page(login=False)
    await page.goto(link)
    await page.wait_for_selector("nav")
    assert "login" not in page.url
    other = await room.page(login=False)
    await other.goto(link)
    await other.reload()
    await other.wait_for_selector("text=Log in to see")
    used = await other.request.post(
        f"{room.dashboard.address}/api/login", data={"token": link.split("=", 1)[1]}
    )
    assert used.status == 401


async def test_many_wrong_passwords_are_slowed_down(room: Room) -> None:
    page = await room.page(login=False)
    url = f"{room.dashboard.address}/api/login"
    codes = []
    for _ in range(8):
        answer = await page.request.post(url, data={"name": "mallory", "password": "no"})
        codes.append(answer.status)
        if answer.status == 429:
            assert int(answer.headers["retry-after"]) >= 1
            break
    assert codes[:5] == [401] * 5
    assert codes[-1] == 429


async def test_the_policy_refuses_what_is_not_ours(room: Room) -> None:
    page = await room.page("/fleet")
    await page.wait_for_selector("h1")
    answer = await page.request.get(room.dashboard.address)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    for name, value in (
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
    ):
        assert answer.headers[name] == value
    # Written into the page as an attacker would: neither an inline script nor one from elsewhere may run.
    await page.evaluate(
        """() => { for (const [key, value] of [['textContent', 'window.ran = true'], ['src', 'https://elsewhere.example/x.js']]) {
            const script = document.createElement('script'); script[key] = value; document.body.append(script); } }"""
    )
    await comes_true(lambda: len(room.faults) >= 2, "both scripts to be refused")
    assert await page.evaluate("window.ran") is None
    room.faults.clear()


async def test_by_keyboard_alone_and_for_everybody(room: Room) -> None:
    stage = await told(room, "keys")
    await room.connection.publish(
        e.NodeObserved(
            id=clock.fresh_id(),
            at=clock.now(),
            node=node("n1", {"api": target("api", "v2")}).model_copy(update={"observed_at": clock.now()}),
        ),
        source="test",
    )
    path = f"/rollouts/{stage.plan.rollout}"
    page = await room.page(path)
    await page.wait_for_selector("[data-cells='5']")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "To the content"
    await page.focus(".grid")
    await page.keyboard.press("End")
    await page.wait_for_selector("text=n2/web in batch web-1: staged")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("h3:text-is('n2')")
    assert re.search(r"\?node=n2$", page.url)
    await page.focus(".actions button:text-is('pause')")
    await page.keyboard.press("Enter")
    assert await serious(page) == []
    await page.keyboard.press("Escape")
    assert await page.evaluate("document.activeElement.textContent") == "pause"
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        assert await serious(page) == [], scheme
    for place in ("/fleet", "/rollouts"):
        await page.goto(room.dashboard.address + place)
        await page.wait_for_selector("table >> text=n1" if place == "/fleet" else ".rows li")
        assert await serious(page) == [], place
    phone = await room.page(path, viewport={"width": 390, "height": 844}, has_touch=True)
    await phone.wait_for_selector("[data-cells='5']")
    assert await phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert await serious(phone) == []


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
    page = await room.page(f"/rollouts/{stage.plan.rollout}")
    await page.wait_for_selector(f"[data-cells='{BIG}']")
    for name in names:
        await stage.step(name, "api", "switching")
    await stage.flush()
    await page.wait_for_selector(f"text=switching {size}")
    await page.wait_for_selector(f"text=fetched {BIG - size:,}")
    first = await heap(page)
    for state in ("starting", "draining", "serving"):
        for name in names[:size]:
            await stage.step(name, "api", state)
    await stage.flush()
    await page.wait_for_selector(f"text=done {size}")
    assert await heap(page) < first + (64 << 20)
    assert await page.evaluate("document.querySelectorAll('*').length") < 2_000
    box = await page.locator("canvas").bounding_box()
    assert box["height"] < 600
    await page.hover("canvas", position={"x": 3, "y": 3})
    await page.wait_for_selector("text=n00000/api in batch api-1: done")


async def heap(page: Any) -> int:
    """Bytes that the page's scripts hold."""
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.collectGarbage")
    return int((await session.send("Runtime.getHeapUsage"))["usedSize"])


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
