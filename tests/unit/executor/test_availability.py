"""The word about the node: who may say it, which one stands, and what a disk that refuses makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest_asyncio

from bumpless.common.artifacts.signing import SigningKey
from bumpless.common.contract import wire
from bumpless.common.contract.base import derive_id
from bumpless.common.contract.commands import SetAvailability
from bumpless.common.contract.envelope import COMMAND_TYPE
from bumpless.common.contract.events import MessageParked
from bumpless.common.contract.subjects import subject_of
from bumpless.common.shell.broker import Received
from bumpless.executor.availability import Availability
from unit.executor.making import T0, apply, target
from unit.executor.test_executor import KEY, Rig

V1 = target("v1")


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    found = Rig(tmp_path)
    await found.executor.start()
    yield found
    await found.executor.close(stop_services=True)


def word(sequence: int, *, drained: bool = True, node: str = "node-a", **more: object) -> SetAvailability:
    given = {"id": derive_id("word", str(sequence)), "at": T0, "by": "ada", "since": T0}
    return SetAvailability.model_validate(
        given | {"node": node, "sequence": sequence, "drained": drained} | more
    )


async def say(rig: Rig, said: SetAvailability, *, key: SigningKey = KEY, subject: str = "") -> None:
    body = key.sign(COMMAND_TYPE, wire.encode(said)).to_bytes()
    await rig.executor.take(Received(subject=subject or subject_of(said), data=body))


async def test_words_of_strangers_and_for_others_are_parked(rig: Rig) -> None:
    await say(rig, word(1), key=SigningKey.generate())
    await say(rig, word(2, node="node-b"), subject="cmd.node-a._node")
    await say(rig, word(3), subject="cmd.node-a.api")
    await rig.reports.wait(MessageParked, lambda m: m.subject == "cmd.node-a.api")
    assert len([m for m in rig.reports.heard if isinstance(m, MessageParked)]) == 3
    assert rig.executor.observe().drain is None


async def test_the_highest_word_stands_also_after_a_restart(rig: Rig) -> None:
    await say(rig, word(2, reason="new disk"))
    await say(rig, word(1, drained=False))
    await rig.restart()
    seen = rig.executor.observe()
    assert seen.drain is not None
    assert (seen.drain.by, seen.drain.reason, seen.ordered) == ("ada", "new disk", 2)


async def test_a_component_that_comes_to_a_drained_node_does_not_start(rig: Rig) -> None:
    await say(rig, word(1))
    done = await rig.apply(apply((1, 1), V1))
    assert (done.idle, rig.serving()) == (True, set())


async def test_a_word_that_cannot_be_written_is_not_acted_on(rig: Rig) -> None:
    await rig.apply(apply((1, 1), V1))
    in_the_way = rig.home / ".availability.json.part"
    in_the_way.mkdir()
    await say(rig, word(1))
    assert rig.executor.observe().drain is None
    assert rig.serving() == {"v1"}
    in_the_way.rmdir()
    await say(rig, word(1))  # it stands in the broker, and is read again
    assert rig.executor.observe().drain is not None


def test_a_drain_ends_by_the_clock_of_the_node(tmp_path: Path) -> None:
    now = [T0]
    found = Availability(tmp_path / "availability.json", lambda: now[0])
    found.take(word(1, until=T0 + timedelta(seconds=60)))
    assert (found.drain is not None, found.ends_in_s) == (True, 60)
    now[0] += timedelta(seconds=61)
    assert (found.drain, found.ends_in_s, found.number) == (None, None, 1)
    again = Availability(tmp_path / "availability.json", lambda: T0)
    again.load()
    assert again.drain is not None
