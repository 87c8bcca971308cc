"""The whole executor over fakes, with components that must not run twice: the world counts who works beside whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bumpless.common.contract.events import NodeObserved, StepFinished, StepOutcome
from bumpless.service.handover import read_handover
from support.waiting import comes_true
from unit.executor.making import apply, target
from unit.executor.test_executor import Rig

V1, V2 = (target(v, mode="slow-to-stop", overlap=False) for v in ("v1", "v2"))


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    found = Rig(tmp_path)
    await found.executor.start()
    yield found
    await found.executor.close(stop_services=True)
    assert found.world.together == []


def state_of(rig: Rig) -> list[str]:
    """The versions that have worked with the state of the one that works."""
    (process,) = rig.world.serving()
    return process.state


async def test_a_switch_in_its_order(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    rig.world.log.clear()
    done = await rig.apply(apply((2, 1), V2, V1))
    assert (done.outcome, done.cut) == (StepOutcome.DONE, ())
    assert rig.world.log == [("start", "v2"), ("pause", "v1"), ("stop", "v1"), ("activate", "v2")]
    assert state_of(rig) == ["v1", "v2"]


@pytest.mark.parametrize("mode", ["never-ready", "dies-early", "dies-after-ready", "refuses-state"])
async def test_a_version_that_does_not_work_gives_the_state_back(rig: Rig, mode: str) -> None:
    await rig.apply(apply((1, 1), V1))
    bad = target("v2", mode=mode, overlap=False)
    failed = await rig.apply(apply((2, 1), bad, V1))
    assert (failed.outcome, failed.root) == (StepOutcome.FAILED, V1.root)
    assert rig.serving() == {"v1"}
    assert [v for v in state_of(rig) if v != "v1"] in ([], ["v2"])


async def test_what_is_cut_and_what_is_not_taken_over_is_in_the_result(rig: Rig) -> None:
    stubborn = target("v1", mode="will-not-drain", overlap=False)
    await rig.apply(apply((1, 1), stubborn))
    (process,) = rig.world.serving()
    assert process.handover is not None
    process.handover.write_bytes(b'{"instance": "somebody"}\n')
    process.handover, path = None, process.handover
    done = await rig.apply(apply((2, 1), V2, stubborn))
    assert done.outcome is StepOutcome.DONE
    assert done.cut[0] == "1 messages unacknowledged"
    assert "found that of somebody, which is older" in done.cut[1]
    assert not path.exists()
    assert path.with_name("handover.stale").exists()


async def test_after_a_crash_a_new_one_works_without_the_older_state(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    await rig.apply(apply((2, 1), V2, V1))
    (process,) = rig.world.serving()
    process.end("was killed by SIGSEGV")
    await rig.reports.wait(
        NodeObserved, lambda m: any(c.restarts == 1 and c.instances == 1 for c in m.node.components.values())
    )
    await comes_true(lambda: bool(rig.world.serving()), "what was waited for")
    assert state_of(rig) == ["v2"]


@pytest.mark.parametrize("bad", [False, True], ids=["forward", "undone"])
@pytest.mark.parametrize("after", range(1, 7))
async def test_an_executor_that_is_replaced_at_any_moment_ends_the_step(
    rig: Rig, after: int, bad: bool
) -> None:
    """`after` so many things happened to processes; in the failing switch there are six."""
    await rig.apply(apply((1, 1), V1))
    rig.world.log.clear()
    mode = "refuses-state" if bad else "slow-to-stop"
    command = apply((2, 1), target("v2", mode=mode, overlap=False), V1)
    await rig.send(command)
    await comes_true(lambda: len(rig.world.log) >= min(after, 6 if bad else 4), "what was waited for")
    await rig.restart()
    done = await rig.reports.wait(StepFinished, lambda m: m.cause == command.id)
    assert done.outcome is (StepOutcome.FAILED if bad else StepOutcome.DONE)
    assert rig.serving() == ({"v1"} if bad else {"v2"})
    assert state_of(rig)[0] == "v1"


async def test_the_state_outlives_a_shutdown_of_the_node(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    await rig.executor.close(stop_services=True)
    left = read_handover(rig.home / "components/api/state/handover", "api")
    assert left is not None
    rig.executor = rig._new()
    await rig.executor.start()
    await comes_true(lambda: bool(rig.world.serving()), "what was waited for")
    assert state_of(rig) == ["v1", "v1"]
