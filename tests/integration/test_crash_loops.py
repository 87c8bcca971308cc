"""A service that dies again and again, as real processes: what the node does by itself, and what it says."""

from __future__ import annotations

import os
import signal

import pytest

from bumpless.common.contract.events import (
    ComponentCrashLooping,
    NodeObserved,
    ReturnedToPrevious,
    StepOutcome,
)
from support.real_node import QUICK, RealNode
from support.waiting import comes_true


@pytest.mark.parametrize("warm_s", [60.0, 0.0], ids=["warm", "cold"])
async def test_the_node_returns_to_the_version_before_and_says_so(node: RealNode, warm_s: float) -> None:
    timing = QUICK.model_copy(update={"warm_s": warm_s})
    rule = {"on_crash_loop": "previous", "crash_loop": {"crashes": 2, "window_s": 300}, "timing": timing}
    v1, v2 = node.version("v1", **rule), node.version("v2", **rule)
    await node.apply(v1)
    assert (await node.apply(v2, v1)).outcome is StepOutcome.DONE
    first = node.pid
    os.kill(first, signal.SIGKILL)
    await comes_true(lambda: node.pid not in (0, first), "v2 to be started again")
    os.kill(node.pid, signal.SIGKILL)
    loop = await node.heard.wait(ComponentCrashLooping)
    assert (loop.version, loop.crashes, loop.returning) == ("v2", 2, True)
    back = await node.heard.wait(ReturnedToPrevious)
    assert (back.version, back.left_version, back.warm) == ("v1", "v2", warm_s > 0)
    await comes_true(lambda: node.pid != 0, "v1 to serve")
    assert await node.answers() == "v1"
    await comes_true(lambda: node.layout.current() == v1.root, "the link to follow")
    await node.heard.wait(
        NodeObserved,
        lambda m: "probe" in m.node.components and m.node.components["probe"].returned_from == "v2",
    )
    # What the executor knows about it survives the executor.
    await node.restart()
    assert await node.answers() == "v1"
    record = node.executor.record("probe")
    assert record is not None
    assert (record.current, record.may_return) == (v1, False)
    # The planner is told no: it has to look at the fleet again.
    refused = await node.apply(node.version("v3"), v2)
    assert refused.outcome is StepOutcome.REFUSED
