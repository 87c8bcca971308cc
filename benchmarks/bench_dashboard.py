"""A rollout of 10,000 nodes in a browser: first paint of the grid, and how long a change takes to be seen.

    make bench-dashboard

Goals: first paint below 2 s, update below 200 ms, memory bounded. A real broker, dashboard and Chromium; the clock is
the browser's for the paint, and for an update runs from the publishing of the last message to the frame that shows it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from bumpless.common.shell.broker import Connection
from bumpless.common.shell.topology import ensure_topology
from support.dashboard_lab import Dashboard, Stage, browser
from support.plans import batch, plan
from support.servers import NatsServer

NODES, BATCHES, UPDATES = 10_000, 20, 30
PAINTED = f"""() => new Promise((done) => {{ const look = () => document.querySelector("[data-cells='{NODES}']")
    ? requestAnimationFrame(() => done(performance.now())) : requestAnimationFrame(look); look(); }})"""
FIRST_PAINT_GOAL_S, UPDATE_GOAL_S, HEAP_GOAL_MB = 2.0, 0.2, 64.0


async def main() -> int:
    with tempfile.TemporaryDirectory() as folder, NatsServer(Path(folder) / "nats") as nats:
        connection = await Connection.connect(nats.url, name="bench")
        await ensure_topology(connection)
        home = Path(folder)
        with Dashboard(home, nats.url, gives_way=True) as dashboard:
            await dashboard.answers()
            async with browser() as chromium:
                good = await measure(connection, dashboard, chromium)
        await connection.close()
    return 0 if good else 1


async def measure(connection: Connection, dashboard: Dashboard, chromium: Any) -> bool:
    names = [f"n{number:05}" for number in range(NODES)]
    size = NODES // BATCHES
    stage = Stage(
        connection,
        plan(
            *(batch(f"api-{place + 1}", names[place * size : (place + 1) * size]) for place in range(BATCHES))
        ),
    )
    await stage.planned()
    await stage.progress("rolling", {"api-1": "applying"})
    for name in names:
        await stage.step(name, "api", "switching")
    await stage.flush()
    page = await chromium.new_page(viewport={"width": 1280, "height": 900})
    await page.goto(dashboard.link())
    await page.wait_for_selector("nav")
    address = f"{dashboard.address}/rollouts/{stage.plan.rollout}"
    await page.goto(address)
    await page.wait_for_selector(f"text=switching {size}")
    paints = []
    for _ in range(5):
        await page.reload(wait_until="commit")
        paints.append(await page.evaluate(PAINTED) / 1000)
    await page.wait_for_selector(f"text=switching {size}")
    before = await heap(page)
    updates = [await update(stage, page, names[0], f"turn {number}") for number in range(UPDATES)]
    for state in ("starting", "draining", "serving") * 5:
        for name in names[:size]:
            await stage.step(name, "api", state)
    await stage.flush()
    await page.wait_for_selector(f"text=done {size}")
    grown = (await heap(page) - before) / 2**20
    served = memory_mb(dashboard.pid)
    good = told("first paint, median of 5", statistics.median(paints), FIRST_PAINT_GOAL_S, "s")
    good &= told("update, median", statistics.median(updates), UPDATE_GOAL_S, "s")
    told("update, worst", max(updates), None, "s")
    good &= told("page's heap grown over 7,500 changes", grown, HEAP_GOAL_MB, "MiB")
    told("dashboard's memory", served, None, "MiB")
    return good


async def update(stage: Stage, page: Any, name: str, detail: str) -> float:
    """Seconds from the message to the picture with it: the cell is pointed at, so its words are on the page."""
    await page.hover("canvas", position={"x": 2, "y": 2})
    seen = asyncio.ensure_future(
        page.evaluate(
            "(text) => new Promise((done) => { const look = () => document.querySelector('.told').textContent.includes(text) ? "
            "requestAnimationFrame(() => done(true)) : requestAnimationFrame(look); look(); })",
            detail,
        )
    )
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    await stage.step(name, "api", "switching", detail)
    await stage.flush()
    await seen
    return time.perf_counter() - began


async def heap(page: Any) -> float:
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.collectGarbage")
    return float((await session.send("Runtime.getHeapUsage"))["usedSize"])


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def told(what: str, found: float, goal: float | None, unit: str) -> bool:
    good = goal is None or found <= goal
    print(
        f"{what:40} {found:8.3f} {unit}"
        + ("" if goal is None else f"  goal {goal:g} {unit}: {'met' if good else 'MISSED'}")
    )
    return good


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
