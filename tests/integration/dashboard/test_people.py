"""Who may do what in a browser, with which means, and what pages of others cannot do."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from bumpless.common import asyncapi
from bumpless.common.contract import commands as c
from bumpless.common.contract import events as e
from bumpless.common.shell import clock
from bumpless.dashboard.users import Role
from support.dashboard_lab import PASSWORD, needs_chromium
from support.dashboard_room import Room, answering, serious, soon, told
from support.plans import node, target
from support.waiting import comes_true

pytestmark = [needs_chromium, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="package")]


async def test_orders_are_those_of_the_command_line(room: Room) -> None:
    stage = await told(room, "orders")
    async with answering(room, stage) as given:
        page = await room.page(f"/rollouts/{stage.plan.rollout}")
        await stage.progress("rolling", {"api-1": "baking", "web-1": "awaiting-approval"})
        for name in ("pause", "promote", "approve", "deny", "abort", "rollback"):
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
        await page.wait_for_selector("dt:text-is('Last order') + dd >> text=retry, by ada@here")
    assert [(type(order), order.to, order.by, order.reason) for order in given] == [
        (c.Pause, "planner", "ada@here", "because of pause"),
        (c.Promote, "planner", "ada@here", "because of promote"),
        (c.Approve, "planner", "ada@here", "because of approve"),
        (c.Deny, "planner", "ada@here", "because of deny"),
        (c.Abort, "planner", "ada@here", "because of abort"),
        (c.Rollback, "rollback", "ada@here", "because of rollback"),
        (c.Resume, "planner", "ada@here", "no"),
        (c.Retry, "planner", "ada@here", "again"),
    ]
    promote, *answers = given[1:4]
    assert isinstance(promote, c.Promote)
    assert promote.batch == "api-1"
    for answer in answers:
        assert isinstance(answer, c.Approve | c.Deny)
        assert (answer.batch, answer.plan_hash) == ("web-1", stage.plan.hash)


async def test_roles_and_what_a_page_of_others_cannot_do(room: Room) -> None:
    stage = await told(room, "roles")
    room.dashboard.let_in(vera=[Role.VIEWER], otto=[Role.OPERATOR], ann=[Role.APPROVER])
    path = f"/rollouts/{stage.plan.rollout}"
    await stage.progress("rolling", {"api-1": "baking", "api-2": "awaiting-approval"})
    shown = {"vera": [], "otto": ["pause", "promote", "abort", "rollback"], "ann": ["approve", "deny"]}
    for name, buttons in shown.items():
        page = await room.page(path, login=False)
        await page.fill("input[name=name]", name)
        await page.fill("input[name=password]", "wrong " + PASSWORD)
        await page.click("button:text-is('Log in')")
        await page.wait_for_selector("text=expected a known name and its password")
        await page.fill("input[name=password]", PASSWORD)
        await page.click("button:text-is('Log in')")
        await page.wait_for_selector("[data-cells='5']")
        await soon(page.locator(".actions .buttons button")).to_have_text(buttons)
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


async def test_a_link_logs_in_once(room: Room) -> None:
    link = room.dashboard.link()
    page = await room.page(login=False)
    await page.goto(link)
    await page.wait_for_selector("nav")
    await soon(page).not_to_have_url(re.compile("login"))
    other = await room.page(login=False)
    await other.goto(link)
    await other.reload()
    await other.wait_for_selector("text=Log in to see")
    used = await other.request.post(
        f"{room.dashboard.address}/api/login", data={"token": link.split("=", 1)[1]}
    )
    assert used.status == 401


async def test_many_wrong_passwords_are_slowed_down(room: Room) -> None:
    """Whoever tries them, and nobody else: people behind one proxy have one address."""
    room.dashboard.let_in(olga=[Role.OPERATOR])
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
    other = await page.request.post(url, data={"name": "olga", "password": PASSWORD})
    assert other.status == 200, await other.text()


async def test_it_gives_way_only_where_it_is_let(room: Room) -> None:
    """As here; as it is by default, under `bumpless up`: tests/e2e/test_up_down.py."""
    assert os.sched_getscheduler(room.dashboard.pid) == os.SCHED_OTHER
    assert os.getpriority(os.PRIO_PROCESS, room.dashboard.pid) == os.getpriority(os.PRIO_PROCESS, 0)


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


async def test_by_keyboard_alone(room: Room) -> None:
    """From the login to an order and its answer."""
    stage = await told(room, "keys")
    room.dashboard.let_in(olga=[Role.OPERATOR])
    page = await room.page(f"/rollouts/{stage.plan.rollout}", login=False)
    await page.wait_for_selector("input[name=name]:focus")
    await page.keyboard.type("olga")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("[data-cells='5']")
    await reached(page, "To the content")
    await page.keyboard.press("Enter")
    await soon(page.locator("#content")).to_be_focused()
    async with answering(room, stage) as given:
        await reached(page, "pause")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("textarea[name=reason]:focus")
        await page.keyboard.press("Escape")
        await page.wait_for_selector("dialog", state="detached")
        await soon(page.locator(".actions button:text-is('pause')")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.wait_for_selector("textarea[name=reason]:focus")
        await page.keyboard.type("by keys")
        await reached(page, "Yes, pause")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=Accepted: pause it is")
    assert [(order.by, order.reason) for order in given] == [("olga", "by keys")]
    await page.focus(".grid")
    for key, cell in (
        ("End", "n2/web in batch web-1"),
        ("ArrowUp", "n2/api in batch api-2"),
        ("ArrowRight", "n3/api in batch api-2"),
        ("ArrowDown", "n2/web in batch web-1"),
        ("Home", "n1/api in batch api-1"),
        ("End", "n2/web in batch web-1: staged"),
    ):
        await page.keyboard.press(key)
        await page.wait_for_selector(f".told >> text={cell}")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("h3:text-is('n2')")
    await soon(page).to_have_url(re.compile(r"\?node=n2\b"))


async def reached(page: Any, text: str) -> None:
    """Press Tab until what says `text` has the focus."""
    for _ in range(30):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == text:
            return
    raise AssertionError(f"expected Tab to reach {text!r}")


async def test_for_everybody(room: Room) -> None:
    """Light and dark, wide and narrow: an accessibility check finds nothing serious."""
    stage = await told(room, "everybody")
    await room.connection.publish(
        e.NodeObserved(
            id=clock.fresh_id(),
            at=clock.now(),
            node=node("n1", {"api": target("api", "v2")}).model_copy(update={"observed_at": clock.now()}),
        ),
        source="test",
    )
    path = f"/rollouts/{stage.plan.rollout}?node=n2"
    page = await room.page(path)
    await page.wait_for_selector(".node table")
    await page.click(".actions button:text-is('pause')")
    await page.wait_for_selector("textarea[name=reason]:focus")
    assert await serious(page) == []
    await page.keyboard.press("Escape")
    await page.wait_for_selector("dialog", state="detached")
    await page.emulate_media(color_scheme="dark")
    assert await serious(page) == []
    for place, seen in (("/fleet", "table >> text=n1"), ("/rollouts", ".rows li")):
        await page.click(f"nav a[href='{place}']")
        await page.wait_for_selector(seen)
        assert await serious(page) == [], place
    await page.click("button:text-is('Log out')")
    await page.wait_for_selector("text=Log in to see")
    assert await serious(page) == []
    phone = await room.page(path, viewport={"width": 390, "height": 844}, has_touch=True)
    await phone.wait_for_selector("[data-cells='5']")
    await phone.wait_for_function("document.documentElement.scrollWidth <= 390")
    assert await serious(phone) == []
    await phone.tap(".actions button:text-is('pause')")
    await phone.wait_for_selector("textarea[name=reason]:focus")
    await soon(phone.locator("dialog")).to_be_in_viewport(ratio=1)


async def test_colours_are_the_system_s_or_one_s_own(room: Room) -> None:
    page = await room.page(color_scheme="dark")
    shown = "getComputedStyle(document.body).backgroundColor"
    dark = await page.evaluate(shown)
    await page.emulate_media(color_scheme="light")
    await page.wait_for_function(f"(dark) => {shown} !== dark", arg=dark)
    light = await page.evaluate(shown)
    for name, found in (("auto", light), ("light", dark)):
        await page.click(f"button[aria-label='Colours: {name}']")
        await page.wait_for_function(f"(found) => {shown} === found", arg=found)
    await page.wait_for_function("localStorage.getItem('theme') === 'dark'")
    await page.reload()
    await page.wait_for_selector("button[aria-label='Colours: dark']")
    await page.wait_for_function(f"(found) => {shown} === found", arg=dark)


async def test_the_events_are_described_for_people_and_tools(room: Room) -> None:
    page = await room.page()
    await page.click("footer >> text=what they are")
    await page.wait_for_selector("h3#step-progressed")
    assert await page.locator("link[href='/static/style.css']").count() == 1
    await page.wait_for_function("document.styleSheets[0]?.cssRules.length > 0")
    await page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    await page.click("a[href='#step-progressed'] >> nth=0")
    await soon(page).to_have_url(re.compile("/asyncapi#step-progressed$"))
    # All messages look alike: the first ones are checked for all of them.
    await page.evaluate("document.querySelectorAll('main > :nth-child(n+31)').forEach((one) => one.remove())")
    assert await serious(page) == []
    answer = await page.request.get(f"{room.dashboard.address}/asyncapi.json")
    assert await answer.json() == asyncapi.document()
    for said in (answer, await page.request.get(f"{room.dashboard.address}/asyncapi")):
        assert said.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
