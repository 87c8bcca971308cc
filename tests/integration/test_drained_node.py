"""A node that is drained and brought back, as real processes: no job is lost or done twice, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from bumpless.common.contract import wire
from bumpless.common.contract.commands import SetAvailability
from bumpless.common.contract.envelope import COMMAND_TYPE
from bumpless.common.contract.events import NodeObserved, StepOutcome
from bumpless.common.contract.subjects import subject_of
from bumpless.common.model.plan import Target
from bumpless.common.shell import clock
from bumpless.common.shell.broker import Received
from support.real_node import KEY, RealNode
from support.waiting import comes_true

PATIENT = {"ready_timeout_s": 30, "soak_s": 0.05, "lame_duck_s": 0.1, "drain_timeout_s": 30, "warm_s": 60}
WORKER = Path(__file__).parents[1] / "support" / "job_worker.py"


async def set_availability(
    node: RealNode, sequence: int, *, drained: bool, for_s: float | None = None
) -> None:
    now = clock.now()
    word = SetAvailability(
        id=clock.fresh_id(),
        at=now,
        node=node.name,
        sequence=sequence,
        drained=drained,
        by="ada",
        reason="new disk",
        since=now,
        until=None if for_s is None else now + timedelta(seconds=for_s),
    )
    body = KEY.sign(COMMAND_TYPE, wire.encode(word)).to_bytes()
    await node.executor.take(Received(subject=subject_of(word), data=body))


async def until_gone(node: RealNode) -> None:
    """Nothing of the component is left, and the node has said so."""

    def gone(message: NodeObserved) -> bool:
        seen = message.node.components.get(node.component)
        return message.node.drain is not None and seen is not None and seen.instances == 0

    await node.heard.wait(NodeObserved, gone)
    node.heard.messages.clear()


async def until_back(node: RealNode) -> None:
    def back(message: NodeObserved) -> bool:
        seen = message.node.components.get(node.component)
        return message.node.drain is None and seen is not None and seen.instances == 1

    await node.heard.wait(NodeObserved, back)
    node.heard.messages.clear()


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Jobs:
    """The folder, and how many jobs were put into it."""

    def __init__(self, home: Path) -> None:
        self.home, self.made = home, 0
        for name in ("new", "taken", "done", "making"):
            (home / name).mkdir(parents=True)

    async def feed(self) -> None:
        while True:
            self.add()
            await asyncio.sleep(0.02)

    def add(self) -> None:
        self.made += 1
        job = self.home / "making" / f"{self.made:06}"
        job.write_text("")
        os.rename(job, self.home / "new" / job.name)

    def done(self) -> dict[str, list[str]]:
        """By job, the instances that did it."""
        return {job.name: job.read_text().split() for job in (self.home / "done").iterdir()}


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[RealNode, RealNode]]:
    nodes = RealNode(tmp_path / "a", "node-a", "worker"), RealNode(tmp_path / "b", "node-b", "worker")
    for node in nodes:
        await node.start()
    yield nodes
    for node in nodes:
        await node.close()


def worker(node: RealNode, jobs: Jobs, version: str = "v1") -> Target:
    return node.version(
        version, main=WORKER.read_text(), listen={}, env={"JOBS": str(jobs.home)}, timing=PATIENT
    )


async def test_no_job_is_lost_and_none_done_twice(pair: tuple[RealNode, RealNode], tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    one, _ = pair
    for node in pair:
        assert (await node.apply(worker(node, jobs))).outcome is StepOutcome.DONE
    feeding = asyncio.create_task(jobs.feed())
    try:
        for round_ in range(2):
            before = len(jobs.done())
            await comes_true(lambda n=before: len(jobs.done()) > n + 10, "jobs to be done")
            await set_availability(one, 2 * round_ + 1, drained=True)
            if round_:
                await one.restart()  # in the middle of it, or after it
            await until_gone(one)
            before = len(jobs.done())
            await comes_true(lambda n=before: len(jobs.done()) > n + 10, "the other node to do them")
            await one.restart()
            assert one.pid == 0
            await set_availability(one, 2 * round_ + 2, drained=False)
            await until_back(one)
    finally:
        feeding.cancel()
    await comes_true(lambda: len(jobs.done()) == jobs.made, f"all of {jobs.made} jobs to be done")
    assert {len(by) for by in jobs.done().values()} == {1}, "a job was done twice"


async def test_a_drained_node_takes_a_release_and_starts_it_when_it_is_back(node: RealNode) -> None:
    v1, v2 = node.version("v1"), node.version("v2")
    await node.apply(v1)
    await set_availability(node, 1, drained=True)
    await until_gone(node)
    assert refuses(node.port), "who connects must be refused, not wait for nobody"
    done = await node.apply(v2, v1)
    assert (done.outcome, done.root, done.idle, node.pid) == (StepOutcome.DONE, v2.root, True, 0)
    assert node.layout.current() == v2.root
    await node.restart()
    assert node.pid == 0
    await set_availability(node, 2, drained=False)
    await until_back(node)
    assert await node.answers() == "v2"


async def test_a_drain_with_an_end_is_over_by_itself_and_an_older_word_changes_nothing(
    node: RealNode,
) -> None:
    await node.apply(node.version("v1"))
    await set_availability(node, 5, drained=True, for_s=3.0)
    seen = await node.heard.wait(NodeObserved, lambda m: m.node.drain is not None)
    assert seen.node.drain is not None
    assert (seen.node.drain.by, seen.node.drain.reason) == ("ada", "new disk")
    node.heard.messages.clear()
    await until_back(node)
    await set_availability(node, 4, drained=True)
    assert node.executor.observe().drain is None
    assert await node.answers() == "v1"


async def test_a_node_that_is_undrained_at_once_goes_on_with_the_same_process(node: RealNode) -> None:
    await node.apply(node.version("v1", timing={"drain_timeout_s": 30, "lame_duck_s": 20, "soak_s": 0.05}))
    pid = node.pid
    _, writer = await asyncio.open_connection("127.0.0.1", node.port)  # keeps it from having drained
    try:
        await set_availability(node, 1, drained=True)
        await comes_true(lambda: _leaving(node), "the drain to begin")
        await set_availability(node, 2, drained=False)
        await comes_true(lambda: not _leaving(node), "the drain to be given up")
    finally:
        writer.close()
    assert await node.answers() == "v1"
    assert node.pid == pid


def _leaving(node: RealNode) -> bool:
    record = node.executor.record(node.component)
    return record is not None and record.out


@pytest.mark.parametrize("what", ["garbage", ""])
async def test_a_word_that_cannot_be_read_leaves_components_as_they_are(node: RealNode, what: str) -> None:
    await node.apply(node.version("v1"))
    await set_availability(node, 1, drained=True)
    await until_gone(node)
    await node.leave()
    (node.data / "availability.json").write_text(what)
    await node.come_back()
    assert node.pid == 0
    await set_availability(node, 2, drained=False)
    await comes_true(lambda: node.pid != 0, "the node to be back")
