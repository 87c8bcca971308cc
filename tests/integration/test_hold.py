"""What a removal holds, as real processes: kept over a restart of the executor, resumed at once, gone after its time."""

from __future__ import annotations

import os

from bumpless.common.contract.events import StepFinished, StepOutcome
from bumpless.common.model.fleet import ComponentState
from bumpless.common.model.plan import Target
from support.real_node import RealNode
from support.waiting import comes_true


async def removed(node: RealNode, version: Target, hold_s: float) -> None:
    command = node.command(None, version).model_copy(update={"hold_s": hold_s})
    await node.send(command)
    done = await node.heard.wait(StepFinished, lambda m: m.cause == command.id)
    assert done.outcome is StepOutcome.DONE
    record = node.executor.record(node.component)
    assert record is not None
    assert (record.state, node.pid) == (ComponentState.ABSENT, 0)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_way_back_resumes_the_very_process_also_after_a_restart_of_the_executor(
    node: RealNode,
) -> None:
    v1 = node.version("v1")
    await node.apply(v1)
    pid = node.pid
    await removed(node, v1, 600)
    assert alive(pid)
    await node.restart()
    assert alive(pid)
    assert node.pid == 0
    assert (await node.apply(v1)).outcome is StepOutcome.DONE
    assert node.pid == pid
    assert await node.answers() == "v1"


async def test_after_its_time_it_is_stopped_and_the_way_back_starts_another(node: RealNode) -> None:
    v1 = node.version("v1")
    await node.apply(v1)
    pid = node.pid
    await removed(node, v1, 0.2)
    await comes_true(lambda: not alive(pid), "the held process to be stopped")
    assert (await node.apply(v1)).outcome is StepOutcome.DONE
    assert node.pid != pid
    assert await node.answers() == "v1"
    assert node.trees.staged == 1


async def test_a_new_version_serves_and_what_was_held_goes(node: RealNode) -> None:
    v1, v2 = node.version("v1"), node.version("v2")
    await node.apply(v1)
    pid = node.pid
    await removed(node, v1, 600)
    assert (await node.apply(v2)).outcome is StepOutcome.DONE
    assert await node.answers() == "v2"
    await comes_true(lambda: not alive(pid), "the held process to make room")
