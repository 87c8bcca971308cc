"""Our drivers: eight switches in a row under load, then one way back while it is warm, and one when it is cold."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from bumpless.common.model.release import Driver, Timing
from switch.figures import Row, Span, first_answer, goal, row, slowest_ms
from switch.load import Load
from switch.node import BenchNode
from switch.services import Service

SWITCHES = 8
STEADY_S = 1.0
TIMING = Timing(ready_timeout_s=60, soak_s=0.5, lame_duck_s=1.6, drain_timeout_s=8, warm_s=0)
"""The lame duck is longer than any client of the load rests."""


async def native(service: Service, load_binary: Path) -> Row:
    with tempfile.TemporaryDirectory(prefix="bench-switch-") as text:
        await service.prepare(Path(text) / "tree")
        return await switched(service, Path(text) / "tree", load_binary, Driver.NATIVE)


async def switched(service: Service, tree: Path, load_binary: Path, driver: Driver) -> Row:
    """`tree` is that of every version."""
    with tempfile.TemporaryDirectory(prefix="bench-switch-") as text:
        async with BenchNode(Path(text) / "node", tree, service.command, TIMING, driver) as node:
            await node.apply("v0")
            load = Load(load_binary, node.port)
            await load.start()
            await asyncio.sleep(2 * STEADY_S)
            spans = []
            for number in range(1, SWITCHES + 1):
                spans.append((await node.apply(f"v{number}")).span)
                print(
                    f"{service.name}: switch {number} took {spans[-1].end - spans[-1].begin:.1f} s",
                    flush=True,
                )
                await asyncio.sleep(STEADY_S)
            answers = await load.stop()
            found = row(f"bumpless {driver}", service.name, answers, spans)
            found.extra = await _ways_back(node, load_binary)
            return found


async def _ways_back(node: BenchNode, load_binary: Path) -> dict[str, Any]:
    """`warm_slowest_ms`: of requests from the command on, until the old version has been left alone for a second.
    `cold_ms`: from the command to the first answer of the version that had to be started again; `startup_ms`: what of
    that its own start took."""
    load = Load(load_binary, node.port)
    await load.start()
    await asyncio.sleep(STEADY_S)
    await node.apply("w1", warm_s=120)
    await node.apply("w2", warm_s=120)  # w1 stays warm
    await asyncio.sleep(STEADY_S)
    warm = await node.apply("w1", warm_s=120)
    await asyncio.sleep(1)
    await node.apply("w3", warm_s=0)
    cold = await node.apply("w2", warm_s=0)
    await asyncio.sleep(STEADY_S)
    answers = await load.stop()
    begin = cold.span.begin
    return {
        "warm_slowest_ms": slowest_ms(answers, Span(warm.span.begin, warm.span.end + 1)),
        "cold_ms": 1000 * (first_answer(answers, "w2", begin) - begin),
        "startup_ms": 1000 * cold.startup_s,
        "failed": sum(a.outcome != "ok" for a in answers),
        "total": len(answers),
    }


def goals(found: Row) -> list[dict[str, Any]]:
    name, back = f"{found.service}, {found.method.removeprefix('bumpless ')}", found.extra
    p99_goal = max(2 * found.p99_steady_ms, found.p99_steady_ms + 5)
    return [
        goal(f"{name}: failed requests, also on the ways back", 0, found.failed + back["failed"], "requests"),
        goal(
            f"{name}: p99 while switching, steady {found.p99_steady_ms:.1f}",
            p99_goal,
            found.p99_switch_ms,
            "ms",
        ),
        goal(f"{name}: largest gap between successes", 50, found.gap_ms, "ms"),
        goal(f"{name}: slowest request of a warm way back", 100, back["warm_slowest_ms"], "ms"),
        goal(
            f"{name}: cold way back, start-up {back['startup_ms']:.0f}",
            back["startup_ms"] + 100,
            back["cold_ms"],
            "ms",
        ),
    ]
